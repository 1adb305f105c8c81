"""A file that is read again when it has changed, so that the service need not be restarted."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from sameface_qdrant.errors import SamefaceError

log = logging.getLogger(__name__)

Content = TypeVar("Content")


class ChangingFiles(Generic[Content]):
    """What was read from files that belong together. A change is noticed at the next use.

    Where the new content cannot be used, the old one stays, and the log says why. A program that replaces several files
    may be seen in between; the next look then finds the rest.
    """

    def __init__(self, paths: Sequence[Path], read: Callable[[], Content]) -> None:
        """Read for the first time; errors of ``read`` are raised."""
        self._paths = tuple(paths)
        self._read = read
        self._seen = self._stamps()
        self._content = read()

    @property
    def content(self) -> Content:
        """What the files hold."""
        stamps = self._stamps()
        if stamps != self._seen:
            self._seen = stamps
            try:
                self._content = self._read()
                log.info("read again: %s", ", ".join(map(str, self._paths)))
            except (SamefaceError, OSError, ValueError) as error:
                log.error("kept what was read before, because %s", error)
        return self._content

    def _stamps(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(map(_stamp, self._paths))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
