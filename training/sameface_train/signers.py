"""Genuine signatures and skilled forgeries of a signer, told by their folders. They are two identities. Pure."""

from collections.abc import Sequence
from pathlib import Path

from sameface.evaluation.forgery_names import FORGERY_FOLDERS, KINDS, is_forgery
from sameface_train.data_folder import SIGNERS
from sameface_train.errors import UnusableData

GENUINE, FORGED = "/genuine", "/forgery"
"""How the identities of a signer end."""


def is_forged(identity: str) -> bool:
    """Return whether an identity is the forgeries of a signer.

    >>> is_forged("ada/forgery"), is_forged("ada/genuine"), is_forged("ada")
    (True, False, False)
    """
    return identity.endswith(FORGED)


def have_kinds(names: Sequence[str]) -> bool:
    """Return whether a folder of any name says which kind its images are; upper and lower case are the same.

    >>> have_kinds(["ada/Genuine/1.png"]), have_kinds(["ada/1.png"])
    (True, False)
    """
    return any(folder.lower() in KINDS for name in names for folder in name.split("/")[:-1])


def have_forgeries(names: Sequence[str]) -> bool:
    """Return whether a folder of any name says that its images are forgeries."""
    return any(folder.lower() in FORGERY_FOLDERS for name in names for folder in name.split("/")[:-1])


def identity_of(name: str) -> str:
    """Return the identity of an image of a signer: of the genuine ones, or of the forgeries.

    >>> identity_of("ada/Forged/1.png"), identity_of("ada/original/1.png"), identity_of("ada/1.png")
    ('ada/forgery', 'ada/genuine', 'ada/genuine')
    """
    return name.split("/")[0] + (FORGED if is_forgery(name) else GENUINE)


def check_signers(root: Path, names: Sequence[str]) -> None:
    """Check that each image lies in its signer's folder, and its kind is the next folder.

    Args:
        root: where the images are.
        names: their paths below ``root``, ``/`` between the parts.

    Raises:
        UnusableData: the kinds come before the signers, or lie deeper; mated pairs would be of several signers.
    """
    owners = {name.split("/")[0] for name in names}
    if {owner.lower() for owner in owners} <= KINDS:
        found = f"the folders {', '.join(sorted(owners))} and none of signers"
        if any(name.count("/") > 1 for name in names):
            raise _unusable(root, found, "put the two folders of each signer into one folder")
        raise _unusable(root, found, f"give the folder of all signers, {root.parent}")
    for name in names:
        folders = name.split("/")[:-1]
        depth = next((place for place, folder in enumerate(folders) if place and folder.lower() in KINDS), 1)
        if depth > 1:
            above = "/".join(folders[: depth - 1])
            raise _unusable(root, f"{name}, where the kind lies too deep", f"give {root / above}")


def _unusable(root: Path, found: str, advice: str) -> UnusableData:
    return UnusableData(f"{root} has {found}; expected {SIGNERS}: {advice}", metadata={"field": "data"})
