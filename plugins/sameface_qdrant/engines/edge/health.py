"""Looks whether the folder of a store is still there, and can be written. Nothing is written to its contents."""

import os
from pathlib import Path

from sameface_qdrant.engines.edge.collection import blocking_call
from sameface_qdrant.engines.edge.files import ROOM_TO_WRITE, check_room
from sameface_qdrant.errors import StoreUnavailable


class EdgeHealthProbe:
    """Implements `HealthProbe` for an open folder."""

    def __init__(self, folder: Path, lock: os.stat_result) -> None:
        """``lock`` describes the file by which this process holds the folder."""
        self._folder, self._lock = folder, (lock.st_dev, lock.st_ino)

    async def check_reads(self) -> None:
        """Raise StoreUnavailable if the folder is not there any more, for instance because its disk was taken away.

        Reads of what is in memory would still be answered, but nothing would survive the next start.
        """
        await blocking_call(self._folder, self._look)

    async def check_writes(self) -> None:
        """Raise StoreFull or StoreUnavailable if writes would be refused."""
        await blocking_call(self._folder, self._touch)

    def _look(self) -> None:
        found = os.stat(self._folder / "LOCK")
        if (found.st_dev, found.st_ino) != self._lock:
            raise StoreUnavailable(
                f"{self._folder} is another folder than the one that was opened; mount it again, and restart",
                metadata={"path": self._folder},
            )

    def _touch(self) -> None:
        check_room(self._folder, ROOM_TO_WRITE)
        # A read-only disk refuses it, and it costs no wait for the disk.
        os.utime(self._folder / "LOCK")
