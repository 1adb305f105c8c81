"""`sameface erasure …`: lists and shows the receipts of erasures."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from sameface.cli.options import DEFAULT_ADDRESS, Address, AsJson, connected
from sameface.cli.output import as_dict, print_json, print_table, time_text
from sameface.resource_names import COLLECTIONS, ids_in

if TYPE_CHECKING:
    from sameface.client import ByteEvidence, ErasureReceipt

app = typer.Typer(help="List and show the receipts of erasures.", no_args_is_help=True)


@app.command("show")
def show(
    receipt: Annotated[str, typer.Argument(metavar="RECEIPT", help="id of the receipt; a deletion prints it")],
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Show a receipt with its current state."""
    with connected(address) as client:
        show_receipts([client.erasure_receipt(receipt)], as_json)


@app.command("list")
def list_receipts(
    gallery: Annotated[str, typer.Argument(metavar="[GALLERY]", help="only receipts of this gallery")] = "",
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="only those that are pending, or whose check or rewriting failed")
    ] = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """List the receipts of erasures, newest first."""
    with connected(address) as client:
        found = sorted(client.erasure_receipts(gallery), key=_erased, reverse=True)
    if unfinished:
        found = [one for one in found if is_unfinished(one)]
    if as_json:
        for one in found:
            print_json(as_dict(one))
        return
    print_table(
        ("receipt", "erased", "templates", "when", "state"),
        [
            (one.id, _what(one), str(one.templates), time_text(one.erase_time, "seconds"), one.state.lower())
            for one in found
        ],
    )


def is_unfinished(one: "ErasureReceipt") -> bool:
    """Whether an erasure is pending, or its check or rewriting failed."""
    return one.state != "DONE" or bool(one.failure) or not one.unreadable


def show_receipts(receipts: "Sequence[ErasureReceipt]", as_json: bool) -> None:
    """Print receipts: what was erased, what was checked, and what the check does not cover."""
    for one in receipts:
        if as_json:
            print_json(as_dict(one))
            continue
        rows = [
            ("erased", _what(one)),
            ("receipt", one.id),
            ("templates", f"{one.templates} (other records: {one.records})"),
            ("unreadable", "checked" if one.unreadable else "not checked yet"),
            ("files", _files(one)),
        ]
        rows += [("proof", _evidence(evidence)) for evidence in one.evidence]
        rows += [("not covered", text) for text in one.not_covered]
        print_table(("", ""), rows)


def _files(one: "ErasureReceipt") -> str:
    if one.compacted and not one.evidence:
        return "the server reports that it has written every segment again"
    if one.compacted:
        return "rewritten without the erased records; the old files are deleted"
    if one.failure:
        return f"not rewritten{' yet' if one.state == 'PENDING' else ''}: {one.failure}"
    if one.state == "PENDING":
        return "being rewritten; ask again: sameface erasure show"
    return "not rewritten; the server decides when its files are purged"


def _evidence(one: "ByteEvidence") -> str:
    before = f"{one.representation}: {one.found_before} of {one.sought} found before"
    if not one.found_before:
        return f"{before}, so the scan proves nothing"
    if one.found_after is None:
        return before
    elsewhere = f" ({one.held_elsewhere} belong to records that are stored now)" if one.held_elsewhere else ""
    return f"{before}, {one.found_after} after{elsewhere}"


def _erased(one: "ErasureReceipt") -> datetime:
    return one.erase_time or datetime.min.replace(tzinfo=UTC)


def _what(one: "ErasureReceipt") -> str:
    """Return the name of what was erased, with ids as they were chosen."""
    return "/".join(f"{collection}/{part}" for collection, part in zip(COLLECTIONS, ids_in(one.erased), strict=False))
