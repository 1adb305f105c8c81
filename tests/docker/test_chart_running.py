"""What the Helm chart renders for running it: replaced pods, scaling, drains, policies, metrics."""

import json
import re
from pathlib import Path

import pytest
import yaml

from sameface.metrics.definitions import METRICS, PREFIX
from sameface.variables import known_variables
from tests.docker import helm
from tests.docker.chart import CASES, container, controllers, environment, files, pod, render


def test_the_upgrade_strategy_never_needs_a_field_removed() -> None:
    """Helm 4 cannot remove what the server filled in, so `rollingUpdate` is always given and its type stays."""
    for case in CASES.values():
        for (kind, _), one in render(case).items():
            if kind == "Deployment":
                assert one["spec"]["strategy"]["type"] == "RollingUpdate"
                assert one["spec"]["strategy"]["rollingUpdate"].keys() == {"maxSurge", "maxUnavailable"}
    service = render(CASES["a Qdrant of one's own"])["Deployment", "mine"]["spec"]["strategy"]["rollingUpdate"]
    assert service == {"maxSurge": 1, "maxUnavailable": 0}


def test_with_one_gpu_the_old_triton_ends_before_the_new_one() -> None:
    gpu, cpu = render(CASES["GPUs"]), render({})
    for objects, expected in (
        (gpu, {"maxSurge": 0, "maxUnavailable": 1}),
        (cpu, {"maxSurge": 1, "maxUnavailable": 0}),
        (render(CASES["everything else"]), {"maxSurge": "50%", "maxUnavailable": 0}),
    ):
        assert objects["Deployment", "mine-triton"]["spec"]["strategy"]["rollingUpdate"] == expected
    assert pod(gpu, "mine-triton")["runtimeClassName"] == "nvidia"
    assert "runtimeClassName" not in pod(cpu, "mine-triton")


