"""Puts a folder into the model repository: all its files, or nothing."""

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from sameface_qdrant.engines.edge.files import sync_folder


def put_folder(folder: Path, files: Mapping[str, bytes], *, replace: bool) -> None:
    """Write a folder of files, durably.

    It is written in a hidden folder beside its place, and renamed. So after a crash there is the new folder, the one
    before or none, and never a part of one. A crash may leave the hidden folder.

    Args:
        folder: its place; the folder above it exists.
        files: the content of each file, by name.
        replace: whether the folder may be there already.

    Raises:
        OSError: it cannot be written, or it is there already. What was there before still is.
    """
    with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as name:
        made, before = Path(name) / "made", Path(name) / "before"
        made.mkdir()
        for file, content in files.items():
            with (made / file).open("wb") as written:
                written.write(content)
                written.flush()
                os.fsync(written.fileno())
        sync_folder(made)
        try:
            if replace and os.path.lexists(folder):
                folder.rename(before)  # because a folder cannot be renamed over one that is not empty
            made.rename(folder)
        except BaseException:
            if os.path.lexists(before):
                before.rename(folder)
            raise
        sync_folder(folder.parent)
