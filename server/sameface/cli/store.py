"""`sameface store …`: exports the store to an encrypted file and imports it again, here or on another engine.

These commands open the store themselves, see `sameface.cli.direct_store`.
"""

from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sameface.cli.direct_store import PASSPHRASE, Progress, key_from, located, run_on_store
from sameface.cli.options import AsJson
from sameface.cli.output import note, print_json, print_table
from sameface_qdrant.errors import InvalidArgument

if TYPE_CHECKING:
    from sameface_qdrant.store.store import Store
    from sameface_qdrant.transfer.exporting import ExportSummary
    from sameface_qdrant.transfer.gallery_import import ImportedGallery

app = typer.Typer(
    help="Export galleries to an encrypted file, and import them into this or another store.", no_args_is_help=True
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="the encrypted file")]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        envvar="SAMEFACE_EXPORT_KEY_FILE",
        help=f"file of 32 to 4096 random bytes, in place of a passphrase (from {PASSPHRASE}, or asked for)",
        show_default=False,
    ),
]
Galleries = Annotated[
    list[str] | None, typer.Option("--gallery", metavar="GALLERY", help="only this gallery; may be repeated")
]
ForceFile = Annotated[bool, typer.Option("--force", help="overwrite the file if it exists")]
Config = Annotated[Path | None, typer.Option(help="TOML file with settings", show_default=False)]
DataDir = Annotated[Path | None, typer.Option(help="folder of the embedded store", show_default=False)]
QdrantUrl = Annotated[str | None, typer.Option(help="URL of a Qdrant server", show_default=False)]


@app.command("export")
def export(
    file: File,
    galleries: Galleries = None,
    force: ForceFile = False,
    key_file: KeyFile = None,
    config: Config = None,
    data_dir: DataDir = None,
    qdrant_url: QdrantUrl = None,
    as_json: AsJson = False,
) -> None:
    """Write galleries with policies, identities, templates and receipts to an encrypted file.

    Examples: `sameface store export monday.sameface`, `sameface store export staff.sameface --gallery staff`
    """
    from sameface_qdrant.transfer.exporting import export_store

    settings = located(config, data_dir, qdrant_url, must_exist=True)
    key = key_from(key_file, new=True)

    async def work(store: "Store", progress: Progress) -> "ExportSummary":
        return await export_store(store, file, key, galleries=galleries or (), force=force, progress=progress)

    _print_export(run_on_store(settings, work), as_json)


@app.command("erasures")
def erasures(
    file: File,
    force: ForceFile = False,
    key_file: KeyFile = None,
    config: Config = None,
    data_dir: DataDir = None,
    qdrant_url: QdrantUrl = None,
    as_json: AsJson = False,
) -> None:
    """Write the list of erasures to an encrypted file, for an import of an earlier export.

    Example: `sameface store erasures today.erasures`
    """
    from sameface_qdrant.transfer.exporting import export_erasures

    settings = located(config, data_dir, qdrant_url, must_exist=True)
    key = key_from(key_file, new=True)

    async def work(store: "Store", progress: Progress) -> "ExportSummary":
        return await export_erasures(store, file, key, force=force)

    _print_export(run_on_store(settings, work), as_json)


@app.command("import")
def import_(
    file: File,
    erased: Annotated[
        Path | None,
        typer.Option(help="list of erasures of the exported store, made now: sameface store erasures", metavar="FILE"),
    ] = None,
    no_erasures_since: Annotated[
        bool, typer.Option("--no-erasures-since", help="state that nothing was erased since the export")
    ] = False,
    galleries: Galleries = None,
    undelete: Annotated[
        list[str] | None,
        typer.Option(metavar="GALLERY", help="import this gallery although it was deleted since; may be repeated"),
    ] = None,
    key_file: KeyFile = None,
    config: Config = None,
    data_dir: DataDir = None,
    qdrant_url: QdrantUrl = None,
    as_json: AsJson = False,
) -> None:
    """Import galleries from an encrypted file. If it was interrupted, the same command goes on.

    The whole file is checked before anything is written. Each gallery appears when it is whole.

    Examples: `sameface store import monday.sameface --erased today.erasures`,
    `sameface store import move.sameface --no-erasures-since --qdrant-url http://qdrant:6334`
    """
    from sameface_qdrant.transfer.contents import checked_contents
    from sameface_qdrant.transfer.importing import ImportSummary, import_store
    from sameface_qdrant.transfer.sealed_file import SealedReader

    if (erased is None) != no_erasures_since:
        raise InvalidArgument(
            "whoever was erased after the export must not come back: give --erased FILE, a list that sameface store "
            "erasures wrote from the exported store, or --no-erasures-since if nothing was erased (one of the two)",
            metadata={"field": "erased"},
        )
    settings, key = located(config, data_dir, qdrant_url, must_exist=False), key_from(key_file)
    # Before the store is opened, which makes it if it does not exist.
    with closing(SealedReader(file, key)) as reader:
        checked_contents(reader)

    async def work(store: "Store", progress: Progress) -> "ImportSummary":
        return await import_store(
            store,
            file,
            key,
            erased=erased,
            no_erasures_since=no_erasures_since,
            galleries=galleries or (),
            undelete=undelete or (),
            progress=progress,
        )

    summary = run_on_store(settings, work)
    until = None if summary.erased_until is None else _moment(summary.erased_until)
    if as_json:
        done = [{**asdict(one), "status": one.status.value} for one in summary.galleries]
        print_json(
            {
                "file": str(file),
                "exported": _moment(summary.begun),
                "erased_until": until,
                "took_over_secret": summary.took_over_secret,
                "galleries": done,
            }
        )
    else:
        headings = ("gallery", "status", "identities", "templates", "left out")
        print_table(headings, [_row(one) for one in summary.galleries])
    if until is not None:
        note(f"what was erased up to {until} is applied; for later erasures delete the identities again")
    if summary.took_over_secret and settings.qdrant_url:
        note("the store has taken over the secret of the exported one: start services that have it open again")


