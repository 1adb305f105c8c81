"""The Job that moves templates is made only where there is a volume. Its pod would need containers."""

from typing import Any

from tests.kubernetes.cluster import Cluster, until
from tests.kubernetes.helm import Helm
from tests.kubernetes.test_releases import present

MOVED: dict[str, Any] = {"qdrant": {"url": "http://qdrant:6334", "moveFromVolume": True}}


def test_without_a_volume_a_move_stops_no_release(cluster: Cluster, helm: Helm) -> None:
    assert "nothing is moved" in helm.install("fresh", MOVED)
    assert ("Job", "fresh-move") not in present(cluster.api, helm.namespace)
    helm.install("faces", {})
    path = cluster.api.place("v1", "PersistentVolumeClaim", helm.namespace, "faces-data")
    helm.upgrade("faces", {"qdrant": {"url": "http://qdrant:6334"}})
    cluster.api.ask("DELETE", path)
    until(lambda: ("PersistentVolumeClaim", "faces-data") not in present(cluster.api, helm.namespace), "it is gone")
    assert "nothing is moved" in helm.upgrade("faces", MOVED)
