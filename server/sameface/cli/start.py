"""Starts a command line, or says which packages it needs. Only the standard library is imported here, and little of it.

The health check of a container runs every few seconds, so it does without the command line.
"""

import os
import sys
from importlib import import_module
from typing import NoReturn

OURS = ("sameface", "sameface_qdrant", "sameface_train")
CANNOT = 3
"""The exit code: something could not be done."""


def main() -> NoReturn:
    """Run `sameface`."""
    if sys.argv[1:2] == ["health"]:
        from sameface.health_check.check import check

        if (code := check(sys.argv[2:], os.environ)) is not None:
            sys.exit(code)
    start("sameface", "sameface.cli.main", extra="server")


def start(command: str, module: str, *, extra: str) -> NoReturn:
    """Run ``main`` of a module. Where a package is not installed, say so on stderr and end with 3.

    Args:
        command: its name, for the message.
        module: where ``main`` is.
        extra: the extra of sameface that brings every package.
    """
    try:
        import_module(module).main()
    except ModuleNotFoundError as error:
        package = missing_package(error)
        if not package:
            raise
        if os.environ.get("SAMEFACE_DEBUG") == "1":
            import traceback

            traceback.print_exc()
        print(
            f"{command}: the command line needs more packages ({package} is not installed); run: "
            f"pip install 'sameface[{extra}]'",
            file=sys.stderr,
        )
        sys.exit(CANNOT)
    sys.exit()


def missing_package(error: Exception) -> str:
    """Return the name of the package whose absence an error tells; empty for another error, or a module of ours.

    >>> missing_package(ModuleNotFoundError("No module named 'rich.table'", name="rich.table"))
    'rich'
    >>> missing_package(ModuleNotFoundError("No module named 'sameface.x'", name="sameface.x"))
    ''
    """
    name = (error.name or "") if isinstance(error, ModuleNotFoundError) else ""
    package = name.partition(".")[0]
    return "" if package in OURS else package
