"""A Kubernetes without containers: a real API server, controllers and scheduler, on nodes that kwok pretends to run."""

import contextlib
import json
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.access.authorities import Authority, Issued

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
Object = dict[str, Any]
# Where objects of each kind are, below the server's address.
GROUPS = {
    "PriorityClass": "apis/scheduling.k8s.io/v1",
    "RuntimeClass": "apis/node.k8s.io/v1",
    "Namespace": "api/v1",
    "Node": "api/v1",
    "PersistentVolume": "api/v1",
    "StorageClass": "apis/storage.k8s.io/v1",
    "CustomResourceDefinition": "apis/apiextensions.k8s.io/v1",
}
PLURALS = {
    "NetworkPolicy": "networkpolicies",
    "StorageClass": "storageclasses",
    "PriorityClass": "priorityclasses",
    "RuntimeClass": "runtimeclasses",
}


class Refused(Exception):
    """The API server refused a request; the message is its own."""


@dataclass(frozen=True, slots=True)
class Api:
    """The API server."""

    client: httpx.Client

    def ask(self, method: str, path: str, body: Object | None = None, **headers: str) -> Object:
        """Send a request and return the answer.

        Raises:
            Refused: the server refused it.
        """
        kind = headers.pop("content_type", "application/json")
        content = json.dumps(body) if body is not None else None
        answer = self.client.request(method, path, content=content, headers={"content-type": kind})
        found: Object = answer.json()
        if answer.is_error:
            raise Refused(found.get("message", answer.text))
        return found

    def place(self, api_version: str, kind: str, namespace: str, name: str = "") -> str:
        """Return the path of objects of a kind, or of one."""
        group = GROUPS.get(kind) or ("api/v1" if api_version == "v1" else f"apis/{api_version}")
        within = "" if kind in GROUPS else f"/namespaces/{namespace}"
        return f"/{group}{within}/{PLURALS.get(kind, kind.lower() + 's')}{name and f'/{name}'}"

    def put(self, one: Object, namespace: str = "", dry_run: bool = False) -> Object:
        """Apply an object as `kubectl apply --server-side` does; unknown and doubled fields are refused."""
        path = self.place(one["apiVersion"], one["kind"], namespace, one["metadata"]["name"])
        query = "?fieldManager=test&fieldValidation=Strict&force=true" + ("&dryRun=All" if dry_run else "")
        return self.ask("PATCH", path + query, one, content_type="application/apply-patch+yaml")

    def all(self, api_version: str, kind: str, namespace: str) -> list[Object]:
        """Return every object of a kind in a namespace."""
        found: list[Object] = self.ask("GET", self.place(api_version, kind, namespace))["items"]
        return found

    def one(self, api_version: str, kind: str, namespace: str, name: str) -> Object:
        """Return an object.

        Raises:
            Refused: there is none.
        """
        return self.ask("GET", self.place(api_version, kind, namespace, name))


@dataclass(slots=True)
class Cluster:
    """A cluster that runs."""

    api: Api
    kubeconfig: Path
    binaries: Path
    has_nodes: bool
    _number: int = 0
    kinds: set[str] = field(default_factory=set)
    """Kinds that were added."""

    def namespace(self, level: str = "restricted") -> str:
        """Make a namespace at a Pod Security level, and return its name."""
        self._number += 1
        name = f"faces-{self._number}"
        labels = {f"pod-security.kubernetes.io/{what}": level for what in ("enforce", "warn")}
        self.api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        # Its pods need the account that a controller makes.
        until(lambda: bool(self.api.all("v1", "ServiceAccount", name)), f"the account of {name}")
        return name

    def define(self, kind: Object) -> None:
        """Add a kind of objects, and wait until the server knows it."""
        self.api.put(kind)
        name = kind["spec"]["names"]["kind"]

        def known() -> bool:
            found = self.api.one(kind["apiVersion"], "CustomResourceDefinition", "", kind["metadata"]["name"])
            conditions = found.get("status", {}).get("conditions") or []
            return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)

        until(known, f"the server knows {name}")
        self.kinds.add(name)

    def volume(self, size: str = "20Gi", storage_class: str = "") -> None:
        """Make a volume that the next claim can have."""
        self._number += 1
        self.api.put(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": f"volume-{self._number}"},
                "spec": {
                    "capacity": {"storage": size},
                    "accessModes": ["ReadWriteOnce"],
                    "storageClassName": storage_class,
                    "hostPath": {"path": "/nowhere"},
                },
            }
        )

    def node(self, name: str, **allocatable: str) -> None:
        """Make a node that pretends to run its pods."""
        amounts = {"cpu": "64", "memory": "512Gi", "pods": "200", **allocatable}
        self.api.put(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {
                    "name": name,
                    "annotations": {"kwok.x-k8s.io/node": "fake"},
                    "labels": {"kubernetes.io/hostname": name, "type": "kwok"},
                },
            }
        )
        path = f"/api/v1/nodes/{name}/status"
        body = {"status": {"allocatable": amounts, "capacity": amounts}}
        self.api.ask("PATCH", path, body, content_type="application/merge-patch+json")


