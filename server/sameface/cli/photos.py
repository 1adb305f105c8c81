"""Finds the photos that a command line names (files, folders, patterns, stdin), and makes ids from folder names."""

import glob
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from anyascii import anyascii

from sameface_qdrant.errors import InvalidArgument

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
UNSUPPORTED = {".heic", ".heif", ".avif", ".jxl"}
STDIN = "-"
DRAWING = re.compile(r"\.sameface(-\d+)?\.jpg$")
NAMES_TOLD = 5


@dataclass(frozen=True, slots=True)
class NamedPhoto:
    """A photo with the name that is printed for it."""

    name: str
    path: Path | None
    """None is stdin."""

    def read(self) -> bytes:
        """Return its bytes."""
        return sys.stdin.buffer.read() if self.path is None else self.path.read_bytes()


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or folder below a named folder that is not used."""

    path: Path
    why: str


def find_photos(names: Sequence[str]) -> tuple[list[NamedPhoto], list[Skipped]]:
    """Return every named photo, and what was skipped. A folder means all photos below it, ``-`` means stdin.

    A folder that cannot be read is returned as a photo. Reading it raises the error.

    Raises:
        InvalidArgument: a name does not exist or holds no photo, or stdin is named twice.
    """
    if list(names).count(STDIN) > 1:
        raise InvalidArgument(
            f"{STDIN} is given {list(names).count(STDIN)} times; stdin holds one photo", metadata={"field": "photo"}
        )
    found: list[NamedPhoto] = []
    skipped: list[Skipped] = []
    for name in names:
        if name == STDIN:
            found.append(NamedPhoto("stdin", None))
            continue
        paths = [Path(name)] if name and Path(name).exists() else [Path(match) for match in sorted(_matches(name))]
        skipped_here: list[Skipped] = []
        photos = [photo for path in paths for photo in _below(path, skipped_here)]
        if not photos:
            what = "holds no photo" if paths else "does not exist"
            raise InvalidArgument(
                f"{name or 'an empty name'} {what}; expected a photo ({', '.join(sorted(SUFFIXES))}), a folder, a "
                "pattern, or -" + _in_brackets(skipped_here),
                metadata={"field": "photo"},
            )
        found += [NamedPhoto(str(photo), photo) for photo in photos]
        skipped += skipped_here
    return found, skipped


def one_photo_each(*names: str) -> list[NamedPhoto]:
    """Return exactly one photo for each name.

    Raises:
        InvalidArgument: a name stands for no photo or for several, or stdin is named twice.
    """
    find_photos([name for name in names if name == STDIN])
    photos = []
    for name in names:
        found, _ = find_photos([name])
        if len(found) != 1:
            raise InvalidArgument(
                f"{name} stands for {len(found)} photos; expected exactly one", metadata={"field": "photo"}
            )
        photos += found
    return photos


def find_people(folder: Path) -> tuple[dict[str, list[NamedPhoto]], list[Skipped]]:
    """Return the photos of each sub-folder ``folder/<name>/`` by name, and what was skipped.

    Raises:
        InvalidArgument: there is no sub-folder with photos.
    """
    people: dict[str, list[NamedPhoto]] = {}
    skipped: list[Skipped] = []
    for entry in sorted(folder.iterdir()):
        if not entry.is_dir():
            if entry.suffix.lower() in SUFFIXES | UNSUPPORTED:
                skipped.append(Skipped(entry, "not in a person's folder"))
        elif entry.name.startswith("."):
            skipped.append(Skipped(entry, "hidden"))
        elif photos := _below(entry, skipped):
            people[entry.name] = [NamedPhoto(str(photo), photo) for photo in photos]
        else:
            skipped.append(Skipped(entry, "a folder without photos"))
    if not people:
        raise InvalidArgument(
            f"{folder} has no sub-folder with photos; expected {folder}/<name>/<photo>, or --as ID for photos of one "
            "person" + _in_brackets(skipped),
            metadata={"field": "photo"},
        )
    return people, skipped


def describe_skipped(skipped: Iterable[Skipped]) -> list[str]:
    """Return one line for each reason, with how many and the first few names.

    >>> describe_skipped([Skipped(Path("people/.cache"), "hidden"), Skipped(Path("people/.git"), "hidden")])
    ['2 skipped (hidden): people/.cache, people/.git']
    """
    by_reason: dict[str, list[str]] = {}
    for one in skipped:
        by_reason.setdefault(one.why, []).append(str(one.path))
    return [
        f"{len(names)} skipped ({why}): {', '.join(names[:NAMES_TOLD])}{', …' if len(names) > NAMES_TOLD else ''}"
        for why, names in by_reason.items()
    ]


def _in_brackets(skipped: Iterable[Skipped]) -> str:
    lines = describe_skipped(skipped)
    return f" ({'; '.join(lines)})" if lines else ""


def _matches(pattern: str) -> list[str]:
    return glob.glob(pattern, recursive=True) if pattern else []


def _below(path: Path, skipped: list[Skipped]) -> list[Path]:
    return sorted(_walk(path, skipped)) if path.is_dir() else [path]


def _walk(folder: Path, skipped: list[Skipped]) -> Iterator[Path]:
    try:
        with os.scandir(folder) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
    except OSError:
        # Returned as a photo, so that reading it raises the error.
        yield folder
        return
    for entry in entries:
        path, suffix = folder / entry.name, Path(entry.name).suffix.lower()
        if entry.is_dir():
            if entry.name.startswith("."):
                skipped.append(Skipped(path, "hidden"))
            elif entry.is_symlink():
                skipped.append(Skipped(path, "a link to a folder"))
            else:
                yield from _walk(path, skipped)
        elif suffix in UNSUPPORTED:
            skipped.append(Skipped(path, f"{suffix[1:].upper()} is not supported"))
        elif suffix in SUFFIXES:
            if entry.name.startswith("."):
                skipped.append(Skipped(path, "hidden"))
            elif is_drawing(entry.name):
                skipped.append(Skipped(path, "made by --draw"))
            elif entry.is_file() or entry.is_symlink():
                yield path


def is_drawing(name: str) -> bool:
    """Return whether a file has a name that ``--draw`` gives.

    >>> is_drawing("ada.sameface.jpg"), is_drawing("ada.sameface-2.jpg"), is_drawing("sameface.jpg")
    (True, True, False)
    """
    return DRAWING.search(name) is not None


def identity_ids(names: Iterable[str]) -> dict[str, str]:
    """Return an id for each name: ASCII, lower case, everything else a hyphen ("José Ángel" is jose-angel).

    Raises:
        InvalidArgument: two names give the same id, or a name gives none.
    """
    by_id: dict[str, str] = {}
    for name in names:
        identity = identity_id(name)
        if (other := by_id.setdefault(identity, name)) != name:
            raise InvalidArgument(
                f"{other!r} and {name!r} both give the id {identity!r}; rename one of the folders",
                metadata={"field": "identity"},
            )
    return {name: identity for identity, name in by_id.items()}


def identity_id(name: str) -> str:
    """Return the id of one name.

    >>> identity_id("José Ángel  (2)"), identity_id("Łukasz_K."), identity_id("李小龙")
    ('jose-angel-2', 'lukasz_k', 'lixiaolong')
    """
    plain = re.sub(r"[^a-z0-9_.]+", "-", anyascii(name).lower())
    identity = plain.strip("-_.")[:64].rstrip("-_.")
    if not identity:
        raise InvalidArgument(
            f"no id can be made of the name {name!r}; rename the folder, or give one with --as",
            metadata={"field": "identity"},
        )
    return identity


def display_name_of(name: str) -> str:
    """Return the name of a folder as text in Unicode form NFC, with bytes that are not UTF-8 escaped.

    >>> display_name_of("Jose\\u0301"), display_name_of("Jos\\udce9")
    ('José', 'Jos\\\\xe9')
    """
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", text)
