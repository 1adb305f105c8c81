"""Batches that depend on the seed and the number of the step alone, so that a resumed run sees what it would have seen.

They are drawn and augmented in one worker process beside the training step.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sameface_train.augmentation import Augmentation, augment
from sameface_train.errors import UnusableData
from sameface_train.samples import Samples


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a batch is drawn: ``identities`` at random, ``each`` images of each (P × K of Hermans et al. 2017)."""

    identities: int
    each: int
    by_group: bool = False
    """Whether the identities of one group come together: a signer's genuine and forged signatures must meet."""

    @property
    def size(self) -> int:
        """Images of one batch."""
        return self.identities * self.each


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's images, those of an identity beside each other."""

    images: Tensor
    """Float [B, C, H, W], 0..255."""
    labels: Tensor
    """[B] indices of identities."""
    places: Tensor
    """[B] indices of samples."""


def members(samples: Samples, by_group: bool = False) -> list[list[NDArray[np.int64]]]:
    """Return what is drawn together: the samples of every identity with two images or more, in lists of one identity.

    With ``by_group`` a list holds all identities of a group; groups that hold fewer than the largest are left out.
    """
    order = np.argsort(samples.labels, kind="stable")
    counts = np.bincount(samples.labels, minlength=len(samples.identities))
    owned = np.split(order, np.cumsum(counts)[:-1])
    if not by_group:
        return [[group] for group in owned if len(group) > 1]
    groups: dict[str, list[NDArray[np.int64]]] = {}
    for name, group in zip(samples.groups, owned, strict=True):
        if len(group) > 1:
            groups.setdefault(name, []).append(group)
    largest = max(map(len, groups.values()), default=0)
    return [together for together in groups.values() if len(together) == largest]


def draw(units: list[list[NDArray[np.int64]]], sampling: Sampling, seed: int, step: int) -> NDArray[np.int64]:
    """Return the samples of one step [identities × each]; an identity with fewer images gives some twice."""
    rng = np.random.default_rng([seed, step])
    count = sampling.identities // len(units[0]) if units else sampling.identities
    if len(units) < count:
        raise UnusableData(
            f"a batch takes {sampling.identities} identities with two images or more, and there are {len(units)}; "
            "give more data, or a smaller batch",
            metadata={"field": "data", "identities": len(units)},
        )
    chosen = [group for number in rng.choice(len(units), count, replace=False) for group in units[number]]
    return np.concatenate([rng.choice(group, sampling.each, replace=len(group) < sampling.each) for group in chosen])


class _Steps(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Item n is the batch of step n."""

    def __init__(
        self, samples: Samples, sampling: Sampling, augmentation: Augmentation, seed: int, side: tuple[int, int]
    ) -> None:
        self._samples, self._sampling, self._seed = samples, sampling, seed
        self._units = members(samples, sampling.by_group)
        draw(self._units, sampling, seed, 0)  # what cannot be drawn is said here, not in the other process
        self._augmentation, self._side = augmentation, side

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        places = draw(self._units, self._sampling, self._seed, step)
        images = torch.from_numpy(np.ascontiguousarray(self._samples.images[places])).float()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.default_rng([self._seed, step, 1]).integers(2**62)))
            images = augment(images, self._augmentation, self._side)
        return images, torch.from_numpy(self._samples.labels[places]), torch.from_numpy(places)


def batches(
    samples: Samples,
    sampling: Sampling,
    augmentation: Augmentation,
    *,
    seed: int,
    side: tuple[int, int],
    first: int,
    last: int,
) -> Iterator[Batch]:
    """Yield the batches of steps ``first`` to ``last`` (exclusive), prepared by one process beside this one."""
    loader = DataLoader(
        _Steps(samples, sampling, augmentation, seed, side),
        batch_size=None,
        sampler=range(first, last),
        num_workers=1,
        prefetch_factor=4,
        worker_init_fn=_single_thread,
    )
    for images, labels, places in loader:
        yield Batch(images, labels, places)


def _single_thread(_: int) -> None:
    torch.set_num_threads(1)
