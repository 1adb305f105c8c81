"""Releases of the chart: installed, upgraded, rolled back, removed. No pod has to run for this."""

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kubernetes.cluster import Api, Cluster, Object, Refused, until
from tests.kubernetes.helm import Helm, HelmFailed

QDRANT: dict[str, Any] = {"qdrant": {"url": "http://qdrant:6334"}, "service": {"replicas": 2}}
# Everything that a release may leave or make, by its API.
KINDS = {
    "v1": ("Service", "ConfigMap", "ServiceAccount", "PersistentVolumeClaim"),
    "apps/v1": ("Deployment", "StatefulSet"),
    "policy/v1": ("PodDisruptionBudget",),
    "autoscaling/v2": ("HorizontalPodAutoscaler",),
    "networking.k8s.io/v1": ("NetworkPolicy",),
    "batch/v1": ("Job",),
}
OF_KUBERNETES = {("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")}


def present(api: Api, namespace: str) -> set[tuple[str, str]]:
    """Return kind and name of everything in a namespace that Kubernetes does not make itself."""
    return {
        (kind, one["metadata"]["name"])
        for version, kinds in KINDS.items()
        for kind in kinds
        for one in api.all(version, kind, namespace)
    } - OF_KUBERNETES


def test_a_release_comes_changes_and_goes_but_for_its_volume(cluster: Cluster, helm: Helm) -> None:
    def image() -> str:
        found = cluster.api.one("apps/v1", "StatefulSet", helm.namespace, "faces")
        return str(found["spec"]["template"]["spec"]["containers"][0]["image"])

    assert "statefulset/faces" in helm.install("faces", {})
    installed = present(cluster.api, helm.namespace)
    assert {
        ("StatefulSet", "faces"),
        ("Deployment", "faces-triton"),
        ("PersistentVolumeClaim", "faces-data"),
    } <= installed
    helm.upgrade("faces", {"service": {"image": {"tag": "0.2.0"}}})
    assert image() == "sameface:0.2.0"
    helm.rollback("faces", 1)
    assert image() == "sameface:0.1.0"
    assert present(cluster.api, helm.namespace) == installed
    helm.uninstall("faces")
    until(
        lambda: present(cluster.api, helm.namespace) == {("PersistentVolumeClaim", "faces-data")},
        "only the claim is left",
    )
    # The release takes its volume over again.
    helm.install("faces", {})
    assert present(cluster.api, helm.namespace) == installed


def test_the_store_moves_to_a_server_and_back_by_upgrade_and_by_rollback(cluster: Cluster, helm: Helm) -> None:
    def workloads() -> set[tuple[str, str]]:
        return {
            (kind, name)
            for kind, name in present(cluster.api, helm.namespace)
            if name == "faces" and kind in KINDS["apps/v1"]
        }

    embedded, server = {("StatefulSet", "faces")}, {("Deployment", "faces")}
    helm.install("faces", {})
    claim = cluster.api.one("v1", "PersistentVolumeClaim", helm.namespace, "faces-data")["metadata"]["uid"]
    notes = helm.upgrade("faces", QDRANT)
    assert "still on the volume faces-data" in notes
    assert "qdrant.moveFromVolume=true" in notes
    assert workloads() == server
    assert "the service stored templates in" not in notes
    notes = helm.upgrade("faces", {})
    assert "still on the volume" not in notes
    assert "the service stored templates in http://qdrant:6334 until now" in notes
    assert workloads() == embedded
    for revision, expected in ((2, server), (1, embedded), (2, server), (3, embedded)):
        helm.rollback("faces", revision)
        assert workloads() == expected
        found = cluster.api.one("v1", "PersistentVolumeClaim", helm.namespace, "faces-data")
        assert found["metadata"]["uid"] == claim
        assert "deletionTimestamp" not in found["metadata"]


def test_a_release_that_began_with_a_server_comes_to_a_volume_and_back(cluster: Cluster, helm: Helm) -> None:
    helm.install("faces", QDRANT)
    assert ("PersistentVolumeClaim", "faces-data") not in present(cluster.api, helm.namespace)
    helm.upgrade("faces", {})
    assert ("StatefulSet", "faces") in present(cluster.api, helm.namespace)
    helm.rollback("faces", 1)
    assert ("Deployment", "faces") in present(cluster.api, helm.namespace)
    assert ("PersistentVolumeClaim", "faces-data") in present(cluster.api, helm.namespace)
    # Revision 3 is the first again and knows no claim. From there Helm 3 cannot go back to the second. An upgrade to
    # what ran before adopts what the attempt left, and another one goes on.
    if helm.version == 3:
        with pytest.raises(HelmFailed, match="no PersistentVolumeClaim with the name"):
            helm.rollback("faces", 2)
        helm.upgrade("faces", QDRANT)
        assert ("StatefulSet", "faces") not in present(cluster.api, helm.namespace)
        helm.upgrade("faces", {})
    else:
        helm.rollback("faces", 2)
    assert ("StatefulSet", "faces") in present(cluster.api, helm.namespace)
    assert ("Deployment", "faces") not in present(cluster.api, helm.namespace)


