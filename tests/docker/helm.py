"""Helm for the tests, in a process of its own.

`helm_python` loads the runtime of Go. It then handles signals of the whole process, also SIGPIPE, which Python
ignores. A process that runs thousands of other tests must not depend on it.
"""

import atexit
import json
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LOCK = threading.Lock()


class HelmError(Exception):
    """Helm refused something."""


class HelmRenderError(HelmError):
    """Helm could not render a chart with these values."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart in a folder."""

    folder: str

    @classmethod
    def load(cls, folder: str) -> "Chart":
        """Return the chart of a folder. It is read again with each call."""
        return cls(folder)

    def render(self, *, values: dict[str, Any], **options: Any) -> dict[str, str]:
        """Return every rendered file by its name.

        Raises:
            HelmRenderError: the chart refuses the values.
        """
        rendered: dict[str, str] = _asked("render", self.folder, values=values, **options)
        return rendered

    def validate_schema(self, values: dict[str, Any]) -> None:
        """Compare values with the chart's schema.

        Raises:
            HelmError: they do not fit.
        """
        _asked("validate_schema", self.folder, values)


def lint(folder: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return the findings of `helm lint`."""
    report: dict[str, Any] = _asked("lint", folder, values)
    return report


def parse_set_string(text: str) -> dict[str, Any]:
    """Return the values that `--set` makes of a text."""
    values: dict[str, Any] = _asked("parse_set_string", text)
    return values


def parse_set_json(text: str) -> dict[str, Any]:
    """Return the values that `--set-json` makes of a text."""
    values: dict[str, Any] = _asked("parse_set_json", text)
    return values


def validate_release_name(name: str) -> None:
    """Raise HelmError if Helm takes no release of this name."""
    _asked("validate_release_name", name)


class _Helm:
    """The process. It starts with the first question."""

    process: "subprocess.Popen[str] | None" = None


def _asked(what: str, *arguments: Any, **options: Any) -> Any:
    with LOCK:
        if _Helm.process is None:
            _Helm.process = subprocess.Popen(
                [sys.executable, "-m", "tests.docker.helm"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            atexit.register(_stop, _Helm.process)
        asked, answered = _Helm.process.stdin, _Helm.process.stdout
        assert asked is not None
        assert answered is not None
        asked.write(json.dumps([what, arguments, options]) + "\n")
        asked.flush()
        line = answered.readline()
    assert line, "the process of Helm has ended"
    answer = json.loads(line)
    if "error" in answer:
        raise (HelmRenderError if answer["error"] == "HelmRenderError" else HelmError)(answer["message"])
    return answer["result"]


def _stop(process: "subprocess.Popen[str]") -> None:
    process.communicate()  # closes its input, which ends it


def _answer() -> None:
    """Answer questions from standard input, one a line, until it is closed."""
    import helm_python

    for line in sys.stdin:
        what, arguments, options = json.loads(line)
        answer: dict[str, Any]
        try:
            if what in ("render", "validate_schema"):
                chart = helm_python.Chart.load(arguments[0])
                result = getattr(chart, what)(*arguments[1:], **options)
            else:
                result = getattr(helm_python, what)(*arguments, **options)
            answer = {"result": result}
        except helm_python.HelmError as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _answer()
