"""Helm 3 and Helm 4, as commands."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHART = Path(__file__).resolve().parents[2] / "docker" / "chart"
Values = dict[str, Any]


class HelmFailed(Exception):
    """A command of Helm failed; the message is its own."""


@dataclass(frozen=True, slots=True)
class Helm:
    """A Helm, for one namespace of a cluster."""

    binary: Path
    kubeconfig: Path
    namespace: str
    folder: Path
    """Where Helm keeps its own files, and values are written."""

    def install(self, release: str, values: Values | None = None, *more: str, chart: Path = CHART) -> str:
        """Install a chart, and return what Helm prints."""
        return self.run("install", release, str(chart), *self._file(values), *more)

    def upgrade(self, release: str, values: Values | None = None, *more: str, chart: Path = CHART) -> str:
        """Upgrade a release. As with Helm, no values at all mean those of the release."""
        return self.run("upgrade", release, str(chart), *self._file(values), *more)

    def rollback(self, release: str, revision: int) -> str:
        """Go back to a revision."""
        return self.run("rollback", release, str(revision))

    def uninstall(self, release: str) -> str:
        """Remove a release, and wait until its objects are gone."""
        return self.run("uninstall", release, "--wait")

    def run(self, *arguments: str) -> str:
        """Run Helm.

        Raises:
            HelmFailed: it failed.
        """
        homes = {f"HELM_{name}_HOME": str(self.folder / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "KUBECONFIG": str(self.kubeconfig), **homes}
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

    def _file(self, values: Values | None) -> list[str]:
        if values is None:
            return []
        path = self.folder / "values.json"
        path.write_text(json.dumps(values))
        return ["--values", str(path)]
