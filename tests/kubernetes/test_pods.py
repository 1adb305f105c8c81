"""Pods of a release, on nodes that pretend to run them."""

import functools
from typing import Any

import pytest

from tests.kubernetes.cluster import Api, Cluster, Object, Refused, until
from tests.kubernetes.helm import Helm

SEVERAL: dict[str, Any] = {
    "qdrant": {"url": "http://qdrant:6334"},
    "service": {"replicas": 2},
    "triton": {"replicas": 2},
}


def pods(api: Api, namespace: str, component: str) -> list[Object]:
    """Return the pods of a component that have not been told to end."""
    return [
        one
        for one in api.all("v1", "Pod", namespace)
        if one["metadata"]["labels"].get("app.kubernetes.io/component") == component
        and "deletionTimestamp" not in one["metadata"]
    ]


def ready(one: Object) -> bool:
    """Return whether a pod is ready."""
    conditions = one.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def serves(api: Api, namespace: str, component: str, count: int, image: str = "") -> bool:
    """Return whether this many pods of a component are ready, all of one image."""
    found = pods(api, namespace, component)
    return (
        len(found) == count
        and all(map(ready, found))
        and all(one["spec"]["containers"][0]["image"].endswith(image) for one in found)
    )


def wait_for(api: Api, namespace: str, component: str, count: int, image: str = "", seconds: float = 60.0) -> None:
    """Wait until this many pods of a component are ready, all of one image.

    Raises:
        TimeoutError: they were not.
    """
    until(lambda: serves(api, namespace, component, count, image), f"{count} of {component} are ready", seconds)


def test_all_pods_are_scheduled_and_stand_behind_their_services(nodes: Cluster, helm: Helm) -> None:
    def targets(service: str) -> list[str]:
        slices = nodes.api.all("discovery.k8s.io/v1", "EndpointSlice", helm.namespace)
        own = [one for one in slices if one["metadata"]["labels"]["kubernetes.io/service-name"] == service]
        return [each["targetRef"]["name"] for one in own for each in one["endpoints"] or []]

    def leads_to(service: str, component: str) -> bool:
        return targets(service) == [one["metadata"]["name"] for one in pods(nodes.api, helm.namespace, component)]

    nodes.volume()
    helm.install("faces", {})
    for component in ("service", "triton"):
        wait_for(nodes.api, helm.namespace, component, 1)
    for service, component in (
        ("faces", "service"),
        ("faces-headless", "service"),
        ("faces-triton-headless", "triton"),
    ):
        until(functools.partial(leads_to, service, component), f"{service} leads to {component}")


def test_the_pod_with_the_volume_ends_before_the_next_begins(nodes: Cluster, helm: Helm) -> None:
    nodes.volume()
    helm.install("faces", {})
    wait_for(nodes.api, helm.namespace, "service", 1)
    before = pods(nodes.api, helm.namespace, "service")[0]["metadata"]["uid"]
    seen: set[int] = set()

    def replaced() -> bool:
        found = [one for one in nodes.api.all("v1", "Pod", helm.namespace) if one["metadata"]["name"] == "faces-0"]
        seen.add(len([one for one in nodes.api.all("v1", "Pod", helm.namespace) if "faces-data" in str(one["spec"])]))
        return bool(found) and found[0]["metadata"]["uid"] != before and ready(found[0])

    helm.upgrade("faces", {"service": {"image": {"tag": "0.2.0"}}})
    until(replaced, "the pod is replaced")
    assert max(seen) == 1