@app.command("show")
def show(file: File, key_file: KeyFile = None, as_json: AsJson = False) -> None:
    """Check a whole file, an export or a list of erasures, and print what it holds.

    Example: `sameface store show monday.sameface`
    """
    from sameface_qdrant.transfer.importing import read_contents

    contents = read_contents(file, key_from(key_file))
    rows = [(gallery, one.identities, one.templates) for gallery, one in contents.galleries.items()]
    if as_json:
        print_json(
            {
                "file": str(file),
                "content": contents.content,
                "exported": _moment(contents.begun),
                "engine": contents.engine,
                "receipts_and_moves": contents.notes,
                "galleries": [
                    {"gallery": gallery, "identities": identities, "templates": templates}
                    for gallery, identities, templates in rows
                ],
            }
        )
        return
    print_table(
        ("gallery", "identities", "templates"),
        [(gallery, str(identities), str(templates)) for gallery, identities, templates in rows],
    )
    note(
        f"{contents.content}, exported {_moment(contents.begun)} from {contents.engine}, "
        f"{contents.notes} receipts and moves; the file is whole"
    )


@app.command("discard")
def discard(
    gallery: Annotated[str, typer.Argument(metavar="GALLERY", help="id of the gallery")],
    config: Config = None,
    data_dir: DataDir = None,
    qdrant_url: QdrantUrl = None,
    as_json: AsJson = False,
) -> None:
    """Remove what an interrupted import of a gallery wrote. A gallery that is whole stays.

    Example: `sameface store discard staff`
    """
    from sameface_qdrant.transfer.gallery_import import discard_import

    settings = located(config, data_dir, qdrant_url, must_exist=True)

    async def work(store: "Store", progress: Progress) -> "int":
        return await discard_import(store, gallery)

    removed = run_on_store(settings, work)
    if as_json:
        print_json({"gallery": gallery, "removed": removed})
    else:
        note(f"{removed} records of the interrupted import of {gallery} removed")


def _print_export(summary: "ExportSummary", as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "file": str(summary.file),
                "bytes": summary.size,
                "exported": _moment(summary.begun),
                "receipts_and_moves": summary.notes,
                "galleries": [asdict(one) for one in summary.galleries],
            }
        )
        return
    if summary.galleries:
        print_table(
            ("gallery", "identities", "templates", "left out"),
            [
                (
                    one.gallery,
                    str(one.identities),
                    str(one.templates),
                    _expired(one.expired_identities, one.expired_templates),
                )
                for one in summary.galleries
            ],
        )
    note(f"{summary.file}: {summary.size:,} bytes, {summary.notes} receipts and moves, as of {_moment(summary.begun)}")


def _row(one: "ImportedGallery") -> tuple[str, ...]:
    left = one.left_out
    erased = ""
    if left.erased_identities or left.erased_templates:
        erased = f"erased since: {left.erased_identities} identities, {left.erased_templates} templates of others"
    texts = (erased, _expired(left.expired_identities, left.expired_templates))
    status = one.status.value.lower().replace("_", " ")
    return one.gallery, status, str(one.identities), str(one.templates), "; ".join(filter(None, texts))


def _expired(identities: int, templates: int) -> str:
    return f"expired: {identities} identities, {templates} templates of others" if identities or templates else ""


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
