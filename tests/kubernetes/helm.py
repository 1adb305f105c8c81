"""Helm 3 and Helm 4 as commands, and Helm 4 as the library that the other tests of the chart use."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

CHART = Path(__file__).resolve().parents[2] / "docker" / "chart"
Values = dict[str, Any]


class HelmFailed(Exception):
    """A command of Helm failed; the message is its own."""


class Helm(Protocol):
    """A Helm, for one namespace of a cluster. Every method raises HelmFailed where Helm fails."""

    @property
    def namespace(self) -> str:
        """The namespace of its releases."""

    @property
    def version(self) -> int:
        """Its first number."""

    def install(self, release: str, values: Values, chart: Path = CHART) -> str:
        """Install a chart, and return its notes."""

    def upgrade(self, release: str, values: Values, chart: Path = CHART) -> str:
        """Upgrade a release with these values in place of its own (``--reset-values``), and return the notes."""

    def rollback(self, release: str, revision: int) -> None:
        """Go back to a revision."""

    def uninstall(self, release: str) -> None:
        """Remove a release, and wait until its objects are gone."""


class HelmLibrary:
    """Helm 4 inside this process. It loads Go's runtime, which handles signals, so it is imported here alone."""

    version = 4

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        import helm_python

        self.namespace = namespace
        self._failures = helm_python.HelmError
        self._config = helm_python.Config(kubeconfig_path=str(kubeconfig), namespace=namespace)

    def install(self, release: str, values: Values, chart: Path = CHART) -> str:
        """Install a chart, and return its notes."""
        return str(self._do("install", str(chart), release, values, namespace=self.namespace)["notes"])

    def upgrade(self, release: str, values: Values, chart: Path = CHART) -> str:
        """Upgrade a release with these values in place of its own, and return the notes."""
        more: Any = {"namespace": self.namespace, "reset_values": True}
        return str(self._do("upgrade", str(chart), release, values, **more)["notes"])

    def rollback(self, release: str, revision: int) -> None:
        """Go back to a revision."""
        self._do("rollback", release, version=revision)

    def uninstall(self, release: str) -> None:
        """Remove a release, and wait until its objects are gone."""
        self._do("uninstall", release, wait="legacy", timeout=60)

    def _do(self, action: str, *arguments: Any, **options: Any) -> Any:
        try:
            return getattr(self._config, action)(*arguments, **options)
        except self._failures as error:
            raise HelmFailed(str(error)) from None


@dataclass(frozen=True, slots=True)
class HelmCommand:
    """A Helm as a command."""

    binary: Path
    kubeconfig: Path
    namespace: str
    folder: Path
    """Where Helm keeps its own files, and values are written."""

    @property
    def version(self) -> int:
        """Its first number."""
        return int(self.binary.name[-1])

    def install(self, release: str, values: Values, chart: Path = CHART) -> str:
        """Install a chart, and return its notes."""
        return self.run("install", release, str(chart), *self._file(values))

    def upgrade(self, release: str, values: Values, chart: Path = CHART) -> str:
        """Upgrade a release with these values in place of its own, and return the notes."""
        return self.run("upgrade", release, str(chart), "--reset-values", *self._file(values))

    def rollback(self, release: str, revision: int) -> None:
        """Go back to a revision."""
        self.run("rollback", release, str(revision))

    def uninstall(self, release: str) -> None:
        """Remove a release, and wait until its objects are gone."""
        self.run("uninstall", release, "--wait")

    def run(self, *arguments: str) -> str:
        """Run Helm.

        Raises:
            HelmFailed: it failed.
        """
        homes = {f"HELM_{name}_HOME": str(self.folder / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "KUBECONFIG": str(self.kubeconfig),
            **homes,
        }
        ran = subprocess.run(
            [self.binary, "--namespace", self.namespace, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if ran.returncode:
            raise HelmFailed(ran.stderr)
        return ran.stdout

    def _file(self, values: Values) -> list[str]:
        path = self.folder / "values.json"
        path.write_text(json.dumps(values))
        return ["--values", str(path)]
