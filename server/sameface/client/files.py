"""Reads photos from paths and file objects. An error quotes nothing of a photo, nor a text that may be one."""

import errno
import inspect
import io
import json
import os
import re
import stat
from collections.abc import Iterator
from typing import Any

from sameface.client.connection import MAX_PHOTO_BYTES
from sameface.client.errors import NotAPhoto
from sameface.client.naming import EXPECTED, LONGEST_NAME, SUFFIX, described, named, quotable, type_name
from sameface.file_types import HEAD_BYTES, FileType, Use, file_type

CHUNK_BYTES = 1 << 20
LONGEST_PATH = 4096
"""Bytes of the longest path of Linux."""

_KINDS = {
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}
# A pipe that this process already holds: /dev/stdin, and what a shell makes of <(command).
_OWN_PIPE = re.compile(r"/dev/stdin|/dev/fd/\d+|/proc/self/fd/\d+")
_QUOTES = "\"'"
# The path itself is at fault, so it may be a text of another kind.
_NO_SUCH_PATH = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP)


def read_path(path: str | os.PathLike[Any], most: int = MAX_PHOTO_BYTES) -> bytes:
    """Return the bytes of a file of at most ``most`` bytes. A named pipe, a device and a socket are not opened.

    Raises:
        NotAPhoto: the file is not a regular one or too large, or the path is a text of another kind: base64, JSON, a
            data URI, an address, bytes that were decoded.
        OSError: the file cannot be read.
    """
    text = os.fsdecode(path)
    try:
        status = os.stat(text)
        _check_regular(text, status, most)
        with open(text, "rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        mistake = meant_otherwise(text) if error.errno in _NO_SUCH_PATH else None
        raise mistake or _short(error, text) from None
    except NotAPhoto:
        raise
    except ValueError:
        raise meant_otherwise(text) or NotAPhoto(
            f"a text of {len(text)} characters is not a path, because it holds a NUL or a lone surrogate; {EXPECTED}"
        ) from None
    if len(content) > most:
        raise too_large(named(text), f"more than {most}", most)
    return content


def read_file(file: Any, name: str = "", most: int = MAX_PHOTO_BYTES) -> bytes:
    """Return the bytes of a file object, from its beginning wherever it stands. One that cannot seek is read on.

    Args:
        file: the file object.
        name: what it is called in an error; default: its type.
        most: how many bytes it may have.

    Raises:
        NotAPhoto: the file is closed, a text file, only for writing, asynchronous, empty or too large.
        OSError: reading fails.
    """
    name = name or f"the {type_name(file)}"
    if isinstance(file, io.TextIOBase) or isinstance(getattr(file, "file", None), io.TextIOBase):
        raise _text_file(name)
    if getattr(file, "closed", False) is True:
        raise NotAPhoto(f'{name} is closed; open the file with open(path, "rb") and read it before it is closed')
    seekable = _rewind(file)
    try:
        content = _read_all(file, name, most)
    except NotAPhoto:
        raise
    except UnicodeDecodeError:
        raise _text_file(name) from None
    except io.UnsupportedOperation:
        raise NotAPhoto(f'{name} cannot be read from; open the file with open(path, "rb")') from None
    except OSError:
        raise
    except Exception as error:
        raise NotAPhoto(f"{name} could not be read ({type(error).__name__}); {EXPECTED}") from None
    if not content:
        hint = "" if seekable else "; it cannot seek, so it may have been read before"
        raise NotAPhoto(f"{name} holds 0 bytes{hint}; expected the file of a photo")
    return content


def check_content(content: bytes, source: str, most: int = MAX_PHOTO_BYTES) -> None:
    """Check the bytes of a file for mistakes that need no decoder. The service judges all others.

    Args:
        content: the bytes.
        source: what they are called in an error.
        most: how many there may be.

    Raises:
        NotAPhoto: there are none or too many, or they are a photo written as text, or where one is.
    """
    if not content:
        raise NotAPhoto(f"{source} has 0 bytes; expected the file of a photo")
    if len(content) > most:
        raise too_large(source, len(content), most)
    kind = file_type(content[:HEAD_BYTES])
    if mistake := _stand_in(kind, source) or _quoted_stand_in(content[: 2 * HEAD_BYTES].decode("latin-1"), source):
        raise mistake
    if not (kind and (kind.is_photo or kind.use is Use.PICTURE)) and _is_path(content):
        raise NotAPhoto(f"{source} is not a photo but looks like: path; hand over that path as a str, not its bytes")


def _stand_in(kind: FileType | None, source: str) -> NotAPhoto | None:
    """Return the error for the text of a photo, or for its address."""
    if kind is None or kind.use is not Use.STAND_IN:
        return None
    return NotAPhoto(f"{source} is not a photo but looks like: {kind.name}; {kind.remedy}")


def _quoted_stand_in(text: str, source: str) -> NotAPhoto | None:
    """Return the error for the text of a photo in quotes, as JSON and ``repr`` write it."""
    inner = text.strip()
    if not inner.startswith(tuple(_QUOTES)):
        return None
    # JSON may write a slash as \/.
    inner = inner.strip(_QUOTES).replace("\\/", "/")
    kind = file_type(inner[:HEAD_BYTES].encode(errors="replace"))
    if kind is None or kind.use is not Use.STAND_IN:
        return None
    return NotAPhoto(
        f"{source} is not a photo but looks like: {kind.name} in quotes; take the quotes off, and {kind.remedy}"
    )


def _is_path(content: bytes) -> bool:
    """Whether bytes are the path of a file, and not its content."""
    if len(content) > LONGEST_PATH:
        return False
    text = os.fsdecode(content).strip()
    return text.isprintable() and (bool(SUFFIX.search(text)) or os.path.isfile(text))


def refuse_awaitable(thing: object) -> None:
    """Raise NotAPhoto for a coroutine, task or future. A coroutine that has not begun is closed."""
    if not inspect.isawaitable(thing):
        return
    if inspect.iscoroutine(thing) and inspect.getcoroutinestate(thing) == inspect.CORO_CREATED:
        # Python would warn that it was never awaited.
        thing.close()
    raise NotAPhoto(f"{described(thing)} is not a photo; await it and hand over its result")


def _check_regular(path: str, status: os.stat_result, most: int) -> None:
    mode = status.st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(
            errno.EISDIR, "Is a folder; expected the file of one photo (`sameface enroll` takes folders)"
        )
    what = next((name for is_kind, name in _KINDS.items() if is_kind(mode)), None)
    if what and not _OWN_PIPE.fullmatch(path):
        raise NotAPhoto(f"{named(path)} is {what}; expected the file of a photo")
    if stat.S_ISREG(mode) and status.st_size > most:
        raise too_large(named(path), status.st_size, most)


def meant_otherwise(text: str) -> NotAPhoto | None:
    """Return the error for a text that leads to no file and is not meant as a path."""
    source = f"a text of {len(text)} characters"
    for errors in ("surrogateescape", "replace"):
        try:
            kind = file_type(text[:HEAD_BYTES].encode(errors=errors))
        except UnicodeEncodeError:
            continue
        if mistake := _stand_in(kind, source):
            return mistake
        if kind and kind.is_photo:
            return NotAPhoto(
                f"{source} is not a path but looks like the bytes of a photo ({kind.name}) that were decoded; read the "
                'file as bytes, with open(path, "rb")'
            )
    if _is_json(text):
        return NotAPhoto(
            f"{source} is not a path but looks like: JSON; read the photo's text out of it with json.loads, and decode "
            "that with base64.b64decode"
        )
    return _quoted_stand_in(text, source)


def _is_json(text: str) -> bool:
    """Whether a text is an object or array of JSON. A short one that breaks off may be the name of a file."""
    if not text.lstrip().startswith(("{", "[")) or not any(quote in text for quote in _QUOTES):
        return False
    if len(text) > LONGEST_NAME:
        return True
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _short(error: OSError, path: str) -> OSError:
    """Return the error with the path quoted only if it is surely one."""
    reason = error.strerror or type(error).__name__
    if path.startswith("~"):
        reason += " (~ is not expanded; use Path.expanduser)"
    if quotable(path):
        return OSError(error.errno, reason, path)
    return OSError(error.errno, f"{reason}: a path of {len(path)} characters; {EXPECTED}")


def _rewind(file: Any) -> bool:
    """Go to the beginning, and return whether that was possible."""
    try:
        if hasattr(file, "seekable") and not file.seekable():
            return False
        refuse_awaitable(file.seek(0))
    except NotAPhoto:
        raise
    except Exception:
        # Pipes and answers of web servers cannot seek, and each library says so in its own way.
        return False
    return True


def _read_all(file: Any, name: str, most: int) -> bytes:
    content = bytearray()
    for chunk in _chunks(file):
        if inspect.isawaitable(chunk):
            if inspect.iscoroutine(chunk):
                chunk.close()
            raise asynchronous(name)
        if isinstance(chunk, str):
            raise _text_file(name)
        if chunk is None:
            raise NotAPhoto(f"{name} has no more bytes at the moment; hand over the bytes of the whole photo")
        if not isinstance(chunk, bytes | bytearray | memoryview):
            raise NotAPhoto(f"read() of {name} returned {described(chunk)}; expected bytes")
        content += chunk
        if len(content) > most:
            raise too_large(name, f"more than {most}", most)
    return bytes(content)


def _chunks(file: Any) -> Iterator[Any]:
    try:
        chunk = file.read(CHUNK_BYTES)
    except TypeError:
        # It takes no size, and may return everything again the next time.
        yield file.read()
        return
    while chunk:
        yield chunk
        chunk = file.read(CHUNK_BYTES)
    if chunk is None or isinstance(chunk, str):
        yield chunk


def _text_file(name: str) -> NotAPhoto:
    return NotAPhoto(f'{name} is a text file; open the file with open(path, "rb")')


def asynchronous(name: str) -> NotAPhoto:
    """Return the error for a file object that only a coroutine can read."""
    return NotAPhoto(f"read() of {name} is asynchronous; hand over its bytes: await file.read()")


def too_large(source: str, size: object, most: int, instead: str = "send a smaller one") -> NotAPhoto:
    """Return the error for a photo of more than ``most`` bytes."""
    return NotAPhoto(
        f"{source} has {size} bytes; a photo may have at most {most} ({most / (1 << 20):.3g} MiB); {instead}, or raise "
        "max_photo_bytes here (SAMEFACE_CLIENT_MAX_PHOTO_BYTES for commands) and "
        "SAMEFACE_IMAGE__MAX_BYTES at the service",
        reason="IMAGE_TOO_LARGE",
    )
