"""Everything that the chart renders, against the validation and the admission of a real API server."""

from typing import Any

import pytest

from tests.docker.chart import CASES, controllers, render
from tests.kubernetes.cluster import Cluster, Refused

# Kinds that a plain cluster does not have; KUBE_CRDS names a folder that defines them.
OTHERS = {"Certificate", "ServiceMonitor", "PrometheusRule"}


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> str:
    """A namespace at the Pod Security level restricted, with the account that pods name."""
    name = cluster.namespace()
    for account in ("mine", "faces"):
        cluster.api.put({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}}, name)
    cluster.api.put(
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": "high"},
            "value": 1000,
        }
    )
    cluster.api.put(
        {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "nvidia"}, "handler": "nvidia"}
    )
    return name


@pytest.mark.parametrize("case", CASES)
def test_the_server_takes_every_object_and_every_pod(case: str, cluster: Cluster, namespace: str) -> None:
    objects = render(CASES[case])
    for (kind, _), one in objects.items():
        if kind not in OTHERS - cluster.kinds:
            cluster.api.put(one, namespace, dry_run=True)
    for name, template in controllers(objects).items():
        pod: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**template["metadata"], "name": name},
            "spec": template["spec"],
        }
        cluster.api.put(pod, namespace, dry_run=True)


def test_the_server_refuses_what_it_should(cluster: Cluster, namespace: str) -> None:
    """Otherwise the test above could not fail."""
    objects = render({})
    pod = controllers(objects)["mine"]
    root = {**pod["spec"], "securityContext": {"runAsUser": 0}}
    with pytest.raises(Refused, match="violates PodSecurity"):
        cluster.api.put(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root"}, "spec": root}, namespace, dry_run=True
        )
    service = objects["Service", "mine"]
    with pytest.raises(Refused, match=r"field not declared in schema|unknown field"):
        cluster.api.put({**service, "spec": {**service["spec"], "selectr": {}}}, namespace, dry_run=True)
