"""Run the command line as a user would."""

import contextlib
import io
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from sameface.cli.main import main

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def sameface(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `sameface` with arguments and extra environment; nothing is checked.

    It runs in this process: the same entry point, without a second of imports for each of the many calls.
    """

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        output, errors = io.StringIO(), io.StringIO()
        before = signal.getsignal(signal.SIGTERM)
        with (
            monkeypatch.context() as patch,
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
        ):
            patch.setattr(sys, "argv", ["sameface", *arguments])
            for name, value in environment.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main()
        signal.signal(signal.SIGTERM, before)
        code = ended.value.code
        assert isinstance(code, int)
        return subprocess.CompletedProcess(list(arguments), code, output.getvalue(), errors.getvalue())

    return run
