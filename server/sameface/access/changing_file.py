"""A file that is read again when it has changed, so that the service need not be restarted."""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from sameface_qdrant.errors import SamefaceError

log = logging.getLogger(__name__)

Content = TypeVar("Content")


class ChangingFiles(Generic[Content]):
    """What was read from files that belong together. A change is noticed at the next use.

    Where the new content cannot be used, the log says why, and each further use tries again. A program that replaces
    several files may be seen in between.
    """

    def __init__(self, paths: Sequence[Path], read: Callable[[], Content], *, keep: bool = False) -> None:
        """Read for the first time; errors of ``read`` are raised.

        With ``keep``, what was read before is used while the new content cannot be. Without it, uses raise the error:
        what was withdrawn must not stay in use.
        """
        self._paths = tuple(paths)
        self._read = read
        self._keep = keep
        self._seen: object = self._stamps()
        self._content = read()
        self._told = ""

    @property
    def content(self) -> Content:
        """What the files hold.

        Raises:
            SamefaceError: the files have changed and cannot be used, unless the former content is kept.
        """
        stamps = self._stamps()
        if stamps != self._seen:
            try:
                self._content = self._read()
            except SamefaceError as error:
                if error.message != self._told:
                    self._told = error.message
                    log.error("%s: %s", "kept what was read before" if self._keep else "refused", error.message)
                if not self._keep:
                    raise
            else:
                self._seen, self._told = stamps, ""
                log.info("read again: %s", ", ".join(map(str, self._paths)))
        return self._content

    def _stamps(self) -> tuple[tuple[int, ...] | None, ...]:
        return tuple(map(_stamp, self._paths))


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
