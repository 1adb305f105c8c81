"""A process that writes a folder, and ends itself by SIGKILL before one of its changes of the disk."""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from sameface.models.whole_folder import put_folder

CHANGES = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"}


def write(folder: Path, files: Mapping[str, bytes], changes: int) -> None:
    """Put the folder there. With fewer than ``changes`` changes it ends by itself, with exit code 0."""
    left = changes

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in CHANGES and str(arguments[0]).startswith(str(folder.parent)):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    put_folder(folder, files, replace=True)
