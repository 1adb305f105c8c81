"""Values that the Helm chart refuses: what Kubernetes would refuse, and what contradicts itself."""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from sameface.settings import Settings
from sameface.variables import known_variables
from tests.docker import helm
from tests.docker.chart import CHART, files, render

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
QDRANT = {"url": "http://q:6334"}


def schemas(schema: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Return every schema inside one, with its place."""
    if isinstance(schema, dict):
        yield place, schema
        for name, below in schema.items():
            yield from schemas(below, f"{place}/{name}")
    elif isinstance(schema, list):
        for number, below in enumerate(schema):
            yield from schemas(below, f"{place}/{number}")


# Each: values that Kubernetes would refuse, and what the message has to name.
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"service": {"replicas": 0}}, "want 1"),
    ({"service": {"port": 80}}, "want 1,024"),
    ({"service": {"env": {"1PATH": "/bin"}}}, "SAMEFACE_MAX_FACES"),
    ({"service": {"env": {"SAMEFACE_MAX_FACES": 3}}}, "want string"),
    ({"service": {"colour": "red"}}, "'colour' not allowed"),
    ({"service": {"persistence": {"size": "much"}}}, "'5Gi'"),
    ({"service": {"persistence": {"size": "5K"}}}, "'5Gi'"),
    ({"service": {"persistence": {"size": "0Gi"}}}, "'5Gi'"),
    ({"service": {"persistence": {"size": "0.0"}}}, "'5Gi'"),
    ({"triton": {"sharedMemory": "00Mi"}}, "'5Gi'"),
    ({"service": {"persistence": {"size": "5GB"}}}, "'5Gi'"),
    ({"service": {"podDisruptionBudget": {"maxUnavailable": "abc"}}}, "'25%'"),
    ({"service": {"podDisruptionBudget": {"maxUnavailable": 0}}}, "want 1"),
    ({"service": {"resources": {"limit": {"memory": "1Gi"}}}}, "'limit' not allowed"),
    ({"service": {"resources": {"limits": {"memory": "1GB"}}}}, "'500m'"),
    ({"service": {"resources": {"limits": {"ram": "1Gi"}}}}, "'memory'"),
    ({"service": {"resources": {"limits": {"cpu": -1}}}}, "want 0"),
    ({"service": {"nodeSelector": {"gpu": True}}}, "want string"),
    ({"service": {"nodeSelector": {"gpu yes": "1"}}}, "'example.org/team'"),
    ({"service": {"tolerations": [{"operator": "Exist"}]}}, "'Exists'"),
    ({"service": {"tolerations": [{"effect": "NoSchedul"}]}}, "'NoSchedule'"),
    ({"service": {"affinity": {"nodeAffinities": {}}}}, "'nodeAffinities' not allowed"),
    ({"service": {"topologySpreadConstraints": [{"maxSkew": 1}]}}, "'topologyKey'"),
    ({"service": {"podAnnotations": {"a b": "c"}}}, "'example.org/team'"),
    ({"service": {"podLabels": {"team": "faces and doors"}}}, "'faces'"),
    ({"service": {"priorityClassName": "Very High"}}, "'my-name'"),
    ({"service": {"secretMounts": [{"secretName": "Qdrant_CA", "mountPath": "/ca"}]}}, "'my-secret'"),
    ({"service": {"secretMounts": [{"secretName": "ca", "mountPath": "ca"}]}}, "'/etc/sameface/more'"),
    ({"service": {"volumes": [{"name": "a"}]}}, "want 2"),
    ({"service": {"volumeMounts": [{"name": "a", "path": "/a"}]}}, "'mountPath'"),
    ({"service": {"podSecurityContext": {"runAsUser": 0}}}, "want 1"),
    ({"service": {"rollingUpdate": {"maxSurge": "1"}}}, "'25%'"),
    ({"service": {"autoscaling": {"cpuPercent": "70%"}}}, "want null or integer"),
    ({"service": {"image": {"repository": "https://registry.example/Faces"}}}, "'registry.example/sameface'"),
    ({"service": {"image": {"tag": 1.0}}}, "want string"),
    ({"service": {"image": {"digest": "sha256:abc"}}}, "'sha256:000"),
    ({"service": {"image": {"pullPolicy": "Sometimes"}}}, "'IfNotPresent'"),
    ({"triton": {"url": "http://gpu:8001"}}, "'gpu-box:8001'"),
    ({"triton": {"gpu": {"resource": "gpu"}}}, "'nvidia.com/gpu'"),
    ({"triton": {"sharedMemory": "lots"}}, "'5Gi'"),
    ({"qdrant": {"url": "qdrant:6334"}}, "'http://qdrant:6334'"),
    ({"qdrant": {"url": "http://key@qdrant:6334"}}, "'http://qdrant:6334'"),
    ({"qdrant": {"url": "http://q:99999"}}, "'http://qdrant:6334'"),
    ({"qdrant": {"url": "http://q:6334,http://r:65536"}}, "'http://qdrant:6334'"),
    ({"qdrant": {"url": "http://q:0"}}, "'http://qdrant:6334'"),
    ({"triton": {"url": "gpu:99999"}}, "'gpu-box:8001'"),
    ({"triton": {"url": "gpu:0"}}, "'gpu-box:8001'"),
    ({"service": {"image": {"repository": "registry.example:70000/sameface"}}}, "'registry.example/sameface'"),
    (
        {"access": {"issuers": [{"issuer": "a", "audience": "b", "jwks": "https://login.example:99999/jwks"}]}},
        "'https://login.example.org/jwks'",
    ),
    ({"qdrant": {"urll": "http://qdrant:6334"}}, "'urll' not allowed"),
    ({"tls": {"secretName": "Faces_TLS"}}, "'my-name'"),
    ({"tls": {"certManager": {"kind": "issuer"}}}, "'Issuer'"),
    ({"tls": {"certManager": {"dnsNames": ["https://faces"]}}}, "'faces.example.org'"),
    ({"access": {"issuers": [{"issuer": "a", "audience": "b", "jwks": "c"}]}}, "'https://login.example.org/jwks'"),
    ({"access": {"issuers": [{"issuer": "a", "audience": "b"}]}}, "'jwks'"),
    ({"metrics": {"rules": {"runbookUrl": "docs/runbook.md"}}}, "'https://docs.example/runbook/'"),
    ({"imagePullSecrets": ["pull"]}, "want object"),
    ({"serviceAccount": {"name": "Faces"}}, "'my-name'"),
    ({"networkPolicy": {"form": []}}, "'form' not allowed"),
    ({"unknown": 1}, "'unknown' not allowed"),
]


@pytest.mark.parametrize(("values", "named"), REFUSED, ids=lambda value: json.dumps(value)[:70])
def test_wrong_values_are_refused_with_the_value_to_use(values: dict[str, Any], named: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, SCHEMA)
    with pytest.raises(helm.HelmError, match=re.escape(named)):
        helm.Chart.load(str(CHART)).validate_schema(values)


def test_no_object_takes_a_name_that_it_does_not_know() -> None:
    """What is Kubernetes' own (volumes, rules of policies, selectors) is left to Kubernetes, and `global` to Helm."""
    open_ones = {
        place
        for place, schema in schemas(SCHEMA)
        if schema.get("type") == "object" and schema.get("additionalProperties", True) is True
    }
    assert open_ones == {
        *(f"/definitions/affinity/properties/{kind}" for kind in ("nodeAffinity", "podAffinity", "podAntiAffinity")),
        "/definitions/spread/properties/labelSelector",
        "/definitions/volumes/items",
        "/definitions/rules/items",
        "/properties/metrics/properties/serviceMonitor/properties/tlsConfig",
        "/properties/global",
    }


def test_every_pattern_has_an_example_that_fits_it() -> None:
    found = 0
    for place, schema in schemas(SCHEMA):
        if "pattern" not in schema:
            continue
        above = SCHEMA
        for name in place.strip("/").split("/")[:-1]:
            above = above[int(name) if isinstance(above, list) else name]
        examples = [one.get("const") for one in above if "const" in one] if isinstance(above, list) else []
        examples += [one for each in above if "enum" in each for one in each["enum"]] if isinstance(above, list) else []
        assert any(isinstance(one, str) and re.search(schema["pattern"], one) for one in examples), place
        found += 1
    assert found > 20


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"metrics": None}, "Upgrade with --reset-then-reuse-values"),
        ({"qdrant": {"enabled": True}}, "install Qdrant as a release of its own.* set qdrant.url"),
        ({"qdrant": {"enabled": True, **QDRANT}}, "qdrant.enabled is no value any more"),
        ({"qdrant": {"url": "http://q:6333"}}, "set its gRPC port, 6334"),
        ({"qdrant": {"url": "http://q:6334,http://r:6333"}}, "set its gRPC port, 6334"),
        ({"qdrant": {"url": "http://q:6334,https://r:6334"}}, "mixes http and https"),
        ({"qdrant": {"apiKeySecret": {"name": "key"}}}, "set qdrant.url"),
        ({"qdrant": {"moveFromVolume": True}}, "set qdrant.url"),
        ({"service": {"autoscaling": {"enabled": True}}}, "set qdrant.url"),
        (
            {"service": {"autoscaling": {"enabled": True, "minReplicas": 9}}, "qdrant": QDRANT},
            "set service.autoscaling.maxReplicas to 9",
        ),
        (
            {"service": {"autoscaling": {"enabled": True, "cpuPercent": None}}, "qdrant": QDRANT},
            "set service.autoscaling.cpuPercent to 70",
        ),
        (
            {"triton": {"autoscaling": {"enabled": True}, "resources": {"requests": {"cpu": None}}}},
            'set triton.resources.requests.cpu to "1"',
        ),
        ({"metrics": {"rules": {"enabled": True}}}, "set metrics.enabled to true"),
        ({"metrics": {"enabled": True, "port": 50051}}, "set metrics.port to another"),
        ({"service": {"rollingUpdate": {"maxSurge": 0}}}, "set service.rollingUpdate.maxSurge to 1"),
        ({"triton": {"rollingUpdate": {"maxSurge": "0%", "maxUnavailable": 0}}}, "set triton.rollingUpdate.maxSurge"),
        ({"triton": {"rollingUpdate": {"maxSurge": 0}}}, "set triton.rollingUpdate.maxSurge to 1"),
        (
            {"triton": {"gpu": {"count": 1}, "rollingUpdate": {"maxUnavailable": 0}}},
            "set triton.rollingUpdate.maxSurge to 1",
        ),
        (
            {"service": {"resources": {"requests": {"memory": "4Gi"}}}},
            "set service.resources.limits.memory to 4Gi or more",
        ),
        (
            {"triton": {"resources": {"requests": {"cpu": 2.5}, "limits": {"cpu": "2400m"}}}},
            "set triton.resources.limits.cpu to 2.5 or more",
        ),
        ({"service": {"podLabels": {"app.kubernetes.io/component": "door"}}}, "example.org/team"),
        ({"service": {"secretMounts": [{"secretName": "a", "mountPath": "/data/"}]}}, "set another mountPath"),
        ({"service": {"volumes": [{"name": "data", "emptyDir": {}}]}}, "call it data-more"),
        ({"triton": {"volumeMounts": [{"name": "plugins", "mountPath": "/p"}]}}, "add it to triton.volumes"),
        ({"service": {"env": {"SAMEFACE_DATA_DIR": "/faces"}}}, "remove the variable"),
        ({"service": {"env": {"sameface_data_dir": "/faces"}}}, "remove the variable"),
        ({"service": {"env": {"SAMEFACE_DEFAULTS": "/faces.toml"}}}, "SAMEFACE_CONFIG"),
        ({"service": {"env": {"SAMEFACE_CACHE_DIR": "/cache"}}}, "set /tmp/sameface"),
        ({"service": {"env": {"sameface_cache_dir": "/tmpfiles"}}}, "set /tmp/sameface"),
        ({"service": {"env": {"SAMEFACE_AUDIT__FOLDER": "/var/log/x"}}}, "set /data/audit"),
        ({"service": {"env": {"SAMEFACE_AUDIT__FOLDER": "/data/../var/log"}}}, "set /data/audit"),
        ({"service": {"env": {"SAMEFACE_HTTP__LISTEN": "0.0.0.0:50051"}}}, "the port of service.port: set another"),
        ({"service": {"env": {"SAMEFACE_HTTP": '{"listen": "[::]:50051"}'}}}, "the port of service.port: set another"),
        (
            {"service": {"env": {"SAMEFACE_HTTP__LISTEN": "[::]:9464"}}, "metrics": {"enabled": True}},
            "the port of metrics.port: set another",
        ),
        ({"qdrant": {"url": "http://q:6333 , http://r:6334"}}, "set its gRPC port, 6334"),
        ({"service": {"env": {"SAMEFACE_TLS": "{}"}}}, "set the value tls.secretName instead"),
        ({"service": {"env": {"sameface_listen": "a:1"}}}, "set the value service.port instead"),
        (
            {"service": {"secretEnv": {"SAMEFACE_MAX_STREAMS": {"name": "a", "key": "b"}}}},
            "use the value service.env.SAMEFACE_MAX_STREAMS instead",
        ),
    ],
    ids=lambda value: json.dumps(value)[:70] if isinstance(value, dict) else "",
)
def test_values_that_contradict_each_other_are_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(helm.HelmRenderError, match=reason):
        render(values)


