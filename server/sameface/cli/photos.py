"""Finds the photos that a command line names (files, folders, patterns, stdin), and makes ids from folder names."""

import glob
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anyascii import anyascii

from sameface.cli.options import max_photo_bytes_of
from sameface.client.files import check_content, meant_otherwise, read_file, read_path
from sameface.client.naming import named, quotable
from sameface.evaluation.forgery_names import is_forgery, kinds_alone
from sameface.file_types import PHOTOS
from sameface.photo_folders import Skipped, describe_skipped, is_folder, photos_below, why_skipped
from sameface.samples.opening import scheme_of, source_of
from sameface.samples.source import Sample, SampleSource
from sameface_qdrant.errors import InvalidArgument

STDIN = "-"
FORGERY = "a skilled forgery, by its folder"


@dataclass(frozen=True, slots=True)
class NamedPhoto:
    """A photo with the name that is printed for it."""

    name: str
    path: Path | None
    """None is stdin, or a photo of a source."""
    sample: Sample | None = None
    """The photo of a source."""
    source: SampleSource | None = None
    """Where that photo is."""

    def read(self) -> bytes:
        """Return its bytes.

        Raises:
            NotAPhoto: it is no file, empty, too large, or the text of a photo.
            OSError: it cannot be read.
        """
        most = max_photo_bytes_of(os.environ)
        if self.sample is not None and self.source is not None:
            content = self.source.read(self.sample, most)
            check_content(content, self.name, most)
            return content
        content = read_file(sys.stdin.buffer, "stdin", most) if self.path is None else read_path(self.path, most)
        check_content(content, "stdin" if self.path is None else named(str(self.path)), most)
        return content