def test_a_new_triton_gets_the_only_gpu(nodes: Cluster, helm: Helm) -> None:
    node = f"gpu-{helm.namespace}"
    nodes.node(node, **{"nvidia.com/gpu": "1"})
    values: dict[str, Any] = {
        "qdrant": {"url": "http://qdrant:6334"},
        "triton": {"gpu": {"count": 1}, "nodeSelector": {"kubernetes.io/hostname": node}},
    }
    helm.install("faces", values)
    wait_for(nodes.api, helm.namespace, "triton", 1)
    values["triton"]["image"] = {"tag": "0.2.0"}
    helm.upgrade("faces", values)
    wait_for(nodes.api, helm.namespace, "triton", 1, ":0.2.0")
    # As it was before the chart chose: the new pod waits for the GPU of the old one, for ever.
    values["triton"] |= {"image": {"tag": "0.3.0"}, "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    helm.upgrade("faces", values)
    until(lambda: len(pods(nodes.api, helm.namespace, "triton")) == 2, "a second pod")
    with pytest.raises(TimeoutError):
        wait_for(nodes.api, helm.namespace, "triton", 1, ":0.3.0", seconds=3)


@pytest.mark.parametrize(("component", "budget"), [("service", "faces"), ("triton", "faces-triton")])
def test_pods_that_are_not_ready_do_not_block_a_drain(component: str, budget: str, nodes: Cluster, helm: Helm) -> None:
    def allowed() -> int:
        found = nodes.api.one("policy/v1", "PodDisruptionBudget", helm.namespace, budget)
        return int(found["status"].get("disruptionsAllowed", 0))

    helm.install("faces", SEVERAL)
    wait_for(nodes.api, helm.namespace, component, 2)
    until(lambda: allowed() == 1, "one may go")
    # Of two that are ready, one may go. The next has to stay while the first one's successor finds no node.
    first, second = pods(nodes.api, helm.namespace, component)
    cordon(nodes.api, True)
    try:
        evict(nodes.api, first)
        with pytest.raises(Refused, match="disruption budget"):
            evict(nodes.api, second)
    finally:
        cordon(nodes.api, False)
    wait_for(nodes.api, helm.namespace, component, 2)
    # Where neither is ready, both may go.
    both = pods(nodes.api, helm.namespace, component)
    for one in both:
        unready(nodes.api, one)
    for one in both:
        evict(nodes.api, one)


def cordon(api: Api, closed: bool) -> None:
    """Close every node to new pods, or open them."""
    for one in api.all("v1", "Node", ""):
        path = api.place("v1", "Node", "", one["metadata"]["name"])
        body = {"spec": {"unschedulable": closed}}
        api.ask("PATCH", path, body, content_type="application/merge-patch+json")


def evict(api: Api, one: Object) -> None:
    """Ask for a pod to be evicted, as a drain does."""
    name, namespace = one["metadata"]["name"], one["metadata"]["namespace"]
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    api.ask("POST", api.place("v1", "Pod", namespace, name) + "/eviction", body)


def unready(api: Api, one: Object) -> None:
    """Make a pod not ready, as if its Triton were away."""
    path = api.place("v1", "Pod", one["metadata"]["namespace"], one["metadata"]["name"]) + "/status"
    body = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    api.ask("PATCH", path, body, content_type="application/strategic-merge-patch+json")


def test_a_rolling_upgrade_keeps_as_many_pods_ready_as_there_were(nodes: Cluster, helm: Helm) -> None:
    helm.install("faces", SEVERAL)
    wait_for(nodes.api, helm.namespace, "service", 2)
    fewest = 2

    def done() -> bool:
        nonlocal fewest
        found = pods(nodes.api, helm.namespace, "service")
        fewest = min(fewest, sum(map(ready, found)))
        return serves(nodes.api, helm.namespace, "service", 2, ":0.2.0")

    helm.upgrade("faces", {**SEVERAL, "service": {"replicas": 2, "image": {"tag": "0.2.0"}}})
    until(done, "both pods are new")
    assert fewest == 2


def test_a_pod_with_the_volume_that_never_becomes_ready_is_replaced_by_the_next_upgrade(
    nodes: Cluster, helm: Helm
) -> None:
    nodes.volume()
    helm.install("faces", {"service": {"image": {"tag": "0.1.9"}}})
    wait_for(nodes.api, helm.namespace, "service", 1)
    unready(nodes.api, pods(nodes.api, helm.namespace, "service")[0])
    helm.upgrade("faces", {})
    wait_for(nodes.api, helm.namespace, "service", 1, ":0.1.0")
