"""Keeps photos, embeddings and names out of core dumps: what the memory of a process holds when it crashes."""

from contextlib import suppress
from pathlib import Path


def forbid_core_dumps() -> None:
    """Let this process, and every process that it starts, write no core dump (Linux; elsewhere only the limit).

    The limit alone is not enough: a program that the kernel gives the dump to, such as systemd-coredump, gets it all
    the same. So nothing of the memory belongs to a dump either; see core(5).
    """
    with suppress(ImportError, ValueError, OSError):  # Windows; or somebody else has set a limit
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):
        Path("/proc/self/coredump_filter").write_text("0")
