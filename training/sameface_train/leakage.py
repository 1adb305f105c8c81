"""Nothing may judge a network that it was trained on."""

from collections.abc import Callable
from pathlib import Path

from sameface.evaluation.leakage import Leakage, compare_digests, digest
from sameface_train.errors import LeakedData, UnusableData
from sameface_train.prepare import read_sources
from sameface_train.samples import image_paths


def find_leakage(data: Path, judging: Path) -> Leakage:
    """Return what two folders of ``<identity>/…/<image>`` share: files, near-duplicates and names of identities.

    Prepared crops do not show which photo they are from; what their photos were recognised by is kept beside them.

    Raises:
        UnusableData: one of them holds no images, so that nothing could be compared.
    """
    images = [image_paths(root) for root in (data, judging)]
    for root, paths in zip((data, judging), images, strict=True):
        if not paths:
            raise UnusableData(
                f"{root} holds no <identity>/<image> to look for leakage with; give the folder of images itself",
                metadata={"field": "judged_on"},
            )
    digests = [
        {path: digest(path) for path in paths} | read_sources(root)
        for root, paths in zip((data, judging), images, strict=True)
    ]
    names = [
        {path.relative_to(root).parts[0] for path in paths} for root, paths in zip((data, judging), images, strict=True)
    ]
    return compare_digests(digests[0], digests[1], names[0] & names[1])


def refuse_leakage(data: Path, judging: Path, *, allow: bool, note: Callable[[str], None]) -> None:
    """Raise, or with ``allow`` say, where the training data and what will judge the result share something.

    Raises:
        LeakedData: they share files, near-duplicates or identities, and that is not allowed.
        UnusableData: one of them holds no images.
    """
    leakage = find_leakage(data, judging)
    if leakage.is_clean:
        return
    counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in leakage.counts().items() if count)
    shared = [*leakage.identical_files, *leakage.near_duplicates]
    example = f"{shared[0][0]} and {shared[0][1]}" if shared else leakage.shared_identities[0]
    message = f"{data} and {judging}, which will judge the result, share {counts}, for instance {example}"
    if not allow:
        raise LeakedData(
            f"{message}; take them out of the training data, or say --allow-leakage", metadata=leakage.counts()
        )
    note(message)