def test_a_volume_that_was_erased_is_no_longer_spoken_of(cluster: Cluster, helm: Helm) -> None:
    helm.install("faces", {})
    helm.upgrade("faces", QDRANT)
    path = cluster.api.place("v1", "PersistentVolumeClaim", helm.namespace, "faces-data")
    cluster.api.ask("DELETE", path)
    # Nothing uses it, so Kubernetes' protection lets it go.
    until(lambda: ("PersistentVolumeClaim", "faces-data") not in present(cluster.api, helm.namespace), "it is gone")
    assert "faces-data" not in helm.upgrade("faces", QDRANT)
    assert ("PersistentVolumeClaim", "faces-data") not in present(cluster.api, helm.namespace)


def test_a_volume_that_was_grown_stays_as_it_is(cluster: Cluster, helm: Helm) -> None:
    name = f"growing-{helm.namespace}"
    cluster.api.put(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": name},
            "provisioner": "kubernetes.io/no-provisioner",
            "allowVolumeExpansion": True,
        }
    )

    def size() -> str:
        found = cluster.api.one("v1", "PersistentVolumeClaim", helm.namespace, "faces-data")
        return str(found["spec"]["resources"]["requests"]["storage"])

    def values(size: str, storage: str = name) -> dict[str, Any]:
        return {"service": {"persistence": {"size": size, "storageClassName": storage}}}

    cluster.volume("5Gi", name)
    helm.install("faces", values("5Gi"))
    until(
        lambda: (
            cluster.api.one("v1", "PersistentVolumeClaim", helm.namespace, "faces-data")["status"]["phase"] == "Bound"
        ),
        "the claim has a volume",
    )
    # By the value, and by hand.
    helm.upgrade("faces", values("10Gi"))
    assert size() == "10Gi"
    path = cluster.api.place("v1", "PersistentVolumeClaim", helm.namespace, "faces-data")
    grown = {"spec": {"resources": {"requests": {"storage": "20Gi"}}}}
    cluster.api.ask("PATCH", path, grown, content_type="application/merge-patch+json")
    assert "set service.persistence.size to 20Gi" in helm.upgrade("faces", values("10Gi"))
    assert size() == "20Gi"
    with pytest.raises(HelmFailed, match=f'set service.persistence.storageClassName to "{name}"'):
        helm.upgrade("faces", values("10Gi", "another"))
    # A later release of the same name, with a smaller size, and without a class.
    helm.uninstall("faces")
    assert "set service.persistence.size to 20Gi" in helm.install("faces", values("5Gi", ""))
    assert size() == "20Gi"


@pytest.mark.parametrize("release", ["y", "123", "my.faces", "r" * 53])
def test_a_release_may_have_any_name_that_helm_takes(release: str, cluster: Cluster, helm: Helm) -> None:
    helm.install(release, {})
    helm.upgrade(release, QDRANT)
    assert len(present(cluster.api, helm.namespace)) > 5
    helm.uninstall(release)


@pytest.mark.parametrize("release", ["qdrant", "faces-qdrant-eu"])
def test_qdrant_stands_beside_a_release_of_any_name(
    release: str, cluster: Cluster, helm: Helm, qdrant_chart: Path
) -> None:
    """Both in a namespace at the level restricted, with the documented values and one key."""
    secret(cluster.api, helm.namespace, "qdrant-key", {"api-key": "0123456789abcdef"})
    values = yaml.safe_load(Path("docker/qdrant-values.yaml").read_text())
    helm.install("vectors-qdrant", values, chart=qdrant_chart)
    helm.install(
        release,
        {
            "qdrant": {"url": "http://vectors-qdrant:6334", "apiKeySecret": {"name": "qdrant-key"}},
            "service": {"replicas": 2},
        },
    )

    def pods() -> int:
        return len(cluster.api.all("v1", "Pod", helm.namespace))

    # One of Qdrant, two of the service, one of Triton: admission has let them in.
    until(lambda: pods() == 4, f"4 pods; {events(cluster.api, helm.namespace)}")
    service = cluster.api.one("v1", "Service", helm.namespace, "vectors-qdrant")
    assert 6334 in [port["port"] for port in service["spec"]["ports"]]
    container = cluster.api.one("apps/v1", "Deployment", helm.namespace, release)["spec"]["template"]["spec"][
        "containers"
    ][0]
    (key,) = [one for one in container["env"] if one["name"] == "SAMEFACE_QDRANT_API_KEY"]
    assert key["valueFrom"]["secretKeyRef"] == {"name": "qdrant-key", "key": "api-key"}


