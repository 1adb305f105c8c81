"""Child processes that end when their parent ends, even if the parent is killed."""

import os
import signal
import sys
from collections.abc import Sequence

# Asks the kernel for a signal when the parent ends, then becomes the command.
_LAUNCHER = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, int(sys.argv[1]))
if os.getppid() != int(sys.argv[2]):
    sys.exit(1)
os.execv(sys.argv[3], sys.argv[3:])
"""


def ending_with_parent(command: Sequence[str], end: signal.Signals = signal.SIGTERM) -> list[str]:
    """Return a command line that runs ``command`` and gets the signal ``end`` when this process ends (Linux).

    The kernel watches the thread that starts the child. Start it from a thread that lives longer than the child.
    """
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(int(end)), str(os.getpid()), *command]
