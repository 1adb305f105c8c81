"""The `sameface` command: noun and verb, errors on stderr, exit code 3 for anything that could not be done."""

import signal
import sys

import typer
from rich.console import Console

from sameface import __version__
from sameface.cli import demo, evaluate, model, serve, triton
from sameface_qdrant.errors import SamefaceError

EXIT_ERROR = 3

app = typer.Typer(
    name="sameface",
    help="One-shot identity verification: enrol with one photo, verify or identify with the next.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.add_typer(model.app, name="model")
app.add_typer(triton.app, name="triton")
app.add_typer(evaluate.app, name="evaluate")


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def main() -> None:
    """Run the command line; a typed error becomes one line on stderr and exit code 3."""
    # A command that is told to end closes what it opened; `serve` replaces this by its drain.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        app()
    except SamefaceError as error:
        Console(stderr=True).print(f"[red]sameface:[/red] {error.reason}: ", end="")
        print(error.message, file=sys.stderr)
        raise SystemExit(EXIT_ERROR) from None