def test_an_upgrade_leaves_the_number_of_pods_to_the_autoscaler(cluster: Cluster, helm: Helm) -> None:
    def replicas() -> int:
        return int(cluster.api.one("apps/v1", "Deployment", helm.namespace, "faces")["spec"]["replicas"])

    scaled: dict[str, Any] = {**QDRANT, "service": {"autoscaling": {"enabled": True, "minReplicas": 3}}}
    helm.install("faces", QDRANT)
    helm.upgrade("faces", scaled)
    # The controller raises the number to the least.
    until(lambda: replicas() == 3, "three pods")
    path = cluster.api.place("apps/v1", "Deployment", helm.namespace, "faces") + "/scale"
    body = {"spec": {"replicas": 5}}
    cluster.api.ask("PATCH", path, body, content_type="application/merge-patch+json")
    helm.upgrade("faces", {**scaled, "service": {**scaled["service"], "image": {"tag": "0.2.0"}}})
    assert replicas() == 5


def test_pods_are_replaced_if_a_secret_that_they_read_at_their_start_has_changed(cluster: Cluster, helm: Helm) -> None:
    values = {
        "service": {
            "secretEnv": {"SAMEFACE_PROTECTION__KEYS": {"name": "variables", "key": "x"}},
            "secretMounts": [{"secretName": "files", "mountPath": "/etc/more"}],
        },
        "access": {"required": True, "keysSecretName": "keys"},
    }

    def generation() -> int:
        return int(cluster.api.one("apps/v1", "StatefulSet", helm.namespace, "faces")["metadata"]["generation"])

    for name in ("variables", "files", "keys"):
        secret(cluster.api, helm.namespace, name, {"x": "1"})
    helm.install("faces", values)
    before = generation()
    helm.upgrade("faces", values)
    assert generation() == before
    # Keys of callers are read again without a new pod.
    secret(cluster.api, helm.namespace, "keys", {"x": "2"})
    helm.upgrade("faces", values)
    assert generation() == before
    for number, name in enumerate(("variables", "files"), 1):
        secret(cluster.api, helm.namespace, name, {"x": "2"})
        helm.upgrade("faces", values)
        assert generation() == before + number


def test_a_namespace_with_a_quota_takes_what_is_documented(cluster: Cluster, helm: Helm) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "quota"},
        "spec": {"hard": {"limits.cpu": "8", "limits.memory": "16Gi"}},
    }
    cluster.api.put(quota, helm.namespace)
    helm.install("faces", {})
    until(lambda: "must specify limits.cpu" in events(cluster.api, helm.namespace), "the quota refuses pods")
    limits = {"resources": {"limits": {"cpu": "2"}}}
    helm.upgrade("faces", {"service": limits, "triton": limits})
    until(lambda: len(cluster.api.all("v1", "Pod", helm.namespace)) == 2, "both pods are made")


def test_a_namespace_with_a_limit_range_takes_what_is_documented(cluster: Cluster, helm: Helm) -> None:
    limits = {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "limits"},
        "spec": {"limits": [{"type": "Container", "max": {"cpu": "500m"}}]},
    }
    cluster.api.put(limits, helm.namespace)
    helm.install("faces", {})
    until(lambda: "500m" in events(cluster.api, helm.namespace), "the range refuses Triton")
    helm.upgrade("faces", {"triton": {"resources": {"requests": {"cpu": "500m"}}}})
    until(lambda: len(cluster.api.all("v1", "Pod", helm.namespace)) == 2, "both pods are made")


def test_what_the_schema_refuses_never_reaches_the_cluster(cluster: Cluster, helm: Helm) -> None:
    with pytest.raises(HelmFailed, match="5Gi"):
        helm.install("faces", {"service": {"persistence": {"size": "5K"}}})
    with pytest.raises(HelmFailed, match="set its gRPC port, 6334"):
        helm.install("faces", {"qdrant": {"url": "http://qdrant:6333"}})
    assert present(cluster.api, helm.namespace) == set()


def secret(api: Api, namespace: str, name: str, texts: dict[str, str]) -> None:
    """Make or change a Secret."""
    data = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
    api.put({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}, namespace)


def events(api: Api, namespace: str) -> str:
    """Return what controllers and the scheduler say."""
    found: list[Object] = []
    try:
        found = api.all("v1", "Event", namespace)
    except Refused as error:
        return str(error)
    return "\n".join(one.get("message", "") for one in found)
