"""Opens the store itself, without the service, for commands on all of it; and finds the key of an export.

An embedded store is open to one process, so the service must be stopped.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from sameface.cli.serve import load_settings
from sameface_qdrant.errors import InvalidArgument, StoreUnavailable

if TYPE_CHECKING:
    from sameface.settings import Settings
    from sameface_qdrant.store.store import Store
    from sameface_qdrant.transfer.keys import ExportKey

Result = TypeVar("Result")
Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is worked on, how much of it is done, and how much there is."""

PASSPHRASE = "SAMEFACE_EXPORT_PASSPHRASE"  # noqa: S105  # the name of the variable


def key_from(key_file: Path | None, *, new: bool = False) -> "ExportKey":
    """Return the key: of the key file, else of the variable, else of a passphrase that is typed."""
    from sameface_qdrant.transfer.keys import ExportKey

    if key_file is not None:
        return ExportKey.of_file(key_file)
    if given := os.environ.get(PASSPHRASE):
        return ExportKey.of_passphrase(given)
    if not sys.stdin.isatty():
        raise InvalidArgument(
            f"there is no passphrase and no terminal to ask for one; set {PASSPHRASE}, or give --key-file FILE",
            metadata={"field": "passphrase"},
        )
    typed = getpass("Passphrase of the export: ")
    if new and typed != getpass("The same passphrase again: "):
        raise InvalidArgument("the two passphrases differ; nothing was written", metadata={"field": "passphrase"})
    return ExportKey.of_passphrase(typed)


def located(config: Path | None, data_dir: Path | None, qdrant_url: str | None, *, must_exist: bool) -> "Settings":
    """Return the settings that say where the store is.

    Raises:
        StoreUnavailable: ``must_exist`` is set, and there is no embedded store in the folder.
    """
    settings = load_settings(config, data_dir=data_dir, qdrant_url=qdrant_url)
    folder = settings.data_dir / "store"
    if must_exist and not settings.qdrant_url and not folder.is_dir():
        raise StoreUnavailable(
            f"there is no store in {folder}; set --data-dir or --qdrant-url as for the service",
            metadata={"path": folder},
        )
    return settings


@asynccontextmanager
async def opened(settings: "Settings") -> AsyncIterator["Store"]:
    """Open the store that the settings name."""
    from sameface_qdrant.store.store import Store

    api_key = settings.qdrant_api_key.get_secret_value() or None
    keys = settings.protection.opened()
    store = await Store.open(
        settings.store_url,
        api_key=api_key,
        options=settings.qdrant,
        keys=keys,
        protects_new=keys is not None and settings.protection.new_galleries,
    )
    try:
        yield store
    finally:
        await store.aclose()


def run_on_store(settings: "Settings", work: Callable[["Store", Progress], Coroutine[Any, Any, Result]]) -> Result:
    """Open the store, work on it while a bar shows the progress on stderr, and return the result."""

    async def run(progress: Progress) -> Result:
        async with opened(settings) as store:
            return await work(store, progress)

    with _progress() as progress:
        return asyncio.run(run(progress))


@contextmanager
def _progress() -> Iterator[Progress]:
    """Draw a bar on stderr if it is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    # Nothing is printed on stdout before the end, so a bar garbles nothing.
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield progress
