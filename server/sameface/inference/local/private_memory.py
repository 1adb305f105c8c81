"""Shared memory that no other user can read.

Triton's python backend passes every tensor, and so every face, through shared memory. It creates the memory readable by
all users (mode 0644), and sets the mode again with fchmod(2), so a umask alone does not help. We set a umask that
removes the rights of other users, and a seccomp filter that makes fchmod return success without any effect.
"""

import sys
from collections.abc import Sequence

# Sets umask and filter, then becomes the command; see prctl(2) and seccomp(2). Only for Linux on x86-64, like
# tritonserver.
_LAUNCHER = """
import ctypes, os, struct, sys
os.umask(0o077)
instructions = (
    (0x20, 0, 0, 4),           # load the architecture
    (0x15, 0, 3, 0xC000003E),  # another one than x86-64: allow
    (0x20, 0, 0, 0),           # load the number of the system call
    (0x15, 0, 1, 91),          # another one than fchmod: allow
    (0x06, 0, 0, 0x00050000),  # return error 0, which is success
    (0x06, 0, 0, 0x7FFF0000),  # allow
)
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in instructions))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(instructions), ctypes.addressof(code)))
prctl = ctypes.CDLL(None, use_errno=True).prctl
NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 22, 2
if prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) or prctl(SECCOMP, FILTER, ctypes.byref(program)):
    sys.exit("the kernel refuses a seccomp filter: " + os.strerror(ctypes.get_errno()))
os.execv(sys.argv[1], sys.argv[1:])
"""


def with_private_memory(command: Sequence[str]) -> list[str]:
    """Return a command line that runs ``command`` so that only its user can open the shared memory that it creates."""
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command]
