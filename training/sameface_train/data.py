"""Reads what can be trained on: a folder of images, signatures, or Omniglot's packed file."""

from collections.abc import Callable
from pathlib import Path

from sameface.evaluation.forgery_names import KINDS
from sameface_qdrant.errors import InvalidArgument
from sameface_train.backbones import BACKBONES
from sameface_train.comparison.signatures import read_signatures
from sameface_train.errors import UnusableData
from sameface_train.prepare import SLACK
from sameface_train.samples import Samples, image_paths, mirrored, read_folder, read_omniglot, rotated
from sameface_train.signers import have_kinds


def read_data(
    data: Path | str,
    backbone: str,
    split: str = "background",
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Samples:
    """Return the samples of a folder, of ``omniglot28.npz`` (its ``split``) or of signatures, as a backbone takes them.

    ``progress`` is called with the number of images read and their total.

    Raises:
        InvalidArgument: there is no such backbone.
        UnusableData: nothing in it can be used; the message says why and what to do.
    """
    data = Path(data)
    if backbone not in BACKBONES:
        raise InvalidArgument(
            f"there is no backbone {backbone!r}; choose one of {', '.join(BACKBONES)}", metadata={"field": "backbone"}
        )
    taken = BACKBONES[backbone]
    if data.suffix == ".npz" and not data.is_dir():
        samples = read_omniglot(data, split)
        if taken.channels != 1:
            raise UnusableData(
                f"{data} holds grey drawings, and {backbone} takes {taken.channels} channels; choose a backbone for "
                "one channel, for instance conv5",
                metadata={"field": "data"},
            )
        return samples
    if backbone == "signature" and _has_kinds(data):
        return read_signatures(data)
    slack = 2 * SLACK if taken.channels == 3 else 0
    side = taken.side[0] + slack, taken.side[1] + slack
    return read_folder(data, side=side, grey=taken.channels == 1, progress=progress)


def training_samples(
    data: Path | str,
    backbone: str,
    *,
    mirror: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Samples:
    """Return what is trained on: `read_data`, each quarter turn of Omniglot, and with ``mirror`` the mirror images.

    Raises:
        UnusableData: nothing in it can be used.
    """
    samples = read_data(data, backbone, progress=progress)
    if Path(data).suffix == ".npz":
        samples = rotated(samples)
    return mirrored(samples) if mirror else samples


def _has_kinds(data: Path) -> bool:
    """Return whether signatures are sorted into genuine ones and forgeries, at the right level or at another one."""
    names = [path.relative_to(data).as_posix() for path in image_paths(data)]
    return have_kinds(names) or (data.name.lower() in KINDS and not names)