def reader() -> Callable[[NamedPhoto], bytes]:
    """Return what reads a photo. It keeps that of stdin, which can be read only once."""
    stdin: list[bytes] = []

    def read(photo: NamedPhoto) -> bytes:
        if photo.path is not None or photo.sample is not None:
            return photo.read()
        if not stdin:
            stdin.append(photo.read())
        return stdin[0]

    return read


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
        paths = [Path(name)] if name and os.path.exists(name) else [Path(match) for match in sorted(_matches(name))]
        skipped_here: list[Skipped] = []
        photos = [photo for path in paths for photo in _below(path, skipped_here)]
        if not photos:
            raise InvalidArgument(
                _no_photo(name, bool(paths)) + _in_brackets(skipped_here), metadata={"field": "photo"}
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

    What is in ``folder/<name>/forgery/`` imitates that person (`sameface.evaluation.forgery_names`), and is skipped.

    Raises:
        InvalidArgument: there is no sub-folder with photos, or the sub-folders are kinds of samples and no people.
    """
    people: dict[str, list[NamedPhoto]] = {}
    skipped: list[Skipped] = []
    with os.scandir(folder) as scanned:
        entries = sorted(scanned, key=lambda entry: entry.name)
    for entry in entries:
        path = folder / entry.name
        # A link to a person's folder is that folder.
        is_person = is_folder(entry) and not entry.name.startswith(".")
        found = [NamedPhoto(str(photo), photo) for photo in photos_below(path, skipped)] if is_person else []
        if photos := _without_forgeries(found, skipped, below=folder):
            people[entry.name] = photos
        elif not found:
            why = "a folder without photos" if is_person else why_skipped(entry) or "not in a person's folder"
            skipped.append(Skipped(path, why))
    if not people:
        raise InvalidArgument(
            f"{folder} has no sub-folder with photos; expected {folder}/<name>/<photo>, or --as ID for photos of one "
            "person" + _in_brackets(skipped),
            metadata={"field": "photo"},
        )
    if kinds := kinds_alone(people):
        raise InvalidArgument(f"{folder} {kinds}", metadata={"field": "photo"})
    return people, skipped


def people_named(photos: list[str], identity: str) -> tuple[dict[str, list[NamedPhoto]], list[Skipped]]:
    """Return the photos of each person by name, and what was skipped: of one ``identity``, or of a folder of people.

    Skilled forgeries of the person, told by a folder in the name of a photo, are skipped.

    Raises:
        InvalidArgument: the names stand for no photos, or for no folder of people.
    """
    if any(map(scheme_of, photos)):
        return _people_of_source(photos, identity)
    if identity:
        found, skipped = find_photos(photos)
        if not (kept := _without_forgeries(found, skipped, below=None)):
            raise InvalidArgument(
                f"no photo is left for {identity}{_in_brackets(skipped)}; a forgery is no sample of whom it imitates",
                metadata={"field": "photo"},
            )
        return {identity: kept}, skipped
    if len(photos) != 1 or photos[0] == STDIN or not Path(photos[0]).is_dir():
        raise InvalidArgument(
            "expected one folder with a sub-folder per person; for photos of one person give its id with --as ID",
            metadata={"field": "photo"},
        )
    return find_people(Path(photos[0]))


def _people_of_source(photos: Sequence[str], identity: str) -> tuple[dict[str, list[NamedPhoto]], list[Skipped]]:
    """Return the photos of each person of a source, or all of them as those of one ``identity``, and what was skipped.

    Raises:
        InvalidArgument: there are several arguments, or the source has no photos.
        OSError: the source cannot be read.
    """
    if len(photos) != 1:
        raise InvalidArgument(
            f"{len(photos)} arguments are given; expected one address of a source, such as s3://bucket/people",
            metadata={"field": "photo"},
        )
    source = source_of(photos[0])
    people: dict[str, list[NamedPhoto]] = {}
    forgeries = []
    for sample in source.samples():
        if is_forgery(f"{sample.person}/{sample.name.partition(f'/{sample.person}/')[2]}"):
            forgeries.append(Skipped(Path(sample.name), FORGERY))
        else:
            photo = NamedPhoto(sample.name, None, sample, source)
            people.setdefault(identity or sample.person, []).append(photo)
    if not people:
        raise InvalidArgument(
            f"{photos[0]} has no photos; expected {photos[0].rstrip('/')}/<name>/<photo>", metadata={"field": "photo"}
        )
    return people, [*getattr(source, "skipped", []), *forgeries]


def _without_forgeries(photos: Sequence[NamedPhoto], skipped: list[Skipped], below: Path | None) -> list[NamedPhoto]:
    """Return the photos that are no forgeries, and add the others to ``skipped``.

    A folder of forgeries is one below ``below/<name>/``, or any one in the name of a photo if ``below`` is None.
    """
    kept = []
    for photo in photos:
        path = photo.path
        # The first part is an identity, whose name says nothing.
        sample = "" if path is None else f"-/{path}" if below is None else path.relative_to(below).as_posix()
        if path is not None and is_forgery(sample):
            skipped.append(Skipped(path, FORGERY))
        else:
            kept.append(photo)
    return kept


def _in_brackets(skipped: Iterable[Skipped]) -> str:
    lines = describe_skipped(skipped)
    return f" ({'; '.join(lines)})" if lines else ""


def _matches(pattern: str) -> list[str]:
    return glob.glob(pattern, recursive=True) if pattern else []


def _below(path: Path, skipped: list[Skipped]) -> list[Path]:
    return photos_below(path, skipped) if path.is_dir() else [path]


def _no_photo(name: str, exists: bool) -> str:
    """Return why a name stands for no photo."""
    if mistake := None if exists else meant_otherwise(name):
        return mistake.message
    shown = name if name and quotable(name) else f"a name of {len(name)} characters" if name else "an empty name"
    formats = ", ".join(kind.name for kind in PHOTOS)
    return (
        f"{shown} {'holds no photo' if exists else 'does not exist'}; expected a photo ({formats}), a folder, a "
        "pattern, or -"
    )


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