def test_an_autoscaler_has_the_number_of_pods_to_itself() -> None:
    objects = render(CASES["scaled by load"])
    for name, least in (("mine", 2), ("mine-triton", 1)):
        assert "replicas" not in objects["Deployment", name]["spec"]
        scaler = objects["HorizontalPodAutoscaler", name]["spec"]
        assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        assert (scaler["minReplicas"], scaler["maxReplicas"]) == (least, 6)
        assert objects["PodDisruptionBudget", name]["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    metrics = objects["HorizontalPodAutoscaler", "mine"]["spec"]["metrics"]
    assert [one["type"] for one in metrics] == ["Resource", "Pods"]


def test_one_pod_never_blocks_a_drain() -> None:
    several = {"service": {"replicas": 2}, "triton": {"replicas": 2}, "qdrant": {"url": "http://q:6334"}}
    assert {name for kind, name in render(several) if kind == "PodDisruptionBudget"} == {"mine", "mine-triton"}
    assert not [name for kind, name in render({}) if kind == "PodDisruptionBudget"]


def test_policies_name_every_port_that_the_values_need() -> None:
    traced = {"service": {"env": {"SAMEFACE_TRACES__ENDPOINT": "http://collector.watch:4318"}}}
    objects = render({**CASES["guarded by the network"], **traced})
    service, triton = (objects["NetworkPolicy", name]["spec"] for name in ("mine", "mine-triton"))
    reached = [sorted(port["port"] for port in rule["ports"]) for rule in service["egress"]]
    # Name servers; Triton; Qdrant's nodes, one at the default port, the provider's and the collector's; the operator's.
    assert reached == [[53, 53], [8001], [443, 4318, 6334, 7000], [3128]]
    assert service["ingress"] == [
        {"from": [{"namespaceSelector": {"matchLabels": {"door": "yes"}}}], "ports": [{"port": "grpc"}]}
    ]
    assert triton["egress"] == []
    callers = triton["ingress"][0]["from"][0]["podSelector"]["matchLabels"]
    assert callers.items() <= controllers(objects)["mine"]["metadata"]["labels"].items()


@pytest.mark.parametrize(
    "release", ["y", "no", "123", "1e3", "0x1f", "my.faces", "r" * 53, "a" * 46 + "-bcdefg", "null"]
)
def test_every_release_name_that_helm_takes_gives_names_that_kubernetes_takes(release: str) -> None:
    helm.validate_release_name(release)
    for case in ("scaled by load", "as it is"):
        for (kind, name), one in render(CASES[case], release).items():
            assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", name), (kind, name)
            assert len(name) <= 63
            assert one["metadata"]["labels"]["app.kubernetes.io/instance"] == release


def test_a_deployment_waits_for_a_start_that_may_be_slow() -> None:
    slow = {"startupSeconds": 3600}
    objects = render({"service": slow, "triton": slow, "qdrant": {"url": "http://q:6334"}})
    for name in ("mine", "mine-triton"):
        probe = container(objects, name)["startupProbe"]
        longest = probe["periodSeconds"] * probe["failureThreshold"]
        assert objects["Deployment", name]["spec"]["progressDeadlineSeconds"] > longest >= 3600


def test_a_change_of_grants_replaces_the_pods() -> None:
    def annotations(grants: str) -> dict[str, str]:
        objects = render({"access": {"required": True, "keysSecretName": "keys", "grants": grants}})
        return dict(controllers(objects)["mine"]["metadata"]["annotations"])

    assert annotations("one = 1") != annotations("two = 2")
    assert annotations("one = 1") == annotations("one = 1")


def test_pods_have_what_else_the_values_give_them() -> None:
    objects = render(CASES["everything else"])
    settings = environment(objects)
    assert settings["HTTPS_PROXY"] == "http://proxy:3128"
    assert settings["LICENCE"] == {"secretKeyRef": {"name": "licence", "key": "text"}}
    for name, path, annotation in (
        ("mine", "/etc/more", ("example.org/team", "Faces & Doors")),
        ("mine-triton", "/more", ("prometheus.io/scrape", "false")),
    ):
        template = controllers(objects)[name]
        assert annotation in template["metadata"]["annotations"].items()
        assert template["metadata"]["labels"]["example.org/team"] == "faces"
        assert template["spec"]["priorityClassName"] == "high"
        assert template["spec"]["serviceAccountName"] == "faces"
        assert path in [one["mountPath"] for one in container(objects, name)["volumeMounts"]]
        assert "more" in [one["name"] for one in template["spec"]["volumes"]]
        # Variables of Services would look like settings.
        assert template["spec"]["enableServiceLinks"] is False
    # Numbers of OpenShift are large: 1.00066e+09 would be refused.
    assert "runAsUser: 1000660000\n" in files(CASES["everything else"])["statefulset.yaml"]
    ids = {"runAsUser", "runAsGroup", "fsGroup"}
    open_shift = render(CASES["OpenShift"])
    assert not ids & {id for name in ("mine", "mine-triton") for id in pod(open_shift, name)["securityContext"]}


def test_helm_test_asks_the_service_through_its_encryption() -> None:
    for case in ("as it is", "secured"):
        objects = render(CASES[case])
        spec = objects["Pod", "mine-test"]["spec"]
        (one,) = spec["containers"]
        found = {entry["name"]: entry["value"] for entry in one["env"]}
        assert one["args"][0] == "health"
        assert found.pop("SAMEFACE_LISTEN") == "mine:50051"
        assert found.items() <= environment(objects).items()
        assert ("SAMEFACE_TLS__CERTIFICATE" in found) == (case == "secured")
        mounted = {mount["name"]: mount["mountPath"] for mount in one["volumeMounts"]}
        assert mounted.keys() == {volume["name"] for volume in spec["volumes"]}
        for name, file in found.items():
            assert not file.startswith("/") or str(Path(file).parent) in mounted.values(), name


def test_prometheus_reads_every_pod_once_and_has_the_rules() -> None:
    objects = render(CASES["watched"])
    for name in ("mine", "mine-triton"):
        monitor = objects["ServiceMonitor", name]["spec"]
        (end,) = monitor["endpoints"]
        found = [
            one["metadata"]["name"]
            for (kind, _), one in objects.items()
            if kind == "Service"
            and monitor["selector"]["matchLabels"].items() <= one["metadata"]["labels"].items()
            and end["port"] in [port["name"] for port in one["spec"]["ports"]]
        ]
        assert found == [f"{name}-headless"]
        assert "scheme" not in end
    assert objects["ServiceMonitor", "mine"]["metadata"]["labels"]["release"] == "prometheus"
    rules = yaml.safe_load(Path("docker/monitoring/rules.yaml").read_text())
    assert objects["PrometheusRule", "mine"]["spec"] == {"groups": rules["groups"]}
    watched = CASES["watched"]["metrics"]
    elsewhere = {**watched, "rules": {"enabled": True, "runbookUrl": "https://docs.example/runbook/"}}
    linked = render({"metrics": elsewhere})["PrometheusRule", "mine"]["spec"]["groups"]
    expected = json.dumps(rules["groups"]).replace("docs/runbook.md", "https://docs.example/runbook/")
    assert linked == json.loads(expected)
    dashboard = objects["ConfigMap", "mine-dashboard"]["data"]["sameface.json"]
    assert json.loads(dashboard) == json.loads(Path("docker/monitoring/dashboard.json").read_text())
    allowed = objects["NetworkPolicy", "mine"]["spec"]["ingress"]
    assert [one["ports"][0]["port"] for one in allowed] == ["grpc", "metrics"]


def test_metrics_are_as_encrypted_as_the_calls() -> None:
    objects = render(CASES["secured"])
    settings = environment(objects)
    assert settings["SAMEFACE_METRICS__LISTEN"] == "0.0.0.0:9464"
    for part in ("CERTIFICATE", "PRIVATE_KEY"):
        assert settings[f"SAMEFACE_METRICS__TLS__{part}"] == settings[f"SAMEFACE_TLS__{part}"]
    (end,) = objects["ServiceMonitor", "mine"]["spec"]["endpoints"]
    assert (end["scheme"], end["tlsConfig"]["serverName"]) == ("https", "mine")
    assert end["tlsConfig"]["ca"]["secret"]["name"] == "faces-tls"


def test_every_variable_that_the_chart_sets_is_one_that_the_service_reads() -> None:
    for case in CASES.values():
        names = {name for name in environment(render(case)) if name.startswith("SAMEFACE_")}
        assert names <= known_variables()


def test_the_metric_for_the_autoscaler_is_one_that_the_service_has() -> None:
    (rule,) = yaml.safe_load(Path("docker/prometheus-adapter.yaml").read_text())["rules"]
    name = rule["seriesQuery"].partition("{")[0]
    (metric,) = [one for one in METRICS if f"{PREFIX}{one.name}" == name]
    assert (metric.kind, *metric.labels) == ("gauge", "lane")
    assert 'lane="photos"' in rule["metricsQuery"]
    # The documented value names it too.
    assert f'"name": "{name}"' in Path("docs/deployment.md").read_text()
