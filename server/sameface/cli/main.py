"""The `sameface` command: noun and verb, errors on stderr, exit code 3 for anything that could not be done."""

import signal
import sys
from typing import NoReturn

import typer

from sameface import __version__
from sameface.cli import (
    calibrate,
    decide,
    demo,
    detect,
    doctor,
    enroll,
    evaluate,
    health,
    model,
    resources,
    serve,
    triton,
)
from sameface.cli.options import ExitCode
from sameface.client import ServiceError
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
resources.gallery_app.command("calibrate")(calibrate.calibrate)
resources.gallery_app.command("what-if")(calibrate.what_if)
app.add_typer(resources.gallery_app, name="gallery")
app.add_typer(resources.identity_app, name="identity")
app.add_typer(resources.template_app, name="template")
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
    """Run the command line; what was refused becomes one line on stderr and exit code 3."""
    # A command that is told to end closes what it opened; `serve` replaces this by its drain.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        code = app(standalone_mode=False)
    except SamefaceError as error:
        _fail(f"{error.reason}: {error.message}")
    except ServiceError as error:
        _fail(str(error))
    except OSError as error:
        _fail(str(error))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        # Usage errors; their exit code would be that of AMBIGUOUS.
        if not hasattr(error, "show"):
            raise
        error.show()
        sys.exit(ExitCode.ERROR)
    sys.exit(code if isinstance(code, int) else ExitCode.OK)


def _fail(message: str) -> NoReturn:
    print(f"sameface: {message}", file=sys.stderr)
    sys.exit(ExitCode.ERROR)
