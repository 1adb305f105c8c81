"""Limits the work on one photo, and stops it early."""

import io
import time
from bisect import bisect_right
from collections.abc import Sequence

from sameface.vision.limits import too_large


class WorkStopped(Exception):
    """The work on a photo was stopped, because its caller left."""


class PhotoWork:
    """The work on one photo. One thread does the work, and any thread may stop it."""

    def __init__(self, max_cpu_s: float) -> None:
        """Allow ``max_cpu_s`` seconds of the thread's processor time, counted from the first `check`."""
        self._max_cpu_s = max_cpu_s
        self._began: float | None = None
        self._stopped = False

    def stop(self) -> None:
        """Make the next `check` raise WorkStopped."""
        self._stopped = True

    def check(self) -> None:
        """Return if the work may continue.

        Raises:
            WorkStopped: `stop` was called.
            ImageTooLarge: the processor time is used up.
        """
        if self._stopped:
            raise WorkStopped
        now = time.thread_time()
        if self._began is None:
            self._began = now
        if now - self._began > self._max_cpu_s:
            raise too_large(
                f"decoding the image took {now - self._began:.1f} s of processor time and was not finished; at most "
                f"{self._max_cpu_s:g} s are allowed; send a smaller photo, saved as an ordinary JPEG",
                "max_cpu_s",
                cpu_s=f"{now - self._began:.1f}",
                limit=f"{self._max_cpu_s:g}",
            )


class PhotoFile(io.BytesIO):
    """The bytes of a photo as a file. Each read checks whether the work may continue.

    Pillow reads a file piece by piece while it parses and decodes, so a read is a point where its work can be stopped.
    """

    def __init__(self, content: bytes, work: PhotoWork, cuts: Sequence[int] = ()) -> None:
        """Wrap ``content``. ``cuts`` are ascending offsets. A read ends at the next cut."""
        super().__init__(content)
        self._work = work
        self._cuts = cuts

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to ``size`` bytes, fewer if a cut comes first.

        Raises:
            WorkStopped, ImageTooLarge: see `PhotoWork.check`.
        """
        self._work.check()
        position = self.tell()
        following = bisect_right(self._cuts, position)
        if following < len(self._cuts):
            room = self._cuts[following] - position
            size = room if size is None or size < 0 else min(size, room)
        return super().read(size)