def test_a_rolling_update_that_replaces_a_pod_is_taken() -> None:
    for gpus, given, expected in (
        (0, {"maxSurge": 0, "maxUnavailable": 1}, (0, 1)),
        (0, {"maxSurge": "50%"}, ("50%", 0)),
        (1, {"maxSurge": 0}, (0, 1)),
        (1, {"maxSurge": 1, "maxUnavailable": 0}, (1, 0)),
    ):
        objects = render({"triton": {"gpu": {"count": gpus}, "rollingUpdate": given}})
        found = objects["Deployment", "mine-triton"]["spec"]["strategy"]["rollingUpdate"]
        assert (found["maxSurge"], found["maxUnavailable"]) == expected


def test_values_at_the_edge_of_what_is_refused_are_taken() -> None:
    folder = {"volumes": [{"name": "log", "emptyDir": {}}], "volumeMounts": [{"name": "log", "mountPath": "/var/log/"}]}
    env = {
        "SAMEFACE_AUDIT__FOLDER": "/var/log/faces",
        "SAMEFACE_CACHE_DIR": "/tmp",
        "SAMEFACE_HTTP__LISTEN": "0.0.0.0:9464",
    }
    render({"service": {**folder, "env": env, "persistence": {"size": "0.5Gi"}}})
    for url in ("http://q:65535,https://q:1", "http://[fe80::1]:6334/", "https://qdrant.example , http://q:6334"):
        jsonschema.validate({"qdrant": {"url": url}, "triton": {"url": "gpu:65535"}}, SCHEMA)


