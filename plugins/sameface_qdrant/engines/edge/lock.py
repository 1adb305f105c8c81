"""Allows one process per data folder. Edge without its log has no lock: a second process would lose points silently.

flock(2) is one call, and the lock file names the holder. filelock and portalocker do not name it.
"""

import contextlib
import fcntl
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from sameface_qdrant.errors import StoreLocked


def lock_folder(folder: Path) -> IO[str]:
    """Lock the folder and return the lock's file. Closing it, or the end of the process, releases the lock.

    Raises:
        StoreLocked: another process has the lock; the message says which.
    """
    file = (folder / "LOCK").open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        holder = file.read().strip() or "an unknown process"
        file.close()
        raise StoreLocked(
            f"{folder} is in use by {holder}; stop that process or choose another data folder",
            metadata={"path": folder, "holder": holder},
        ) from None
    file.seek(0)
    file.truncate()
    who = {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
    # On a full disk the lock still works, but the error of a second process cannot name this one.
    with contextlib.suppress(OSError):
        file.write(json.dumps(who))
        file.flush()
    return file
