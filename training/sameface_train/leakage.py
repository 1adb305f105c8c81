"""Checks that training data and test data share nothing."""

from collections.abc import Callable
from pathlib import Path

from sameface.evaluation.leakage import Leakage, compare_digests, digest
from sameface_train.data_folder import check_folder
from sameface_train.errors import LeakedData
from sameface_train.prepare import read_sources
from sameface_train.samples import image_paths


def find_leakage(data: Path, judging: Path) -> Leakage:
    """Return what two folders of ``<identity>/…/<image>`` share: files, near-duplicates and names of identities.

    A prepared crop does not show which photo it is from, so the digests of the photos are kept beside the crops.

    Raises:
        UnusableData: a folder holds no images, so there is nothing to compare.
    """
    for root in (data, judging):
        check_folder(root, field="judged_on" if root == judging else "data")
    images = [image_paths(root) for root in (data, judging)]
    digests = [
        {path: digest(path) for path in paths} | read_sources(root)
        for root, paths in zip((data, judging), images, strict=True)
    ]
    names = [
        {path.relative_to(root).parts[0] for path in paths} for root, paths in zip((data, judging), images, strict=True)
    ]
    return compare_digests(digests[0], digests[1], names[0] & names[1])


def refuse_leakage(data: Path, judging: Path, *, allow: bool, note: Callable[[str], None]) -> None:
    """Raise if training data and test data share something; with ``allow`` only note it.

    Raises:
        LeakedData: they share files, near-duplicates or identities, and ``allow`` is not set.
        UnusableData: one of them holds no images.
    """
    leakage = find_leakage(data, judging)
    if leakage.is_clean:
        return
    counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in leakage.counts().items() if count)
    shared = [*leakage.identical_files, *leakage.near_duplicates]
    example = f"{shared[0][0]} and {shared[0][1]}" if shared else leakage.shared_identities[0]
    message = f"the training data {data} and the test data {judging} share {counts}, for instance {example}"
    if not allow:
        raise LeakedData(
            f"{message}; remove them from the training data, or give --allow-leakage", metadata=leakage.counts()
        )
    note(message)
