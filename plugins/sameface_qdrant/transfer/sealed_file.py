"""An encrypted file of frames, written once and read in order.

    magic, length of the header, header (JSON), wrapped file key, then frames: length, ciphertext

Every file has a random key, wrapped under the caller's key (`sameface_qdrant.transfer.keys`). Each frame is sealed with
AES-256-GCM. Its nonce is its number and whether it is the last one; its associated data is the digest of everything
before the first frame. So a frame that is changed, moved, left out or taken from another file does not open, and a file
that is cut does not end with a last frame (the construction STREAM: Hoang, Reyhanitabar, Rogaway, Vizár, 2015).

`cryptography` is imported when a file is opened, because it is no dependency of the plugin alone.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.transfer.errors import ExportCorrupt, ExportKeyRefused, ExportTooNew
from sameface_qdrant.transfer.keys import KEY_BYTES, ExportKey, derived, new_parameters

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"sameface export\n"
FORMAT = 1
"""The version of the file that this release writes, and the only one that it reads."""
MOST_HEADER, MOST_FRAME = 1 << 16, 1 << 27
_NONCE, _TAG = 12, 16
_WRAPPED = _NONCE + KEY_BYTES + _TAG
_LENGTH = struct.Struct(">I")


class SealedWriter:
    """Writes a file under another name, and gives it its name when it is whole and durable."""

    def __init__(self, path: Path, key: ExportKey, *, force: bool = False) -> None:
        """Begin a file of mode 0600.

        Raises:
            InvalidArgument: the file exists and ``force`` is not set, or another process is writing it.
            OSError: it cannot be written.
        """
        self._path, self._force = path, force
        self._check_free()
        self._partial = path.with_name(f".{path.name}.partial")
        self._file = _begun(self._partial)
        try:
            self.file_id = secrets.token_hex(16)
            header: dict[str, Any] = {"format": FORMAT, "file": self.file_id, "key": new_parameters(key)}
            written = json.dumps(header).encode()
            start = MAGIC + _LENGTH.pack(len(written)) + written
            file_key, nonce = secrets.token_bytes(KEY_BYTES), secrets.token_bytes(_NONCE)
            wrapped = nonce + _cipher(derived(key, header["key"])).encrypt(nonce, file_key, start)
            self._sealed_to = hashlib.sha256(start + wrapped).digest()
            self._cipher, self._number = _cipher(file_key), 0
            self._file.write(start + wrapped)
        except BaseException:
            self.discard()
            raise

    def write(self, content: bytes, *, last: bool = False) -> None:
        """Write the next frame."""
        if len(content) + _TAG > MOST_FRAME:
            raise InvalidArgument(
                f"a part of the export has {len(content)} bytes; at most {MOST_FRAME - _TAG} fit in one frame"
            )
        sealed = self._cipher.encrypt(_nonce(self._number, last), content, self._sealed_to)
        self._file.write(_LENGTH.pack(len(sealed)) + sealed)
        self._number += 1

    def finish(self) -> int:
        """Make the file durable and give it its name; return its size in bytes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        size = self._file.tell()
        self._check_free()
        self._partial.replace(self._path)
        self._file.close()
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return size

    def discard(self) -> None:
        """Remove what was written, if the file is not finished."""
        if not self._file.closed:
            with contextlib.suppress(OSError):
                self._partial.unlink()
            self._file.close()

    def _check_free(self) -> None:
        if not self._force and (self._path.exists() or self._path.is_symlink()):
            raise InvalidArgument(
                f"{self._path} exists already; choose another name, or overwrite it with force",
                metadata={"field": "file"},
            )


