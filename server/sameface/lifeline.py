"""Child processes that end together with their parent, also where that is killed."""

import os
import sys
from collections.abc import Sequence

# Becomes the command after asking the kernel for SIGTERM at the parent's end.
_LAUNCHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def ending_with_parent(command: Sequence[str]) -> list[str]:
    """Return the command line that runs ``command`` so that it is sent SIGTERM when this process ends (Linux).

    The kernel watches the thread that starts the child: start it from one that lives as long as the child may.
    """
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command]
