"""One process per data folder. Qdrant Edge without its log has no lock: a second opener's points silently vanish.

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
    """Take the folder's lock and return its file; closing it, or the end of the process, gives the lock back.

    Raises:
        StoreLocked: another process holds it; the message says which.
    """
    file = (folder / "LOCK").open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        holder = file.read().strip() or "a process that did not say who it is"
        file.close()
        raise StoreLocked(
            f"{folder} is in use by {holder}; stop that process or choose another data folder",
            metadata={"path": folder, "holder": holder},
        ) from None
    file.seek(0)
    file.truncate()
    who = {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
    # On a full disk the lock holds all the same; a second opener only is not told who has it.
    with contextlib.suppress(OSError):
        file.write(json.dumps(who))
        file.flush()
    return file