class SealedReader:
    """An open file. Every frame is authenticated before it is returned."""

    def __init__(self, path: Path, key: ExportKey) -> None:
        """Open a file and its key.

        Raises:
            ExportKeyRefused: the key does not open the file.
            ExportCorrupt: it is no export, or its start was changed.
            ExportTooNew: it has a format of a newer release.
            OSError: it cannot be read.
        """
        self.path = path
        self._file: IO[bytes] = path.open("rb")
        try:
            self._open(key)
            self._frames_at = self._file.tell()
            self.size = self._file.seek(0, os.SEEK_END)
        except BaseException:
            self._file.close()
            raise

    def _open(self, key: ExportKey) -> None:
        start = self._file.read(len(MAGIC) + _LENGTH.size)
        if not start.startswith(MAGIC) or len(start) < len(MAGIC) + _LENGTH.size:
            raise ExportCorrupt(f"{self.path} is not an export of sameface; give the file that an export wrote")
        (length,) = _LENGTH.unpack(start[len(MAGIC) :])
        start += self._file.read(min(length, MOST_HEADER))
        wrapped = self._file.read(_WRAPPED)
        if length > MOST_HEADER or len(start) < len(MAGIC) + _LENGTH.size + length or len(wrapped) < _WRAPPED:
            raise self._corrupt()
        try:
            header: dict[str, Any] = json.loads(start[len(MAGIC) + _LENGTH.size :])
            found, self.file_id, parameters = header["format"], str(header["file"]), header["key"]
        except (ValueError, KeyError, TypeError) as error:
            raise self._corrupt() from error
        if found != FORMAT:
            raise ExportTooNew(
                f"{self.path} has format {str(found)[:20]}; this release reads format {FORMAT}; use the release that "
                "wrote it, or a newer one",
                metadata={"found": str(found)[:20], "expected": FORMAT},
            )
        file_key = _decrypted(derived(key, parameters), wrapped[:_NONCE], wrapped[_NONCE:], start)
        if file_key is None:
            name = "passphrase" if key.kind == "passphrase" else "key file"
            raise ExportKeyRefused(
                f"the {name} does not open {self.path}; give the {name} that it was made with. If it is the right one, "
                "the start of the file was changed: take another copy",
                metadata={"field": "key"},
            )
        self._sealed_to = hashlib.sha256(start + wrapped).digest()
        self._file_key = file_key

    def frames(self) -> Iterator[bytes]:
        """Yield the content of every frame, from the first one on.

        Raises:
            ExportCorrupt: the file was cut or changed. What was yielded before is authentic.
        """
        self._file.seek(self._frames_at)
        number, last = 0, False
        while not last:
            head = self._file.read(_LENGTH.size)
            if len(head) < _LENGTH.size:
                raise self._corrupt()
            (length,) = _LENGTH.unpack(head)
            if not _TAG <= length <= min(MOST_FRAME, self.size - self._file.tell()):
                raise self._corrupt()
            sealed = self._file.read(length)
            last = self._file.tell() == self.size
            content = _decrypted(self._file_key, _nonce(number, last), sealed, self._sealed_to)
            if content is None:
                raise self._corrupt()
            yield content
            number += 1

    @property
    def position(self) -> int:
        """How many bytes have been read."""
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _corrupt(self) -> ExportCorrupt:
        return ExportCorrupt(
            f"{self.path} was cut or changed near byte {self._file.tell()}; expected the file as the export wrote it; "
            "take another copy, or export again",
            metadata={"file": self.path},
        )


def _begun(path: Path) -> IO[bytes]:
    """Open the file that grows, empty, for this process alone."""
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise InvalidArgument(
            f"another process writes {path} at the moment; wait for its end, or choose another file",
            metadata={"field": "file"},
        ) from None
    os.fchmod(file.fileno(), 0o600)
    file.truncate(0)
    return file


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(_NONCE - 1, "big") + bytes([last])


def _cipher(key: bytes) -> "AESGCM":
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


def _decrypted(key: bytes, nonce: bytes, sealed: bytes, sealed_to: bytes) -> bytes | None:
    """Return what was sealed; None if it is not authentic."""
    from cryptography.exceptions import InvalidTag

    try:
        return _cipher(key).decrypt(nonce, sealed, sealed_to)
    except InvalidTag:
        return None
