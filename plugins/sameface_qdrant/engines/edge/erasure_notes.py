"""Notes about erasures until their receipts are complete: one small file each, in the collection's folder.

``<receipt>.noted``: points are about to be removed; it holds the byte strings to search for, which are biometric data.
``<receipt>.due``: the points were removed; it holds the byte strings until the files are rewritten.
``<receipt>.gone``: the files were rewritten; it holds only numbers, until the receipt has them.
"""

import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from sameface_qdrant.engines.base import POINT_ID, POINT_IDS, ByteSearch
from sameface_qdrant.engines.edge.files import read_text, write_text
from sameface_qdrant.values.erasure import ByteEvidence
from sameface_qdrant.values.schema import known_fields

FOLDER = "erasures"
NOTED, DUE, GONE = ".noted", ".due", ".gone"


def note(folder: Path, receipt: str, searches: Sequence[ByteSearch]) -> None:
    """Store what to search for later."""
    (folder / FOLDER).mkdir(mode=0o700, exist_ok=True)
    kept = [{**asdict(one), "needles": [needle.hex() for needle in one.needles]} for one in searches]
    write_text(folder / FOLDER / (receipt + NOTED), json.dumps(kept))


def removed(folder: Path) -> None:
    """Mark the noted points as removed."""
    for path in (folder / FOLDER).glob("*" + NOTED):
        path.replace(path.with_suffix(DUE))


def due(folder: Path) -> list[Path]:
    """Return the notes of removed points whose bytes have not been searched for since."""
    return sorted((folder / FOLDER).glob("*" + DUE))


def noted(folder: Path) -> tuple[str, ...]:
    """Return the receipts that there are notes about."""
    kinds = {NOTED, DUE, GONE}
    return tuple(sorted({path.stem for path in (folder / FOLDER).glob("*") if path.suffix in kinds}))


def collections(folder: Path) -> tuple[str, ...]:
    """Return the collections of a store's folder that have notes."""
    return tuple(sorted({path.parents[1].name for path in folder.glob(f"*/{FOLDER}/*")}))


def tidy(folder: Path, living: Callable[[Sequence[str]], set[str]]) -> None:
    """Clean up after a process that crashed. ``living`` returns which of the given ids are stored."""
    for path in (folder / FOLDER).glob(".*.partial"):
        path.unlink()
    for path in due(folder):
        if path.with_suffix(GONE).exists():
            path.unlink()
    for path in (folder / FOLDER).glob("*" + NOTED):
        ids = {point for one in searches_of(path) for point in ids_of(one)}
        if living(sorted(ids)) == ids:
            path.unlink()  # nothing was removed
        else:
            path.replace(path.with_suffix(DUE))


def ids_of(search: ByteSearch) -> list[str]:
    """Return the ids that a search is for; none if it is for something else."""
    return [id_in(search.representation, needle) for needle in search.needles if search.representation in POINT_IDS]


def id_in(representation: str, needle: bytes) -> str:
    """Return the id in a needle of one of the representations `POINT_IDS`."""
    return str(uuid.UUID(int=int.from_bytes(needle, "big" if representation == POINT_ID else "little")))


def searches_of(path: Path) -> tuple[ByteSearch, ...]:
    """Return what a note searches for."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    return tuple(
        ByteSearch(one["representation"], tuple(map(bytes.fromhex, one["needles"])), tuple(one["found"]))
        for one in kept
    )


def conclude(path: Path, evidence: Sequence[ByteEvidence]) -> None:
    """Replace the byte strings of a note by what the scan found."""
    kept = {"time": time.time(), "evidence": [asdict(one) for one in evidence]}
    write_text(path.with_suffix(GONE), json.dumps(kept))
    path.unlink()


def outcome(folder: Path, receipt: str) -> tuple[float | None, tuple[ByteEvidence, ...]] | None:
    """Return when an erasure ended (None if it has not) and its evidence so far; None if there is no note."""
    path = folder / FOLDER / receipt
    for suffix in (NOTED, DUE):
        try:
            return None, tuple(map(before, searches_of(path.with_suffix(suffix))))
        except FileNotFoundError:
            continue
    gone = read_text(path.with_suffix(GONE))
    if gone is None:
        return None
    kept = json.loads(gone)
    return kept["time"], tuple(ByteEvidence(**known_fields(ByteEvidence, one)) for one in kept["evidence"])


def before(search: ByteSearch) -> ByteEvidence:
    """Return the positive control alone."""
    return ByteEvidence(search.representation, len(search.needles), sum(search.found), None)


def forget(folder: Path, receipt: str) -> None:
    """Delete the note about a receipt."""
    for suffix in (NOTED, DUE, GONE):
        (folder / FOLDER / (receipt + suffix)).unlink(missing_ok=True)
