"""Which photos of a folder an interrupted `sameface enroll` has enrolled, so that the next run goes on after them.

A file in the cache folder has one line for each photo that is enrolled: its key, which is made of the gallery,
the identity and the photo's content, and the id of its template. It names no person and no path. It belongs to one
service, one gallery as it was made, and one choice of photos, and is removed when all of them are enrolled. A line is
written whole or counts for nothing, so a run may be killed at any time.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sameface.folders import cache_folder

LINE = re.compile(r"([0-9a-f-]{36}) ([0-9a-f-]{36})\n")


class Resume:
    """What earlier runs and this one have enrolled."""

    def __init__(self, path: Path, enrolled: dict[str, str], file: int | None) -> None:
        self.enrolled = enrolled
        """The id of the template, by key, of what earlier runs have enrolled."""
        self._path, self._file = path, file
        self._complete = False

    def add(self, key: str, template: str) -> None:
        """Note that a photo is enrolled, where there is room to note it."""
        if self._file is not None:
            with suppress(OSError):
                # One write of less than a page: several threads and runs may write here.
                os.write(self._file, f"{key} {template}\n".encode("ascii"))

    def complete(self) -> None:
        """Note that every photo is enrolled, so that nothing is left to resume."""
        self._complete = True


@contextmanager
def resumed(address: str, gallery: str, made: int, photos: list[str], *, restart: bool) -> Iterator[Resume]:
    """Read what earlier runs have enrolled, and write what this one enrols.

    A folder that cannot be written costs only the resuming.

    Args:
        address: of the service.
        gallery: its id.
        made: when it was made, in nanoseconds; a gallery that was made anew is another one.
        photos: the command's arguments that name photos.
        restart: forget what earlier runs have enrolled.
    """
    named = json.dumps([address, gallery, made, [os.path.abspath(one) for one in photos]])
    folder = cache_folder() / "enroll"
    path = folder / f"{hashlib.sha256(named.encode()).hexdigest()[:32]}.txt"
    file: int | None = None
    enrolled: dict[str, str] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if restart:
            path.unlink(missing_ok=True)
        elif path.exists():
            enrolled = dict(_lines(path))
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        # The last line of a run that was killed may lack its end.
        os.write(file, b"\n" if path.stat().st_size else b"")
    except (OSError, UnicodeDecodeError):
        enrolled = {}
    resume = Resume(path, enrolled, file)
    try:
        yield resume
    finally:
        if file is not None:
            os.close(file)
            if resume._complete:
                path.unlink(missing_ok=True)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(encoding="ascii") as file:
        for line in file:
            if found := LINE.fullmatch(line):
                yield found[1], found[2]