def until(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    """Wait until a condition is true.

    Raises:
        TimeoutError: it was not within some seconds.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"did not happen within {seconds:g} s: {what}")
        time.sleep(0.1)


@contextlib.contextmanager
def running(binaries: Path, folder: Path) -> Iterator[Cluster]:
    """Start a cluster with the programs of a folder, and end it afterwards."""
    authority = Authority("kubernetes", folder)
    ports = free_ports(6)
    etcd, peers, api, *others = ports
    server = authority.issue("kubernetes.default.svc", file="server")
    admin = authority.issue("admin", organisation="system:masters")
    users = {name: authority.issue(f"system:{name}", file=name) for name in PROGRAMS[2:]}
    signer = authority.issue("service-accounts")
    address = f"https://127.0.0.1:{api}"
    configs = {name: kubeconfig(folder / f"{name}.conf", address, authority, user) for name, user in users.items()}
    configs["admin"] = kubeconfig(folder / "admin.conf", address, authority, admin)
    arguments: dict[str, list[str]] = {
        "etcd": [
            f"--data-dir={folder}/etcd",
            f"--listen-client-urls=http://127.0.0.1:{etcd}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peers}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peers}",
            f"--initial-cluster=default=http://127.0.0.1:{peers}",
            "--unsafe-no-fsync",
        ],
        "kube-apiserver": [
            f"--etcd-servers=http://127.0.0.1:{etcd}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={api}",
            f"--tls-cert-file={server.certificate}",
            f"--tls-private-key-file={server.key}",
            f"--client-ca-file={authority.path}",
            "--authorization-mode=Node,RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={signer.certificate}",
            f"--service-account-signing-key-file={signer.key}",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--endpoint-reconciler-type=none",
            "--profiling=false",
        ],
        "kube-controller-manager": [
            f"--kubeconfig={configs['kube-controller-manager']}",
            f"--secure-port={others[0]}",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            f"--service-account-private-key-file={signer.key}",
            f"--root-ca-file={authority.path}",
            "--use-service-account-credentials",
            "--horizontal-pod-autoscaler-sync-period=1s",
        ],
        "kube-scheduler": [
            f"--kubeconfig={configs['kube-scheduler']}",
            f"--secure-port={others[1]}",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
        ],
        "kwok": [
            f"--kubeconfig={configs['admin']}",
            "--manage-all-nodes=true",
            f"--server-address=127.0.0.1:{others[2]}",
        ],
    }
    has_nodes = (binaries / "kwok").is_file()
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(client(address, authority, admin))
        for name, given in arguments.items():
            if name == "kwok" and not has_nodes:
                continue
            log = stack.enter_context((folder / f"{name}.log").open("wb"))
            # A fixed locale and no settings of the operator's own cluster.
            environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
            process = subprocess.Popen([binaries / name, *given], env=environment, stdout=log, stderr=log)
            stack.callback(end, process)
            if name == "kube-apiserver":
                until(lambda: is_ready(opened), f"the API server is ready; its logs are in {folder}")
        cluster = Cluster(Api(opened), configs["admin"], binaries, has_nodes)
        if has_nodes:
            for number in range(2):
                cluster.node(f"node-{number}")
        yield cluster


def is_ready(opened: httpx.Client) -> bool:
    """Return whether an API server answers that it is ready."""
    with contextlib.suppress(httpx.TransportError):
        return opened.get("/readyz").text == "ok"
    return False


def client(address: str, authority: Authority, user: Issued) -> httpx.Client:
    """Return a client of the API server, with a user's certificate."""
    context = ssl.create_default_context(cafile=str(authority.path))
    context.load_cert_chain(user.certificate, user.key)
    return httpx.Client(base_url=address, verify=context, timeout=30, trust_env=False)


def kubeconfig(path: Path, address: str, authority: Authority, user: Issued) -> Path:
    """Write a kubeconfig, and return its path."""
    text = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": address, "certificate-authority": str(authority.path)}}],
        "users": [{"name": "test", "user": {"client-certificate": str(user.certificate), "client-key": str(user.key)}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    path.write_text(yaml.safe_dump(text))
    return path


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in found]


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process, and wait for it."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
