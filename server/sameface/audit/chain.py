"""The chain of entries, and its check. Pure functions.

Each entry is one line of JSON with keys in order. It has a number, the hash of the entry before, and its own hash: the
SHA-256 of the line without it. So an entry that was changed, removed or moved breaks the chain. Seals are entries with
an Ed25519 signature of the hash before them. Without the key nobody can make a chain anew behind a seal.

What a chain alone cannot show is that its end is missing. Compare its last hash with one that was kept elsewhere, such
as the mirror on the standard output.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FIRST = "0" * 64
"""Stands for the hash before the first entry."""
SEAL, REMOVED = "seal", "removed"
"""What entries of the log itself are called: a signature, and the removal of old files."""
UNSEALED_S = 900.0
"""Seals come every minute by default. A longer time without one is told."""
LONGEST_LINE = 16 << 10


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a chain."""

    kind: str
    """``unreadable``; ``changed``; ``missing``; ``unsigned``: a seal that the key did not make; ``unsealed``: entries
    that no seal covers; ``empty``; or ``cut``."""
    place: str
    """The file and line."""
    what: str


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of a check."""

    entries: int
    seals: int
    head: str
    """The hash of the last entry."""
    first_number: int
    """The number of the first entry; above 1 where older files were removed."""
    unsealed: int
    """How many entries come after the last seal."""
    problems: tuple[Problem, ...]


def linked(entry: Mapping[str, Any], number: int, before: str) -> tuple[bytes, str]:
    """Return the line of an entry with its place in the chain, and its hash."""
    content = {**entry, "number": number, "before": before}
    own = _hash(content)
    return _line({**content, "hash": own}), own


def check(places: Iterable[tuple[str, bytes]], key: Ed25519PublicKey | None, expected_head: str = "") -> Checked:
    """Check lines in their order.

    Args:
        places: each line with a text that says where it is.
        key: of the seals; None leaves their signatures unchecked.
        expected_head: the hash that one of the entries must have; empty for none.
    """
    problems: list[Problem] = []
    number, before, entries, seals, unsealed, first, heads = 0, "", 0, 0, 0, 0, set[str]()
    begins, removed, since, until = "", set[tuple[int, str]](), "", ""
    for place, entry in _read(places, problems):
        entries, unsealed = entries + 1, unsealed + 1
        own = entry.pop("hash")
        if own != _hash(entry):
            problems.append(Problem("changed", place, f"entry {entry['number']} does not have the hash that it names"))
        if not before:
            first, begins = entry["number"], entry["before"]
            if first == 1 and entry["before"] != FIRST:
                problems.append(Problem("missing", place, "entry 1 names an entry before it"))
        elif entry["number"] != number + 1:
            problems.append(Problem("missing", place, f"entry {entry['number']} follows entry {number}"))
        elif entry["before"] != before:
            problems.append(Problem("changed", place, f"entry {number} is not the one that entry {number + 1} follows"))
        if entry.get("rpc") == SEAL:
            seals, unsealed, since = seals + 1, 0, ""
            if key is not None and not _is_signed(entry, key):
                problems.append(Problem("unsigned", place, f"the seal {entry['number']} was not made with this key"))
        elif entry.get("rpc") == REMOVED:
            removed.add((entry.get("until", 0), entry.get("last_hash", "")))
        until = str(entry.get("time", ""))
        since = since or until
        number, before = entry["number"], own
        heads.add(own)
    if not entries:
        problems.append(Problem("empty", "the log", "there is no entry"))
    if first > 1 and (first - 1, begins) not in removed:
        problems.append(Problem("missing", "the beginning", f"no entry says that those before {first} were removed"))
    if unsealed and key is not None and (not seals or _seconds(since, until) > UNSEALED_S):
        problems.append(
            Problem("unsealed", "the end", f"{unsealed} entries come after the last seal; one is made every minute")
        )
    if expected_head and expected_head not in heads:
        problems.append(Problem("cut", "the end", f"no entry has the hash {expected_head}"))
    return Checked(entries, seals, before, first, unsealed, tuple(problems))


def signed_content(before: str) -> bytes:
    """Return what a seal signs."""
    return b"sameface audit seal " + before.encode()


def entry_of(line: bytes) -> dict[str, Any]:
    """Return the entry of a line.

    Raises:
        ValueError: it is none.
    """
    if len(line) > LONGEST_LINE:
        raise ValueError(f"the line has more than {LONGEST_LINE} bytes")
    entry = json.loads(line)
    if (
        not isinstance(entry, dict)
        or not isinstance(entry.get("number"), int)
        or not all(isinstance(entry.get(name), str) for name in ("before", "hash"))
    ):
        raise ValueError("it has no number and hashes")
    return entry


def _read(places: Iterable[tuple[str, bytes]], problems: list[Problem]) -> Iterator[tuple[str, dict[str, Any]]]:
    for place, line in places:
        try:
            yield place, entry_of(line)
        except (ValueError, RecursionError) as error:
            problems.append(Problem("unreadable", place, f"the line is no entry: {error}"))


def _is_signed(entry: Mapping[str, Any], key: Ed25519PublicKey) -> bool:
    try:
        key.verify(bytes.fromhex(entry.get("signature", "")), signed_content(entry["before"]))
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _seconds(since: str, until: str) -> float:
    try:
        return (datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(_line(content)).hexdigest()


def _line(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
