"""Child processes that end when their parent ends, even if the parent is killed."""

import os
import sys
from collections.abc import Sequence

# Asks the kernel for SIGTERM when the parent ends, then becomes the command.
_LAUNCHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def ending_with_parent(command: Sequence[str]) -> list[str]:
    """Return a command line that runs ``command`` and gets SIGTERM when this process ends (Linux).

    The kernel watches the thread that starts the child. Start it from a thread that lives longer than the child.
    """
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command]
