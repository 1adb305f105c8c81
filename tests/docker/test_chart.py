"""The Helm chart: rendered by Helm itself, and every object held against the Kubernetes schemas."""

import json
from pathlib import Path
from typing import Any

import helm_python
import jsonschema
import kubernetes_validate
import pytest
import yaml

CHART = Path("docker/chart")
VERSIONS = ("1.27", "1.30", "1.33")
CASES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "a Qdrant of one's own": {
        "service": {"replicas": 3, "env": {"SAMEFACE_QUALITY__MIN_SHARPNESS": "30"}},
        "qdrant": {"url": "https://qdrant.example:6334", "apiKeySecret": {"name": "qdrant", "key": "key"}},
    },
    "Qdrant beside it": {"qdrant": {"enabled": True}, "service": {"replicas": 2}},
    "GPUs": {"triton": {"gpu": {"count": 1}, "replicas": 2}, "nodeSelector": {"gpu": "yes"}},
    "a Triton of one's own": {"triton": {"url": "gpu-box:8001"}},
    "no Triton": {"triton": {"enabled": False}},
    "everything else": {
        "imagePullSecrets": [{"name": "pull"}],
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "service": {"persistence": {"size": "20Gi", "storageClassName": "fast"}},
    },
}


def render(values: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return every object by kind and name."""
    chart = helm_python.Chart.load(str(CHART))
    chart.validate_schema(values)
    rendered = chart.render(values=values, name="mine")
    texts = [text for path, text in rendered.items() if not path.endswith("NOTES.txt")]
    objects = [one for text in texts for one in yaml.safe_load_all(text) if one]
    return {(one["kind"], one["metadata"]["name"]): one for one in objects}


def container(objects: dict[tuple[str, str], dict[str, Any]], deployment: str) -> dict[str, Any]:
    (found,) = objects["Deployment", deployment]["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def environment(objects: dict[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container(objects, "mine")["env"]}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(case: str, version: str) -> None:
    objects = render(CASES[case])
    for one in objects.values():
        kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("case", CASES)
def test_selectors_choose_the_pods_they_are_meant_for(case: str) -> None:
    objects = render(CASES[case])
    pods = {
        name: one["spec"]["template"]["metadata"]["labels"]
        for (kind, name), one in objects.items()
        if kind == "Deployment"
    }
    for (kind, name), one in objects.items():
        if kind in ("Service", "PodDisruptionBudget"):
            selector = one["spec"]["selector"]
            wanted = (selector.get("matchLabels") or selector).items()
            chosen = [pod for pod, labels in pods.items() if wanted <= labels.items()]
            assert chosen == ["mine-triton" if "triton" in name else "mine"]


@pytest.mark.parametrize("case", CASES)
def test_nothing_runs_as_root_or_may_become_it(case: str) -> None:
    for (kind, _), one in render(CASES[case]).items():
        if kind == "Deployment":
            pod = one["spec"]["template"]["spec"]
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["automountServiceAccountToken"] is False
            for each in pod["containers"]:
                assert each["securityContext"]["allowPrivilegeEscalation"] is False
                assert each["securityContext"]["capabilities"] == {"drop": ["ALL"]}
                assert {"startupProbe", "readinessProbe", "livenessProbe", "resources"} <= each.keys()


def test_alone_it_keeps_templates_on_a_volume_and_replaces_its_pod() -> None:
    objects = render({})
    assert objects["Deployment", "mine"]["spec"]["strategy"]["type"] == "Recreate"
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
    assert environment(render(CASES["Qdrant beside it"]))["SAMEFACE_QDRANT_URL"] == "http://mine-qdrant:6334"
    with pytest.raises(helm_python.HelmRenderError, match="no Qdrant server to share"):
        render({"service": {"replicas": 2}})


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


@pytest.mark.parametrize(
    "values",
    [
        {"service": {"replicas": 0}},
        {"service": {"env": {"PATH": "/bin"}}},
        {"service": {"colour": "red"}},
        {"triton": {"url": "http://gpu:8001"}},
        {"qdrant": {"url": "qdrant:6334"}},
        {"service": {"persistence": {"size": "much"}}},
        {"unknown": 1},
    ],
    ids=json.dumps,
)
def test_wrong_values_are_refused_by_the_schema(values: dict[str, Any]) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, schema)
    with pytest.raises(helm_python.HelmError):
        helm_python.Chart.load(str(CHART)).validate_schema(values)


def test_helm_lint_finds_no_error() -> None:
    report = helm_python.lint(str(CHART), {})
    assert report["errors"] == []
    # The optional Qdrant chart is fetched by `helm dependency update`, which needs a network.
    messages = [one["error"] for one in report["messages"] if one["severity"] > 1]
    assert messages == ["chart directory is missing these dependencies: qdrant"]
