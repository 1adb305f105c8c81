"""`sameface protection …`: the keys of protected galleries, and re-keys of a store without a service.

`rekey` opens the store itself, see `sameface.cli.direct_store`. `sameface gallery rekey` asks a running service.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sameface.cli.options import AsJson
from sameface.cli.output import note, print_json, print_table
from sameface.cli.serve import load_settings
from sameface_qdrant.errors import InvalidArgument

if TYPE_CHECKING:
    from sameface.cli.direct_store import Progress
    from sameface_qdrant.store.protection.keys import KeyFile, MasterKey
    from sameface_qdrant.store.protection.rekey import Rekeyed
    from sameface_qdrant.store.store import Store

app = typer.Typer(help="Make and rotate the keys of protected galleries, and re-key galleries.", no_args_is_help=True)

File = Annotated[
    Path | None,
    typer.Option("--file", help="file of the keys", show_default="from the settings: protection.keys_file"),
]
KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="id of the key; `sameface protection list` shows it")]
Config = Annotated[Path | None, typer.Option(help="TOML file with settings", show_default=False)]
DataDir = Annotated[Path | None, typer.Option(help="folder of the embedded store", show_default=False)]
QdrantUrl = Annotated[str | None, typer.Option(help="URL of a Qdrant server", show_default=False)]


@app.command("create")
def create(file: File = None, as_json: AsJson = False) -> None:
    """Make a file with one key, readable by its owner alone.

    Example: `sameface protection create --file /etc/sameface/protection.json`
    """
    opened = _opened(file)
    _show(opened, opened.create(), as_json)
    note(f"set SAMEFACE_PROTECTION__KEYS_FILE={opened.path}")
    note("keep a copy apart from the store's backups: without it nobody can read what protected galleries hold")


@app.command("list")
def list_keys(file: File = None, as_json: AsJson = False) -> None:
    """List the ids of the keys. Not the keys themselves."""
    ring = _opened(file).ring
    keys = sorted(ring.keys.values(), key=lambda one: (one.created, one.id))
    if as_json:
        for one in keys:
            print_json({"id": one.id, "created": _time(one.created), "current": one.id == ring.current})
        return
    rows = [(one.id, _time(one.created), "current" if one.id == ring.current else "") for one in keys]
    print_table(("key", "created", "state"), rows)


@app.command("rotate")
def rotate(
    not_current: Annotated[
        bool, typer.Option("--not-current", help="leave the current key as it is; `sameface protection use` changes it")
    ] = False,
    file: File = None,
    as_json: AsJson = False,
) -> None:
    """Add a key, and make it the current one. New galleries use it; re-key the others.

    Where several services share a store, add it with --not-current, give the file to all of them, and then use it.
    """
    opened = _opened(file)
    _show(opened, opened.rotate(use=not not_current), as_json)


@app.command("use")
def use(key: KeyArgument, file: File = None, as_json: AsJson = False) -> None:
    """Make a key the current one. New galleries use it; re-key the others."""
    opened = _opened(file)
    _show(opened, opened.use(key), as_json)


@app.command("remove")
def remove(
    key: KeyArgument,
    file: File = None,
    config: Config = None,
    data_dir: DataDir = None,
    qdrant_url: QdrantUrl = None,
    as_json: AsJson = False,
) -> None:
    """Remove a key for good, when `sameface protection rekey` does not list it any more.

    If a store is named by one of the options, a key that it needs is not removed.
    """
    from sameface.cli.direct_store import located, run_on_store

    opened = _opened(file)
    if config or data_dir or qdrant_url:

        async def needed(store: "Store", progress: "Progress") -> set[str]:
            return await store.galleries.rekeying.needed_keys()

        if key in run_on_store(located(config, data_dir, qdrant_url, must_exist=True), needed):
            raise InvalidArgument(
                f"the store needs the key {key}; `sameface protection rekey` first. It was not removed",
                metadata={"field": "key"},
            )
    _show(opened, opened.remove(key), as_json)


@app.command("rekey")
def rekey(
    gallery: Annotated[list[str] | None, typer.Argument(metavar="GALLERY", help="ids of galleries")] = None,
    config: Config = None,
    data_dir: DataDir = None,
    qdrant_url: QdrantUrl = None,
    as_json: AsJson = False,
) -> None:
    """Write protected galleries again under the current key. If it was interrupted, the same command goes on.

    Without GALLERY it takes those that are not under the current key, until there are none. Then it also encrypts
    again what receipts of erasures say, and lists the keys that the store still needs.

    Example: `sameface protection rekey staff`
    """
    from sameface.cli.direct_store import located, run_on_store

    settings = located(config, data_dir, qdrant_url, must_exist=True)

    async def work(store: "Store", progress: "Progress") -> "tuple[list[Rekeyed], set[str]]":
        done = []
        behind = gallery or await store.galleries.rekeying.behind()
        while behind:
            for one in behind:

                def told(moved: int, total: int, one: str = one) -> None:
                    progress(one, moved, total)

                done.append(await store.rekey(one, progress=told))
            # One that was interrupted under another key than the current one is behind still.
            behind = [] if gallery else await store.galleries.rekeying.behind()
        return done, set() if gallery else await store.galleries.rekeying.seal_names()

    done, needed = run_on_store(settings, work)
    for one in done:
        assert one.gallery.protection is not None
        generation = one.gallery.protection.current
        if as_json:
            named = {"gallery": one.gallery.id, "key": generation.key, "number": generation.number}
            print_json({**named, "moved": one.moved, "resumed": one.resumed})
        else:
            told = f"key {generation.key}, generation {generation.number}"
            print(f"{one.gallery.id}: {told}, {one.moved} records written")
    if not done:
        note("every protected gallery is under the current key")
    if not gallery:
        note(f"the store needs the keys: {', '.join(sorted(needed)) or 'none'}")


def _opened(file: Path | None) -> "KeyFile":
    from sameface_qdrant.store.protection.keys import KeyFile

    path = file or load_settings(None).protection.file
    if path is None:
        raise InvalidArgument(
            "no file of keys is named; give --file FILE, or set SAMEFACE_PROTECTION__KEYS_FILE",
            metadata={"field": "file"},
        )
    return KeyFile(path)


def _show(file: "KeyFile", key: "MasterKey", as_json: bool) -> None:
    if as_json:
        print_json({"id": key.id, "created": _time(key.created), "file": str(file.path)})
    else:
        print(key.id)


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
