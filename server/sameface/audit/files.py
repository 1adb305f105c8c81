"""The files of an audit log: their names, their lines, their last entry, and the key of the seals."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from sameface.audit.chain import FIRST, entry_of
from sameface.errors import AuditUnavailable
from sameface_qdrant.values.schema import check_file_format

RETRY_S = 1.0
FORMAT = 1
"""Of entries, seals, pseudonyms and file names. A release that changes one of them so that older releases would break
the chain increases it."""


def files_of(folder: Path) -> list[Path]:
    """Return the files of a log, in order."""
    return sorted(folder.glob("audit-*.jsonl"))


def lines_of(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every line of a log, with its place.

    Raises:
        AuditUnavailable: the service has removed files for their age that were not read yet. Read again.
    """
    files = files_of(folder)
    begun = False
    while files:
        try:
            lines = files[0].open("rb")
        except FileNotFoundError:
            if begun:
                raise AuditUnavailable(
                    f"{files[0]} was removed while the log was read; repeat the command", retry_after_s=RETRY_S
                ) from None
            # The entry that says so may be in a file that was not there yet.
            files = files_of(folder)
            continue
        begun = True
        with lines:
            for number, line in enumerate(lines, 1):
                yield f"{files[0].name}:{number}", line.rstrip(b"\n")
        del files[0]


def check_format(folder: Path) -> None:
    """Check that this release may read and continue the log of a folder; a new one gets its format.

    Raises:
        StoreTooNew: a newer release wrote it.
        OSError: the format cannot be read or written.
        ValueError: the file holds something else.
    """
    path = folder / "FORMAT"
    if not path.exists():
        path.write_text(json.dumps({"format": FORMAT}))
    check_readable(folder)


def check_readable(folder: Path) -> None:
    """Raise StoreTooNew if a newer release wrote the log of a folder; early releases wrote no format."""
    path = folder / "FORMAT"
    if path.exists():
        noted = json.loads(path.read_bytes())
        check_file_format(
            noted.get("format") if isinstance(noted, dict) else None, FORMAT, f"the audit log in {folder}"
        )


def signing_key(folder: Path) -> Ed25519PrivateKey:
    """Return the key of the seals; it is made where there is none. The public half is written beside it.

    Raises:
        OSError: it cannot be read or made.
        ValueError: the file holds no such key.
    """
    path = folder / "signing-key.pem"
    public = folder / "public-key.pem"
    if not path.exists():
        made = Ed25519PrivateKey.generate()
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            file.flush()
            os.fsync(file.fileno())
    key = load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{path} holds no Ed25519 key")
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return key


def begin_file(folder: Path, number: int) -> int:
    """Begin the file whose first entry has this number, and return its descriptor."""
    descriptor = os.open(folder / f"audit-{number:012d}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    holder = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(holder)  # the name of the file
    finally:
        os.close(holder)
    return descriptor


def end_of(folder: Path) -> tuple[int, str, int]:
    """Return number and hash of the last entry, and how many bytes of a cut one were removed."""
    mended = 0
    for file in reversed(files_of(folder)):
        content = file.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            mended += len(content) - whole
            os.truncate(file, whole)
        if (last := last_entry(file)) is not None:
            return last["number"], last["hash"], mended
    return 0, FIRST, mended


def last_entry(file: Path) -> dict[str, Any] | None:
    """Return the last entry of a file; None if it has none."""
    lines = file.read_bytes().splitlines()
    return entry_of(lines[-1]) if lines else None
