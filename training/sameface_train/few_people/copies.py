"""Changed copies of every photo after the frozen layers of the network, computed once and kept in a file.

A copy is a photo and its mirror image, both changed alike, because the served embedding averages the two.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sameface.models.face_changes import Changes, changed
from sameface_train.few_people.mixtures import Mixtures, draw_mixtures
from sameface_train.samples import Images, Samples

BATCH = 32
Half = NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class Amounts:
    """How many copies there are."""

    copies: int = 8
    """Changed copies of each photo."""
    mixtures: int = 600
    """Mixtures of two people; each has one changed copy."""


@dataclass(frozen=True, slots=True)
class Copies:
    """Outputs of the frozen layers, float16 [.., 2, C, H, W]: 2 is a copy and its mirror image."""

    plain: Half
    """[N, 2, …]: the photos as they are."""
    changed: Half
    """[N, copies, 2, …]."""
    mixed: Half
    """[M, 2, …]: a changed copy of each mixture."""
    mixed_plain: NDArray[np.float32]
    """[M, 2, D]: the pretrained network's output for each mixture as it is."""
    mixtures: Mixtures


def split(network: nn.Sequential, frozen: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Return the layers before convolution ``frozen`` (counted from 0), and the others."""
    convolutions = [place for place, layer in enumerate(network) if isinstance(layer, nn.Conv2d)]
    return network[: convolutions[frozen]], network[convolutions[frozen] :]


@torch.no_grad()
def through(layers: nn.Sequential, images: Images | Tensor) -> Tensor:
    """Return the output for images [N, C, H, W] and their mirror images, [N, 2, …]."""
    given = torch.from_numpy(images) if isinstance(images, np.ndarray) else images
    both = torch.cat([given, given.flip(3)]).float().contiguous(memory_format=torch.channels_last)
    found: Tensor = layers(both)
    return found.reshape(2, len(given), *found.shape[1:]).transpose(0, 1)


def make_copies(
    samples: Samples,
    network: nn.Sequential,
    frozen: int,
    side: int,
    changes: Changes,
    amounts: Amounts,
    seed: int,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Copies:
    """Return the copies of ``samples``; they are kept in ``folder`` and read from there by a later call.

    What is kept is of one data set, seed and set of changes. A file of others is computed again.
    """
    lower, upper = split(network.eval(), frozen)
    mixtures = draw_mixtures(samples, amounts.mixtures, seed)
    shape = through(lower, samples.images[:1, :, :side, :side]).shape[2:]
    photos, mixed = len(samples), len(mixtures)
    total = photos * (1 + amounts.copies) + mixed
    described = {
        "data": samples.digest,
        "pixels": hashlib.sha256(samples.images.tobytes()).hexdigest(),
        "changes": asdict(changes),
        "amounts": asdict(amounts),
        "seed": seed,
        "frozen": frozen,
        "shape": list(shape),
    }
    about, path, plain_path = (folder / name for name in ("copies.json", "copies.f16", "mixtures.npy"))
    folder.mkdir(parents=True, exist_ok=True)
    is_kept = about.is_file() and json.loads(about.read_text()) == described
    rows = np.memmap(path, np.float16, "r" if is_kept else "w+", shape=(total, 2, *shape))
    if not is_kept:
        about.unlink(missing_ok=True)

        def all_images() -> Iterable[Images]:
            for image in samples.images:
                yield middle(image, side)
            for place, image in enumerate(samples.images):
                for number in range(amounts.copies):
                    yield changed(image, changes, np.random.default_rng([seed, place, number]), side)
            for number, image in enumerate(mixtures.images(samples)):
                yield changed(image, changes, np.random.default_rng([seed, photos + number, 0]), side)

        done = 0
        for batch in _batches(all_images()):
            rows[done : done + len(batch)] = through(lower, batch).half().numpy()
            done += len(batch)
            if progress is not None:
                progress(done, total)
        as_they_are = [
            through(nn.Sequential(*lower, *upper), batch).numpy()
            for batch in _batches(middle(image, side) for image in mixtures.images(samples))
        ]
        np.save(plain_path, np.concatenate(as_they_are) if as_they_are else np.zeros((0, 2, 1), np.float32))
        rows.flush()
        about.write_text(json.dumps(described))
    return Copies(
        plain=rows[:photos],
        changed=rows[photos : total - mixed].reshape(photos, amounts.copies, 2, *shape),
        mixed=rows[total - mixed :],
        mixed_plain=np.load(plain_path),
        mixtures=mixtures,
    )


def middle(image: Images, side: int) -> Images:
    """Return the middle of an image [C, H, W]."""
    top, left = (image.shape[1] - side) // 2, (image.shape[2] - side) // 2
    return image[:, top : top + side, left : left + side]


def _batches(images: Iterable[Images]) -> Iterable[Images]:
    batch: list[Images] = []
    for image in images:
        batch.append(image)
        if len(batch) == BATCH:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)