def test_equal_amounts_in_other_units_are_no_contradiction() -> None:
    for request, limit in (("1024Mi", "1Gi"), ("1e9", "1G"), (1073741824, "1Gi"), ("0.5Gi", "512Mi")):
        render({"service": {"resources": {"requests": {"memory": request}, "limits": {"memory": limit}}}})
    with pytest.raises(helm.HelmRenderError, match=r"limits\.memory"):
        render({"service": {"resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "1G"}}}})


def test_a_misspelt_setting_is_warned_of() -> None:
    env = {"SAMEFACE_MAX_FACE": "3", "SAMEFACE_MAX_FACES": "3", "HTTPS_PROXY": "http://proxy"}
    notes = files({"service": {"env": env}})["NOTES.txt"]
    assert re.findall(r"WARNING: \S+ sets (\S+),", notes) == ["SAMEFACE_MAX_FACE"]
    assert "WARNING" not in files({})["NOTES.txt"]


def test_the_chart_knows_the_names_that_the_service_knows() -> None:
    assert {f"SAMEFACE_{name.upper()}" for name in Settings.model_fields} <= known_variables()
    assert (CHART / "settings.txt").read_text().split() == sorted(known_variables())


def test_helm_lint_finds_nothing() -> None:
    report = helm.lint(str(CHART), {})
    assert report["errors"] == []
    assert [one["error"] for one in report["messages"] if one["severity"] > 1] == []
