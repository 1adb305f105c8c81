"""Input tensors in memory that is shared with a Triton on this machine.

A tensor of a megabyte takes more time in gRPC than in a small model. So large ones are written to shared memory, and
the request says where. Triton only reads there, and answers come over gRPC: a call that was given up, whose input
Triton may still read, can spoil nobody's answer.
"""

import mmap
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sameface.inference.base import Tensors

FOLDER = Path("/dev/shm")  # noqa: S108  # the system's folder of shared memory
SLOTS, SLOT_BYTES = 8, 3 * 640 * 640
"""Places for tensors, each for one photo as large as the detector takes it: 9.4 MiB in all."""
LEAST_BYTES = 64 << 10
"""Smaller tensors go over gRPC, which is as fast for them."""


class Place(NamedTuple):
    """Where a tensor is."""

    region: str
    offset: int


class SharedInputs:
    """Memory for some tensors. It has a name, and is a file, only until Triton has opened it."""

    def __init__(self, name: str) -> None:
        """Make it under a new name, without ``/``, for this user alone.

        Raises:
            OSError: there is no room.
        """
        self.name = name
        self._path = FOLDER / name
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            # Taken now: where the folder is full later, writing there would end the process.
            os.posix_fallocate(descriptor, 0, self.size)
            self._memory = mmap.mmap(descriptor, self.size)
        except OSError:
            self.unlink()
            raise
        finally:
            os.close(descriptor)
        if hasattr(mmap, "MADV_DONTDUMP"):
            self._memory.madvise(mmap.MADV_DONTDUMP)
        self._free = list(range(0, self.size, SLOT_BYTES))

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return SLOTS * SLOT_BYTES

    def unlink(self) -> None:
        """Remove the name. The memory is free when the last process that has it ends, also if that is killed."""
        self._path.unlink(missing_ok=True)

    def write(self, tensors: Tensors) -> dict[str, Place]:
        """Copy tensors, and return where they are until `free`. Small and too large ones, and where there is no room,
        are left out.
        """
        places: dict[str, Place] = {}
        for name, tensor in tensors.items():
            if LEAST_BYTES <= tensor.nbytes <= SLOT_BYTES and self._free:
                places[name] = place = Place(self.name, self._free.pop())
                there = np.frombuffer(self._memory, tensor.dtype, tensor.size, place.offset)
                np.copyto(there.reshape(tensor.shape), tensor)
        return places

    def free(self, places: Iterable[Place]) -> None:
        """Let others use the places."""
        self._free += [place.offset for place in places]
