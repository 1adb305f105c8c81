"""The Helm chart as Helm renders it, for tests."""

import functools
import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import yaml

from tests.docker import helm

Objects = dict[tuple[str, str], dict[str, Any]]
CHART = Path("docker/chart")
# Ten times as fast as the one in Python, where PyYAML has it.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
SPREAD = {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"}
CLAIM = {"metadata": {"name": "mine-data", "annotations": {"meta.helm.sh/release-name": "mine"}}, "spec": {}}
"""The claim of an earlier revision, as a cluster has it."""
CASES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "a Qdrant of one's own": {
        "service": {"replicas": 3, "env": {"SAMEFACE_QUALITY__MIN_SHARPNESS": "30"}},
        "qdrant": {"url": "https://qdrant.example:6334", "apiKeySecret": {"name": "qdrant", "key": "key"}},
    },
    "GPUs": {
        "triton": {"gpu": {"count": 1, "runtimeClassName": "nvidia"}, "replicas": 2, "nodeSelector": {"gpu": "yes"}}
    },
    "scaled by load": {
        "service": {"autoscaling": {"enabled": True, "podMetrics": [{"name": "queue", "averageValue": "100m"}]}},
        "triton": {"autoscaling": {"enabled": True, "minReplicas": 1}},
        "qdrant": {"url": "http://qdrant-0.q:6334,http://qdrant-1.q:6334"},
    },
    "watched": {
        "metrics": {
            "enabled": True,
            "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
            "rules": {"enabled": True},
            "dashboard": {"enabled": True},
        },
        "networkPolicy": {"enabled": True},
    },
    "guarded by the network": {
        "networkPolicy": {
            "enabled": True,
            "from": [{"namespaceSelector": {"matchLabels": {"door": "yes"}}}],
            "egress": [{"ports": [{"port": 3128}]}],
        },
        "qdrant": {"url": "https://one.example:7000,https://two.example"},
        "access": {
            "required": True,
            "grants": "",
            "keysSecretName": "keys",
            "issuers": [{"issuer": "https://a", "audience": "b", "jwks": "https://login.example/jwks"}],
        },
    },
    "templates moved to a Qdrant": {"qdrant": {"url": "http://qdrant:6334", "moveFromVolume": True}},
    "OpenShift": {
        component: {"podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}}
        for component in ("service", "triton")
    },
    "a Triton of one's own": {"triton": {"url": "gpu-box:8001"}},
    "no Triton": {"triton": {"enabled": False}},
    "secured": {
        "service": {
            "secretEnv": {"SAMEFACE_QDRANT__CLIENT_CERTIFICATE": {"name": "qdrant-tls", "key": "path"}},
            "secretMounts": [{"secretName": "qdrant-ca", "mountPath": "/etc/sameface/qdrant"}],
        },
        "tls": {
            "enabled": True,
            "secretName": "faces-tls",
            "clientCa": {"secretName": "callers"},
            "probeSecretName": "probe",
            "certManager": {"issuer": "inside", "dnsNames": ["faces.example"]},
        },
        "access": {
            "required": True,
            "keysSecretName": "faces-keys",
            "grants": '[[grant]]\ncaller = "certificate:door"\ngallery = "staff"\nroles = ["verifier"]\n',
            "issuers": [{"issuer": "https://login.example", "audience": "faces", "jwks": "https://login.example/jwks"}],
        },
        "audit": {"enabled": True, "retentionDays": 90},
        "metrics": {"enabled": True, "serviceMonitor": {"enabled": True}},
    },
    "everything else": {
        "imagePullSecrets": [{"name": "pull"}],
        "serviceAccount": {"name": "faces", "annotations": {"example.org/role": "a b"}},
        "service": {
            "env": {"HTTPS_PROXY": "http://proxy:3128", "SAMEFACE_CONFIG": "/etc/more/sameface.toml"},
            "secretEnv": {"LICENCE": {"name": "licence", "key": "text"}},
            "volumes": [{"name": "more", "configMap": {"name": "more"}}],
            "volumeMounts": [{"name": "more", "mountPath": "/etc/more", "readOnly": True}],
            "podAnnotations": {"example.org/team": "Faces & Doors"},
            "podLabels": {"example.org/team": "faces"},
            "priorityClassName": "high",
            "podSecurityContext": {"runAsUser": 1000660000},
            "persistence": {"size": "20Gi", "storageClassName": "fast"},
            "tolerations": [{"operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "topologySpreadConstraints": [SPREAD],
            "preStopSeconds": 0,
        },
        "triton": {
            "env": {"LD_PRELOAD": "/more/faster.so"},
            "volumes": [{"name": "more", "emptyDir": {}}],
            "volumeMounts": [{"name": "more", "mountPath": "/more"}],
            "podAnnotations": {"prometheus.io/scrape": "false"},
            "podLabels": {"example.org/team": "faces"},
            "priorityClassName": "high",
            "rollingUpdate": {"maxSurge": "50%", "maxUnavailable": 0},
            "nodeSelector": {"gpu": "yes"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            "affinity": {"podAntiAffinity": {}},
            "topologySpreadConstraints": [{**SPREAD, "labelSelector": {"matchLabels": {"mine": "yes"}}}],
        },
    },
}


def files(values: dict[str, Any], release: str = "mine", claim: dict[str, Any] | None = None) -> dict[str, str]:
    """Return every rendered file by its name in the folder of templates.

    Without a cluster Helm finds nothing in it. `claim` is what it finds where the chart looks for its volume.
    """
    if claim is None:
        return _files(json.dumps(values), release, str(CHART))
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(CHART, Path(folder) / "chart")
        helpers = copy / "templates" / "_helpers.tpl"
        text, found = re.subn(
            r'lookup "v1" "PersistentVolumeClaim" [^\n]* -}}', ".Values.global.claim -}}", helpers.read_text()
        )
        assert found == 1
        helpers.write_text(text)
        return _files.__wrapped__(json.dumps({**values, "global": {"claim": claim}}), release, str(copy))


@functools.cache
def _files(text: str, release: str, folder: str) -> dict[str, str]:
    """Render once for all tests that give the same values, as JSON."""
    values = json.loads(text)
    chart = helm.Chart.load(folder)
    chart.validate_schema(values)
    return {
        path.removeprefix("sameface/templates/"): text
        for path, text in chart.render(values=values, name=release).items()
    }


def render(values: dict[str, Any], release: str = "mine", claim: dict[str, Any] | None = None) -> Objects:
    """Return every object by kind and name."""
    texts = [text for path, text in files(values, release, claim).items() if not path.endswith("NOTES.txt")]
    objects = [one for text in texts for one in yaml.load_all(text, LOADER) if one]
    found = {(one["kind"], one["metadata"]["name"]): one for one in objects}
    assert len(found) == len(objects)
    return found


def controllers(objects: Objects) -> dict[str, dict[str, Any]]:
    """Return the pod templates of a rendered chart by the names of their Deployments and StatefulSets."""
    return {
        name: one["spec"]["template"] for (kind, name), one in objects.items() if kind in ("Deployment", "StatefulSet")
    }


def pod(objects: Objects, controller: str) -> dict[str, Any]:
    """Return the pod of a Deployment or StatefulSet."""
    found = controllers(objects)[controller]["spec"]
    assert isinstance(found, dict)
    return found


def container(objects: Objects, controller: str) -> dict[str, Any]:
    """Return the one container of a Deployment or StatefulSet."""
    (found,) = pod(objects, controller)["containers"]
    assert isinstance(found, dict)
    return found


def environment(objects: Objects, release: str = "mine") -> dict[str, Any]:
    """Return the variables of the service: each value, or where it comes from."""
    entries = container(objects, release)["env"]
    assert len({entry["name"] for entry in entries}) == len(entries)
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in entries}
