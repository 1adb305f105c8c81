"""The `sameface` command. Errors go to stderr; exit code 3 means that something could not be done."""

import io
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from typing import ClassVar, NoReturn, TextIO

import typer

from sameface import __version__
from sameface.cli.deferred import DeferredGroup
from sameface.cli.options import ExitCode
from sameface.cli.output import visible
from sameface.cli.start import missing_package
from sameface.folders import cache_folder
from sameface.libraries import keep_caches_in
from sameface_qdrant.errors import SamefaceError


class Commands(DeferredGroup):
    """Every command."""

    places: ClassVar[Mapping[str, str]] = {
        "serve": "sameface.cli.serve:serve",
        "enroll": "sameface.cli.enroll:enroll",
        "verify": "sameface.cli.decide:verify",
        "identify": "sameface.cli.decide:identify",
        "compare": "sameface.cli.decide:compare",
        "search": "sameface.cli.decide:search",
        "detect": "sameface.cli.detect:detect",
        "doctor": "sameface.cli.doctor:doctor",
        "health": "sameface.cli.health:health",
        "info": "sameface.cli.info:info",
        "demo": "sameface.cli.demo:demo",
        "version": "sameface.cli.main:version",
        "gallery": "sameface.cli.galleries:gallery_app",
        "migration": "sameface.cli.migrations:app",
        "identity": "sameface.cli.identities:identity_app",
        "template": "sameface.cli.identities:template_app",
        "erasure": "sameface.cli.erasures:app",
        "store": "sameface.cli.store:app",
        "key": "sameface.cli.key:app",
        "protection": "sameface.cli.protection:app",
        "audit": "sameface.cli.audit:app",
        "model": "sameface.cli.model:app",
        "triton": "sameface.cli.triton:app",
        "evaluate": "sameface.cli.evaluate:app",
    }


app = typer.Typer(
    name="sameface",
    cls=Commands,
    help="One-shot identity verification: enrol with one photo, verify or identify with the next.",
    epilog="Exit codes: 0 done or match, 1 no match, 2 ambiguous, 3 something could not be done.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@app.callback()
def _before_every_command() -> None:
    # Typer takes an app without a command or a callback of its own for empty.
    pass


def version() -> None:
    """Print the version."""
    print(__version__)


def main() -> NoReturn:
    """Run the command line. An error is printed as one line on stderr, and the exit code is 3."""
    keep_caches_in(cache_folder())
    # On SIGTERM a command closes what it opened. `serve` installs its own handler, which drains first.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Characters that the terminal's encoding lacks are printed as escapes.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run()
        sys.stdout.flush()
    except BrokenPipeError:
        code = _end_quietly()
    except OSError as error:
        # The output could not be written, for instance because the disk is full.
        _discard(sys.__stdout__)
        code = _fail(str(error))
    except SystemExit as ended:
        # Typer and Rich turn a closed pipe into exit code 1, which means NO_MATCH here.
        if not isinstance(ended.__context__, BrokenPipeError):
            raise
        code = _end_quietly()
    sys.exit(code)


def _run() -> int:
    try:
        code = app(standalone_mode=False)
    except BrokenPipeError:
        raise
    except SamefaceError as error:
        return _fail(f"{error.reason}: {error.message}")
    except OSError as error:
        return _fail(str(error))
    except (KeyboardInterrupt, typer.Abort):
        return 128 + signal.SIGINT
    except Exception as error:
        if missing_package(error):
            raise
        if hasattr(error, "show"):
            # A usage error. Typer's exit code for it, 2, means AMBIGUOUS here.
            error.show()
            return ExitCode.ERROR
        from sameface.client import NotAnAddress, NotAPhoto, ServiceError

        if isinstance(error, ServiceError):
            return _fail(str(error))
        if isinstance(error, NotAPhoto | NotAnAddress):
            return _fail(f"{error.reason}: {error.message}")
        if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
            return _fail(f"INVALID_ARGUMENT: {error.object!r} holds bytes that are no UTF-8; write it in UTF-8")
        # Python itself would end with 1, which means NO_MATCH here.
        return _fail(f"unexpected {type(error).__name__}: {error} (SAMEFACE_DEBUG=1 shows where)")
    return code if isinstance(code, int) else ExitCode.OK


def _fail(message: str) -> int:
    if os.environ.get("SAMEFACE_DEBUG") == "1":
        traceback.print_exc()
    print(visible(f"sameface: {' '.join(message.split())}"), file=sys.stderr)
    return ExitCode.ERROR


def _end_quietly() -> int:
    """Return the shell's exit code for SIGPIPE: the reader has closed the pipe (`| head -1`)."""
    _discard(sys.__stdout__)
    _discard(sys.__stderr__)
    return 128 + signal.SIGPIPE


def _discard(stream: TextIO | None) -> None:
    """Discard what is still in the buffer. Otherwise Python prints an error about it and ends with 120."""
    if stream is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
