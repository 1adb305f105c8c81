"""Files that hold secrets: written whole, and refused if others may read them."""

import os
import stat
from pathlib import Path

from sameface_qdrant.errors import InvalidArgument


def check_private(path: Path, status: os.stat_result) -> None:
    """Raise InvalidArgument if the file's mode lets others in.

    A secret that Kubernetes mounts belongs to another user and is readable for the group of this one.
    """
    refused = 0o077 if status.st_uid == os.geteuid() else 0o027
    if status.st_mode & refused:
        raise InvalidArgument(
            f"{path} has the mode {stat.S_IMODE(status.st_mode):04o}, so others may read or change the "
            "protection keys; expected 0600: chmod 600, and rotate the keys if others had access",
            metadata={"field": "protection.keys_file"},
        )


def write_new(path: Path, content: str, owner: os.stat_result | None = None) -> None:
    """Make a file that its owner alone may read, durably; as root with the owner of another file.

    Raises:
        FileExistsError: there is such a file.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        if owner is not None and os.geteuid() == 0:
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make changes of names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
