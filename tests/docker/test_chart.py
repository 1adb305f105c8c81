"""The Helm chart: Helm renders it, and every object is checked against the Kubernetes schemas."""

import os
import re
import shlex
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from sameface.access.grants import read_grants
from sameface.health.parts import NEEDS
from sameface.settings import Settings
from tests.docker import helm
from tests.docker.chart import CASES, CHART, SPREAD, container, controllers, environment, files, pod, render

# Kinds of cert-manager and of the Prometheus Operator.
OTHERS = {"Certificate", "ServiceMonitor", "PrometheusRule"}
VERSIONS = ("1.27", "1.30", "1.33")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(case: str, version: str) -> None:
    objects = render(CASES[case])
    for (kind, _), one in objects.items():
        if kind in OTHERS:
            continue
        kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("case", CASES)
def test_selectors_choose_the_pods_they_are_meant_for(case: str) -> None:
    objects = render(CASES[case])
    pods = {name: template["metadata"]["labels"] for name, template in controllers(objects).items()}
    for (kind, name), one in objects.items():
        if kind in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
            selector = one["spec"].get("selector") or one["spec"]["podSelector"]
            wanted = (selector.get("matchLabels") or selector).items()
            chosen = [pod for pod, labels in pods.items() if wanted <= labels.items()]
            assert chosen == ["mine-triton" if "triton" in name else "mine"]


