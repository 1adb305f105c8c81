"""The `sameface` command. Errors go to stderr; exit code 3 means that something could not be done."""

import io
import os
import signal
import sys
import traceback
from typing import NoReturn, TextIO

import typer

from sameface import __version__
from sameface.cli import (
    calibrate,
    decide,
    demo,
    detect,
    doctor,
    enroll,
    erasures,
    evaluate,
    galleries,
    health,
    identities,
    model,
    serve,
    triton,
)
from sameface.cli.options import ExitCode
from sameface.cli.output import visible
from sameface.client import NotAPhoto, ServiceError
from sameface.libraries import keep_caches_in
from sameface.settings import cache_folder
from sameface_qdrant.errors import SamefaceError

app = typer.Typer(
    name="sameface",
    help="One-shot identity verification: enrol with one photo, verify or identify with the next.",
    epilog="Exit codes: 0 done or match, 1 no match, 2 ambiguous, 3 something could not be done.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command("serve")(serve.serve)
app.command("enroll")(enroll.enroll)
app.command("verify")(decide.verify)
app.command("identify")(decide.identify)
app.command("compare")(decide.compare)
app.command("search")(decide.search)
app.command("detect")(detect.detect)
galleries.gallery_app.command("calibrate")(calibrate.calibrate)
galleries.gallery_app.command("what-if")(calibrate.what_if)
app.add_typer(galleries.gallery_app, name="gallery")
app.add_typer(identities.identity_app, name="identity")
app.add_typer(identities.template_app, name="template")
app.add_typer(erasures.app, name="erasure")
app.add_typer(model.app, name="model")
app.add_typer(triton.app, name="triton")
app.add_typer(evaluate.app, name="evaluate")
app.command("doctor")(doctor.doctor)
app.command("health")(health.health)
app.command("demo")(demo.demo)


@app.command()
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
    except NotAPhoto as error:
        return _fail(f"{error.reason}: {error.message}")
    except ServiceError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(str(error))
    except (KeyboardInterrupt, typer.Abort):
        return 128 + signal.SIGINT
    except Exception as error:
        if hasattr(error, "show"):
            # A usage error. Typer's exit code for it, 2, means AMBIGUOUS here.
            error.show()
            return ExitCode.ERROR
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
