"""`sameface audit …`: checks, shows and exports the audit log."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from sameface.cli.options import AsJson, ExitCode, in_utc
from sameface.cli.output import note, print_json, print_table, visible
from sameface.cli.serve import load_settings
from sameface_qdrant.errors import InvalidArgument

app = typer.Typer(help="Check, show and export the audit log.", no_args_is_help=True)

Folder = Annotated[
    Path | None, typer.Option("--folder", help="folder of the log", show_default="from the settings: audit.folder")
]
Since = Annotated[datetime | None, typer.Option(help="only entries from this local time on", show_default=False)]
Until = Annotated[datetime | None, typer.Option(help="only entries before this local time", show_default=False)]
Identity = Annotated[str, typer.Option(help="only entries about this person: GALLERY/IDENTITY", show_default=False)]
COLUMNS = ("number", "time", "caller", "rpc", "gallery", "identity", "outcome", "decision")


@app.command("verify")
def verify(
    folder: Folder = None,
    public_key: Annotated[
        Path | None, typer.Option(help="PEM file of the key of the seals", show_default="public-key.pem of the folder")
    ] = None,
    head: Annotated[str, typer.Option(help="a hash that was kept elsewhere; an entry must have it")] = "",
    as_json: AsJson = False,
) -> None:
    """Check that no entry was changed, removed or moved, and that the seals were made with the key.

    Keep a copy of the public key and of the last hash elsewhere: whoever can write the folder can replace both.
    Exit code: 0 whole, 3 something is wrong.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    from sameface.audit.chain import check
    from sameface.audit.files import lines_of

    where = _folder(folder)
    path = public_key or where / "public-key.pem"
    try:
        key = load_pem_public_key(path.read_bytes())
    except ValueError as error:
        raise InvalidArgument(f"{path} is no public key: {error}", metadata={"field": "public_key"}) from None
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidArgument(f"{path} is no Ed25519 key", metadata={"field": "public_key"})
    found = check(lines_of(where), key, head)
    if as_json:
        print_json(
            {
                "entries": found.entries,
                "seals": found.seals,
                "first": found.first_number,
                "unsealed": found.unsealed,
                "head": found.head,
                "problems": [{"kind": one.kind, "place": one.place, "what": one.what} for one in found.problems],
            }
        )
    else:
        for one in found.problems:
            print(visible(f"{one.kind} at {one.place}: {one.what}"))
        print(
            f"{found.entries} entries from number {found.first_number} on, {found.seals} seals, {found.unsealed} after "
            f"the last seal; last hash {found.head or '-'}"
        )
    if found.problems:
        raise typer.Exit(ExitCode.ERROR)


@app.command("show")
def show(
    folder: Folder = None,
    since: Since = None,
    until: Until = None,
    identity: Identity = "",
    last: Annotated[int, typer.Option(min=1, help="how many of the last entries")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show entries. With --identity those about one person, whose pseudonym is looked up."""
    entries = list(_entries(_folder(folder), since, until, identity))[-last:]
    if as_json:
        for one in entries:
            print_json(one)
        return
    print_table(COLUMNS, [tuple(_cell(one.get(name, "")) for name in COLUMNS) for one in entries])


@app.command("export")
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="new file, one entry a line")],
    folder: Folder = None,
    since: Since = None,
    until: Until = None,
    identity: Identity = "",
) -> None:
    """Write entries to a file, as JSON lines with their hashes."""
    count = 0
    try:
        with file.open("x", encoding="utf-8") as output:
            for one in _entries(_folder(folder), since, until, identity):
                output.write(json.dumps(one, sort_keys=True, separators=(",", ":")) + "\n")
                count += 1
    except FileExistsError:
        raise InvalidArgument(f"{file} exists; choose another name", metadata={"field": "file"}) from None
    note(f"{count} entries in {file}")


def _folder(folder: Path | None) -> Path:
    from sameface.audit.files import check_readable

    found = folder or load_settings(None).audit_folder
    if not found.is_dir():
        raise InvalidArgument(
            f"there is no audit log in {found}; name its folder with --folder, or switch it on with "
            "SAMEFACE_AUDIT__ENABLED=true",
            metadata={"field": "folder"},
        )
    check_readable(found)
    return found


def _entries(folder: Path, since: datetime | None, until: datetime | None, identity: str) -> Iterator[dict[str, Any]]:
    from sameface.audit.chain import entry_of
    from sameface.audit.files import lines_of

    pseudonym = _pseudonym(folder, identity) if identity else ""
    earliest, latest = (moment and moment.isoformat() for moment in (in_utc(since), in_utc(until)))
    for place, line in lines_of(folder):
        try:
            entry = entry_of(line)
        except ValueError as error:
            note(f"{place} is no entry: {error}; `sameface audit verify` checks the whole log")
            continue
        moment = str(entry.get("time", ""))
        if (earliest and moment < earliest) or (latest and moment >= latest):
            continue
        if identity and pseudonym not in _people(entry):
            continue
        yield entry


def _people(entry: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    for name in ("identity", "matched", "target"):
        value = entry.get(name, [])
        found |= {value} if isinstance(value, str) else set(value)
    return found


def _pseudonym(folder: Path, identity: str) -> str:
    from sameface.audit.pseudonyms import Pseudonyms

    gallery, slash, name = identity.partition("/")
    if not slash or not name:
        raise InvalidArgument(f"--identity is {identity!r}; expected GALLERY/IDENTITY", metadata={"field": "identity"})
    pseudonyms = Pseudonyms(folder / "pseudonyms.sqlite")
    try:
        found = pseudonyms.known(gallery, name)
    finally:
        pseudonyms.close()
    if not found:
        raise InvalidArgument(
            f"nobody in the log is known as {identity!r}: never seen, or erased since", metadata={"field": "identity"}
        )
    return found


def _cell(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