@pytest.mark.parametrize("case", CASES)
def test_nothing_runs_as_root_or_may_become_it(case: str) -> None:
    objects = render(CASES[case])
    pods = [template["spec"] for template in controllers(objects).values()]
    for one in (*pods, objects["Pod", "mine-test"]["spec"]):
        assert one["securityContext"]["runAsNonRoot"] is True
        assert one["automountServiceAccountToken"] is False
        for each in one["containers"]:
            assert each["securityContext"]["allowPrivilegeEscalation"] is False
            assert each["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert each["securityContext"]["readOnlyRootFilesystem"] is True
            assert each["resources"].keys() == {"requests", "limits"}
            assert one not in pods or {"startupProbe", "readinessProbe", "livenessProbe"} <= each.keys()


def test_alone_it_keeps_templates_on_a_volume_and_replaces_its_pod() -> None:
    objects = render({})
    # A StatefulSet ends a pod before it starts the next, and never has two.
    assert objects["StatefulSet", "mine"]["spec"]["replicas"] == 1
    assert ("Deployment", "mine") not in objects
    assert objects["StatefulSet", "mine"]["spec"]["serviceName"] == "mine-headless"
    assert ("PersistentVolumeClaim", "mine-data") in objects
    assert "SAMEFACE_QDRANT_URL" not in environment(objects)
    assert environment(objects)["SAMEFACE_TRITON_URL"] == "mine-triton-headless:8001"
    assert objects["Service", "mine-triton-headless"]["spec"]["clusterIP"] == "None"


def test_several_services_share_a_qdrant() -> None:
    objects = render(CASES["a Qdrant of one's own"])
    settings = environment(objects)
    assert settings["SAMEFACE_QDRANT_URL"] == "https://qdrant.example:6334"
    assert settings["SAMEFACE_QDRANT_API_KEY"] == {"secretKeyRef": {"name": "qdrant", "key": "key"}}
    assert settings["SAMEFACE_QUALITY__MIN_SHARPNESS"] == "30"
    assert objects["Deployment", "mine"]["spec"]["strategy"]["type"] == "RollingUpdate"
    assert ("PodDisruptionBudget", "mine") in objects
    assert ("PersistentVolumeClaim", "mine-data") not in objects
    with pytest.raises(helm.HelmRenderError, match="no Qdrant server to share"):
        render({"service": {"replicas": 2}})


def test_each_component_is_placed_by_its_own_values() -> None:
    objects = render(CASES["everything else"])
    service, triton = pod(objects, "mine"), pod(objects, "mine-triton")
    assert "nodeSelector" not in service
    assert triton["nodeSelector"] == {"gpu": "yes"}
    assert service["tolerations"] == [{"operator": "Exists"}]
    assert triton["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert (service["affinity"], triton["affinity"]) == ({"nodeAffinity": {}}, {"podAntiAffinity": {}})
    own = objects["StatefulSet", "mine"]["spec"]["selector"]
    assert service["topologySpreadConstraints"] == [{**SPREAD, "labelSelector": own}]
    assert triton["topologySpreadConstraints"] == [{**SPREAD, "labelSelector": {"matchLabels": {"mine": "yes"}}}]
    assert service["imagePullSecrets"] == triton["imagePullSecrets"] == [{"name": "pull"}]


def test_a_pod_leaves_the_endpoints_before_it_is_told_to_end() -> None:
    objects = render({"service": {"preStopSeconds": 7, "drainSeconds": 20}, "triton": {"preStopSeconds": 3}})
    for name, seconds, afterwards in (("mine", 7, 20), ("mine-triton", 3, 10)):
        assert container(objects, name)["lifecycle"]["preStop"] == {"exec": {"command": ["sleep", str(seconds)]}}
        assert pod(objects, name)["terminationGracePeriodSeconds"] > seconds + afterwards
    assert "lifecycle" not in container(render(CASES["everything else"]), "mine")


def test_the_secured_service_reads_secrets_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the chart sets are settings that the service knows, and their files are where volumes are mounted."""
    objects = render(CASES["secured"])
    found = environment(objects)
    for variable in [name for name in os.environ if name.startswith("SAMEFACE_")]:
        monkeypatch.delenv(variable)
    for variable, value in found.items():
        if isinstance(value, str):
            monkeypatch.setenv(variable, value)
    settings = Settings()
    assert settings.access.required
    assert [one.audience for one in settings.access.issuers] == ["faces"]
    assert (settings.audit.enabled, settings.audit.mirror, settings.audit.retention_days) == (True, True, 90)
    assert not settings.allow_plaintext
    secrets = {one["name"]: one["secret"] for one in pod(objects, "mine")["volumes"] if "secret" in one}
    assert {one["defaultMode"] for one in secrets.values()} == {0o440}
    mounts = {one["mountPath"]: one["name"] for one in container(objects, "mine")["volumeMounts"]}
    tls, access = settings.tls, settings.access
    probe = [Path(found[f"SAMEFACE_CLIENT_{name}"]) for name in ("CERTIFICATE", "PRIVATE_KEY")]
    for file, secret in (
        (tls.certificate, "faces-tls"),
        (tls.private_key, "faces-tls"),
        (tls.client_ca, "callers"),
        *((path, "probe") for path in probe),
        (access.keys, "faces-keys"),
    ):
        assert file is not None
        assert secrets[mounts[str(file.parent)]]["secretName"] == secret
    assert secrets[mounts["/etc/sameface/qdrant"]]["secretName"] == "qdrant-ca"
    assert found["SAMEFACE_QDRANT__CLIENT_CERTIFICATE"] == {"secretKeyRef": {"name": "qdrant-tls", "key": "path"}}
    assert access.grants is not None
    assert mounts[str(access.grants.parent)] == "grants"
    grants = tmp_path / access.grants.name
    grants.write_text(objects["ConfigMap", "mine-grants"]["data"][access.grants.name])
    assert list(read_grants(grants)) == ["certificate:door"]


def test_with_tls_the_pod_asks_itself_and_nothing_allows_plaintext() -> None:
    secured, plain = render(CASES["secured"]), render({})
    for probe in ("startupProbe", "readinessProbe"):
        command = container(secured, "mine")[probe]["exec"]["command"]
        assert command[:2] == ["sameface", "health"]
        # The kubelet ends a command after a second unless it is told otherwise.
        assert container(secured, "mine")[probe]["timeoutSeconds"] > float(command[command.index("--timeout") + 1])
        assert container(plain, "mine")[probe]["grpc"] == {"port": 50051}
    # Liveness does not follow the parts that a service needs.
    assert NEEDS[container(plain, "mine")["livenessProbe"]["grpc"]["service"]] == ()
    assert container(secured, "mine")["livenessProbe"]["tcpSocket"] == {"port": "grpc"}
    assert "SAMEFACE_ALLOW_PLAINTEXT" not in environment(secured)
    assert environment(plain)["SAMEFACE_ALLOW_PLAINTEXT"] == "true"


def test_cert_manager_fills_the_secret_for_the_names_that_clients_use() -> None:
    objects = render(CASES["secured"])
    certificate = objects["Certificate", "mine"]["spec"]
    assert certificate["secretName"] == "faces-tls"
    assert {name for kind, name in objects if kind == "Service" and "triton" not in name} <= set(
        certificate["dnsNames"]
    )
    assert "faces.example" in certificate["dnsNames"]
    # Its probes show this certificate where the port asks for one.
    assert set(certificate["usages"]) == {"server auth", "client auth"}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"tls": {"enabled": True}}, "needs tls.secretName"),
        ({"tls": {"secretName": "faces"}}, "set tls.enabled to true"),
        ({"tls": {"clientCa": {"secretName": "callers"}}}, "set tls.enabled to true"),
        ({"access": {"keysSecretName": "keys"}}, "set access.required to true"),
        ({"access": {"required": True}, "qdrant": {"url": "http://q:6334"}}, "set access.keysSecretName"),
        ({"audit": {"enabled": True, "mirror": False}, "qdrant": {"url": "http://q:6334"}}, "needs audit.mirror"),
        (
            {"service": {"secretEnv": {"SAMEFACE_QDRANT_API_KEY": {"name": "a", "key": "b"}}}},
            "use the value qdrant.apiKeySecret",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_half_a_security_is_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(helm.HelmRenderError, match=reason):
        render(values)


def test_an_image_may_be_named_by_digest() -> None:
    digest = "sha256:" + "d" * 64
    objects = render({"service": {"image": {"digest": digest}}, "triton": {"image": {"digest": digest}}})
    assert container(objects, "mine")["image"] == f"sameface:0.1.0@{digest}"
    assert container(objects, "mine-triton")["image"] == f"sameface-triton:0.1.0@{digest}"


def test_the_service_gives_up_before_its_startup_probe_does() -> None:
    for seconds, tls in ((0, {}), (300, {}), (3600, {}), (300, CASES["secured"]["tls"])):
        objects = render({"service": {"startupSeconds": seconds}, "tls": tls})
        probe = container(objects, "mine")["startupProbe"]
        assert environment(objects)["SAMEFACE_STARTUP_S"] == str(seconds)
        assert probe["periodSeconds"] * probe["failureThreshold"] >= seconds + 60


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SAMEFACE_LISTEN", "service.port"),
        ("SAMEFACE_DRAIN_S", "service.drainSeconds"),
        ("SAMEFACE_STARTUP_S", "service.startupSeconds"),
        ("SAMEFACE_TRITON_URL", "triton.url"),
        ("SAMEFACE_INFERENCE", "triton.enabled"),
        ("SAMEFACE_QDRANT_URL", "qdrant.url"),
        ("SAMEFACE_QDRANT_API_KEY", "qdrant.apiKeySecret"),
    ],
)
def test_what_the_chart_sets_itself_is_refused_in_the_environment(variable: str, value: str) -> None:
    with pytest.raises(helm.HelmRenderError, match=rf"service.env sets {variable}.* set the value {value} instead"):
        render({"service": {"env": {variable: "1"}}})


def test_the_chart_refuses_every_variable_that_it_sets() -> None:
    # Without what the values set for the operator.
    quiet = {
        "env": dict.fromkeys(yaml.safe_load((CHART / "values.yaml").read_text())["service"]["env"]),
        "secretEnv": {},
    }
    text = "".join(
        "".join(files({**case, "service": {**case.get("service", {}), **quiet}}).values()) for case in CASES.values()
    )
    for variable in set(re.findall(r"name: (SAMEFACE_\w+)", text)):
        with pytest.raises(helm.HelmRenderError, match=f"service.env sets {variable}"):
            render({"service": {"env": {variable: "1"}}})


@pytest.mark.parametrize("component", ["service", "triton"])
def test_no_value_turns_telemetry_on(component: str) -> None:
    for more in (
        {"env": {"ORT_DISABLE_TELEMETRY": "0"}},
        {"secretEnv": {"ORT_DISABLE_TELEMETRY": {"name": "a", "key": "b"}}},
    ):
        with pytest.raises(helm.HelmRenderError, match=r"sets ORT_DISABLE_TELEMETRY.* remove the variable"):
            render({component: more})


def test_no_container_has_a_variable_twice_and_what_triton_has_is_refused() -> None:
    for case in CASES.values():
        for name in controllers(objects := render(case)):
            names = [one["name"] for one in container(objects, name).get("env", [])]
            assert len(names) == len(set(names))
    for entry in container(render({}), "mine-triton")["env"]:
        with pytest.raises(helm.HelmRenderError, match=f"triton.env sets {entry['name']}"):
            render({"triton": {"env": {entry["name"]: "1"}}})


def test_a_setting_is_added_to_those_that_keep_memory_within_its_limit() -> None:
    settings = environment(render({"service": {"env": {"SAMEFACE_MAX_FACES": "8", "SAMEFACE_MAX_REQUESTS": "4"}}}))
    assert settings["SAMEFACE_MAX_FACES"] == "8"
    assert (settings["SAMEFACE_VISION_THREADS"], settings["SAMEFACE_MAX_REQUESTS"]) == ("2", "4")


def test_the_documented_installation_renders_and_names_its_images() -> None:
    text = Path("docs/deployment.md").read_text().replace("\\\n", " ")
    commands = re.findall(
        r"^helm (install|upgrade) (\S+) docker/chart +(?:--reset-then-reuse-values +)?(--set.*)$", text, re.M
    )
    assert {(verb, release) for verb, release, _ in commands} == {("install", "faces"), ("upgrade", "faces")}
    values: dict[str, Any] = {}
    for _, release, options in commands:
        words = shlex.split(options)
        parsers = {"--set": helm.parse_set_string, "--set-json": helm.parse_set_json}
        for option, one in zip(words[::2], words[1::2], strict=True):
            put(values, parsers[option](one))
        objects = render(values, release)
        for name, folder in ((release, "sameface"), (f"{release}-triton", "sameface-triton")):
            image = container(objects, name)["image"]
            assert f"docker push {image}\n" in text
            assert f"-t {image} ." in text
            assert re.fullmatch(rf"registry\.example/{folder}:[\w.]+", image)


def put(values: dict[str, Any], more: dict[str, Any]) -> None:
    """Add values as Helm does."""
    for name, value in more.items():
        if isinstance(value, dict) and isinstance(values.get(name), dict):
            put(values[name], value)
        else:
            values[name] = value


def test_gpus_are_asked_for_beside_the_other_limits() -> None:
    limits = container(render(CASES["GPUs"]), "mine-triton")["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == 1
    assert limits["memory"] == "4Gi"


def test_without_a_triton_here_none_is_installed() -> None:
    for case, expected in (("a Triton of one's own", "gpu-box:8001"), ("no Triton", None)):
        objects = render(CASES[case])
        assert ("Deployment", "mine-triton") not in objects
        assert environment(objects).get("SAMEFACE_TRITON_URL") == expected
    assert environment(render(CASES["no Triton"]))["SAMEFACE_INFERENCE"] == "onnx"
