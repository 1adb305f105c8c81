"""Input tensors in memory that is shared with a Triton on this machine.

A tensor of a megabyte takes more time in gRPC than in a small model. So large ones are written to shared memory, and
the request says where. Triton only reads there, and answers come over gRPC: a call that was given up, whose input
Triton may still read, can spoil nobody's answer.
"""

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sameface.inference.base import Tensor

FOLDER = Path("/dev/shm")  # noqa: S108  # the system's folder of shared memory
SLOTS, SLOT_BYTES = 8, 3 * 640 * 640
"""Places for tensors, each for one photo as large as the detector takes it: 9.4 MiB in all."""
LEAST_BYTES = 64 << 10
"""Smaller tensors go over gRPC, which is as fast for them."""


@dataclass(frozen=True, slots=True)
class Place:
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

    @contextmanager
    def written(self, tensor: Tensor) -> Iterator[Place | None]:
        """Hold a copy of a tensor, and yield where; None if it is small, too large, or there is no room."""
        if not LEAST_BYTES <= tensor.nbytes <= SLOT_BYTES or not self._free:
            yield None
            return
        offset = self._free.pop()
        try:
            there = np.frombuffer(self._memory, tensor.dtype, tensor.size, offset)
            np.copyto(there.reshape(tensor.shape), tensor)
            yield Place(self.name, offset)
        finally:
            self._free.append(offset)
