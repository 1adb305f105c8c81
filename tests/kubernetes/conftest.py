"""A cluster for all tests of a run, and a Helm for each."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.kubernetes.cluster import PROGRAMS, Cluster, running
from tests.kubernetes.helm import Helm, HelmCommand, HelmLibrary

NOT_RUN = (
    "Containers: probes, exec, `helm test`, the Job that moves templates, mounted files and their owners, images.",
    "Network: NetworkPolicies, DNS, load balancing. Metrics for an autoscaler. GPUs.",
    "cert-manager and the Prometheus Operator: with KUBE_CRDS their kinds are checked, but nobody acts on them.",
)
# The library is Helm 4 too.
HELMS = ("library", "helm3", "helm4")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with two nodes."""
    folder = os.environ.get("KUBE_BIN", "")
    if not folder:
        pytest.skip(f"KUBE_BIN is not set: a folder with {', '.join(PROGRAMS)}; docs/deployment.md says more")
    binaries = Path(folder).absolute()
    if missing := [name for name in PROGRAMS if not (binaries / name).is_file()]:
        pytest.exit(f"NOT RUN: KUBE_BIN is {binaries}, which lacks {', '.join(missing)}", returncode=3)
    with running(binaries, tmp_path_factory.mktemp("cluster")) as cluster:
        kinds = Path(os.environ.get("KUBE_CRDS") or os.devnull)
        for path in sorted(kinds.glob("*.yaml")):
            for one in yaml.safe_load_all(path.read_text()):
                cluster.define(one)
        yield cluster


@pytest.fixture
def nodes(cluster: Cluster) -> Cluster:
    """A cluster whose nodes pretend to run pods."""
    if not cluster.has_nodes:
        pytest.skip(f"{cluster.binaries} lacks kwok, without which no pod runs")
    return cluster


@pytest.fixture(params=HELMS)
def helm(request: pytest.FixtureRequest, cluster: Cluster, tmp_path: Path) -> Helm:
    """Each Helm that is there, for a namespace of its own at the Pod Security level restricted."""
    if request.param == "library":
        return HelmLibrary(cluster.kubeconfig, cluster.namespace())
    binary = cluster.binaries / request.param
    if not binary.is_file():
        pytest.skip(f"{cluster.binaries} lacks {request.param}")
    return HelmCommand(binary, cluster.kubeconfig, cluster.namespace(), tmp_path)


@pytest.fixture
def qdrant_chart() -> Path:
    """Qdrant's own chart."""
    folder = os.environ.get("QDRANT_CHART", "")
    if not folder:
        pytest.skip("QDRANT_CHART is not set: a folder with Qdrant's chart, 1.19.0")
    return Path(folder).absolute()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what a run cannot show, after a run that had a cluster."""
    if any("tests/kubernetes" in one.nodeid for one in terminalreporter.stats.get("passed", [])):
        terminalreporter.write_sep("-", "not run by this")
        for line in NOT_RUN:
            terminalreporter.write_line(line)
