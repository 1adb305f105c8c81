"""Where a step's memory comes from."""

import ctypes
import sys

# Of <malloc.h>: options of mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> None:
    """Have glibc keep what is freed for the next step instead of handing it back to the kernel.

    A step's large tensors otherwise come as fresh pages every time, zeroed by the kernel at their first touch: that
    took a sixth to a third of a step here. Does nothing where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, -1)  # never
    mallopt(_TOP_PAD, 2**26)
