"""Keeps memory that was freed from piling up in the C library, which keeps it apart for the threads.

glibc gives threads up to eight arenas for each core. Each arena keeps the pages that the largest piece of work in it
needed. Such work, for instance writing the files anew after an erasure, goes to whichever thread is free. So the memory
of a process grows until every arena has seen it. malloc_trim(3) gives only a part back.
"""

import ctypes
import os
from collections.abc import Mapping

M_ARENA_MAX = -8
FEWEST = 2
"""So many arenas at least, so that threads do not wait for one."""


def limit_malloc_arenas(cpus: int, environment: Mapping[str, str] = os.environ) -> bool:
    """Let all threads of this process share an arena for each CPU; return whether that was set. For the service only.

    Call it before libraries start threads: arenas that are there stay, and with eight of them glibc fixes their limit.
    Nothing is set where the environment chooses (MALLOC_ARENA_MAX or GLIBC_TUNABLES), or without glibc.
    """
    if environment.get("MALLOC_ARENA_MAX") or "glibc.malloc.arena_max" in environment.get("GLIBC_TUNABLES", ""):
        return False
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows
        return False
    if not hasattr(library, "gnu_get_libc_version"):  # macOS, musl
        return False
    return bool(library.mallopt(M_ARENA_MAX, max(FEWEST, cpus)))


def give_back_freed_memory() -> bool:
    """Hand memory that was freed back to the kernel; return whether the C library can do so: only glibc can.

    Call it after work that leaves many holes, as opening a model does: ONNX Runtime reads the file, makes other forms
    of its weights and frees the file's. glibc keeps these pages, and the next model seldom fits into them.
    """
    try:
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    except (OSError, TypeError):  # Windows
        return False
    if trim is None:  # macOS, musl
        return False
    trim(0)
    return True
