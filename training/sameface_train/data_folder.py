"""Says what is wrong with a folder of images: what was given, what is expected, and what to do."""

import difflib
import os
from pathlib import Path

from sameface.evaluation.dataset import entries
from sameface.evaluation.forgery_names import KINDS
from sameface.photo_folders import is_folder, photos_below, why_skipped
from sameface_train.errors import UnusableData

IDENTITIES = "one sub-folder of images for each identity, <identity>/<image>"
SIGNERS = "<signer>/genuine/<image> and <signer>/forgery/<image>"
OMNIGLOT = "Omniglot's packed file, omniglot28.npz"
OFFICIAL_RUNS = "the 20 official runs as published, run01/class_labels.txt and so on"


def check_exists(path: Path, expected: str, *, field: str, folder: bool = True) -> None:
    """Check that a folder (or with ``folder=False`` a file) is there.

    Raises:
        UnusableData: nothing is there, or a file in place of a folder, or the other way round.
    """
    if (folder and path.is_dir()) or (not folder and path.is_file()):
        return
    if not path.exists():
        names = [entry.name for entry in entries(path.parent)]
        close = difflib.get_close_matches(path.name, names, n=1)
        advice = f"did you mean {path.parent / close[0]}?" if close else "check the path"
        raise _unusable(f"{path} does not exist; expected {expected}: {advice}", field)
    if folder:
        raise _unusable(
            f"{path} is a file; expected a folder with {expected}: unpack it if it is an archive, or give the folder",
            field,
        )
    raise _unusable(f"{path} is a folder; expected {expected}: give the file itself", field)


def check_folder(root: Path, expected: str = IDENTITIES, *, field: str = "data", deeper: bool = True) -> None:
    """Check that ``root`` holds ``<identity>/<image>``, before any image is read.

    ``deeper`` says that images may also lie in sub-folders of an identity's folder.

    Raises:
        UnusableData: it is missing, a file, empty or without images, or its images lie at another level.
    """
    check_exists(root, expected, field=field)
    try:
        with os.scandir(root) as scanned:
            here = sorted((one for one in scanned if not one.name.startswith(".")), key=lambda one: one.name)
    except OSError as error:
        raise _unusable(f"{root} cannot be read: {error.strerror}; expected {expected}", field) from None
    if not here:
        raise _unusable(f"{root} is empty; expected {expected}: put images there, or give another folder", field)
    folders = [root / one.name for one in here if is_folder(one) and not one.is_symlink()] or [
        root / one.name for one in here if is_folder(one)
    ]
    loose = [one.name for one in here if not is_folder(one) and not why_skipped(one)]
    if not folders and loose:
        raise _unusable(
            f"{root} holds {_counted(len(loose), 'image')} itself, for instance {loose[0]}, and no sub-folder; "
            f"expected {expected}: make a sub-folder for each identity, or give {root.parent} if {root.name} is one "
            "identity",
            field,
        )
    if not folders:
        raise _unusable(
            f"{root} holds no sub-folder and no image, but {_counted(len(here), 'other file')}, for instance "
            f"{here[0].name}; expected {expected}: give the folder of the images",
            field,
        )
    _check_levels(root, folders, expected, field, deeper)


def _check_levels(root: Path, folders: list[Path], expected: str, field: str, deeper: bool) -> None:
    nested: set[Path] = set()
    for folder in folders:
        for image in photos_below(folder, []):
            if image.parent == folder:
                return
            nested.add(image.parent)
    if not nested:
        raise _unusable(
            f"{root} holds {_counted(len(folders), 'sub-folder')} without an image; expected {expected}: give the "
            "folder of the images",
            field,
        )
    if deeper and len(folders) > 1:
        return
    first = min(nested)
    if first.name.lower() in KINDS:
        first = first.parent
    raise _unusable(
        f"the images of {root} lie too deep, for instance in {first.relative_to(root)}, and not directly in "
        f"{_counted(len(folders), 'sub-folder')} of it; expected {expected}: give {first.parent} if {first.name} is an "
        "identity",
        field,
    )


def _counted(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count:,} {name}s"


def _unusable(message: str, field: str) -> UnusableData:
    return UnusableData(message, metadata={"field": field})
