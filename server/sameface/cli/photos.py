"""Photos named on the command line: files, folders, patterns, stdin; and ids from the names of folders."""

import glob
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anyascii import anyascii

from sameface_qdrant.errors import InvalidArgument

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
STDIN = "-"


@dataclass(frozen=True, slots=True)
class NamedPhoto:
    """A photo with the name it is spoken of by."""

    name: str
    path: Path | None
    """None is stdin."""

    def read(self) -> bytes:
        """Return its bytes."""
        return sys.stdin.buffer.read() if self.path is None else self.path.read_bytes()


def find_photos(names: Sequence[str]) -> list[NamedPhoto]:
    """Return every photo that is named: a folder stands for all photos below it, ``-`` for stdin.

    Raises:
        InvalidArgument: something named does not exist, or holds no photo.
    """
    found: list[NamedPhoto] = []
    for name in names:
        if name == STDIN:
            found.append(NamedPhoto("stdin", None))
            continue
        paths = (
            [Path(name)] if Path(name).exists() else [Path(match) for match in sorted(glob.glob(name, recursive=True))]
        )
        photos = [photo for path in paths for photo in _below(path)]
        if not photos:
            what = "holds no photo" if paths else "does not exist"
            raise InvalidArgument(
                f"{name} {what}; expected a photo ({', '.join(sorted(SUFFIXES))}), a folder, a pattern, or -",
                metadata={"field": "photo"},
            )
        found += [NamedPhoto(str(photo), photo) for photo in photos]
    return found


def _below(path: Path) -> Iterable[Path]:
    if path.is_dir():
        return sorted(photo for photo in path.rglob("*") if photo.suffix.lower() in SUFFIXES and photo.is_file())
    return [path]


def find_people(folder: Path) -> dict[str, list[NamedPhoto]]:
    """Return the photos of ``folder/<name>/`` by name; the names are those of the sub-folders.

    Raises:
        InvalidArgument: there is no sub-folder with photos.
    """
    people = {
        person.name: [NamedPhoto(str(photo), photo) for photo in _below(person)]
        for person in sorted(folder.iterdir())
        if person.is_dir()
    }
    people = {name: photos for name, photos in people.items() if photos}
    if not people:
        raise InvalidArgument(
            f"{folder} has no sub-folder with photos; expected {folder}/<name>/<photo>, or --as ID for photos of one "
            "person",
            metadata={"field": "photo"},
        )
    return people


def identity_ids(names: Iterable[str]) -> dict[str, str]:
    """Return an id for each name: ASCII, lower case, everything else a hyphen ("José Ángel" is jose-angel).

    Raises:
        InvalidArgument: two names give one id, or a name gives none.
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
