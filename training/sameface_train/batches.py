"""Batches that depend on the seed and the step number alone, so that a continued run sees the same batches.

A worker process draws and augments them beside the training step.
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
    groups: int = 0
    """How many groups the identities of a batch come from, in equal shares if they are large enough; 0 ignores groups.

    Groups bring hard cases together: characters of one alphabet, a signer's genuine and forged signatures.
    """


@dataclass(frozen=True, slots=True)
class Batch:
    """The images of one step; those of an identity are next to each other."""

    images: Tensor
    """Float [B, C, H, W], 0..255."""
    labels: Tensor
    """[B] indices of identities."""
    places: Tensor
    """[B] indices of samples."""


def members(samples: Samples, by_group: bool = False) -> list[list[NDArray[np.int64]]]:
    """Return the samples of every identity with two images or more, in one list or a list for each group.

    Raises:
        UnusableData: groups are asked for, and the samples have none.
    """
    order = np.argsort(samples.labels, kind="stable")
    counts = np.bincount(samples.labels, minlength=len(samples.identities))
    owned = np.split(order, np.cumsum(counts)[:-1])
    if by_group and not samples.groups:
        raise UnusableData("a batch is drawn by groups, and the data has none; give --change groups=0")
    groups: dict[str, list[NDArray[np.int64]]] = {}
    for name, own in zip(samples.groups if by_group else [""] * len(owned), owned, strict=True):
        if len(own) > 1:
            groups.setdefault(name, []).append(own)
    return list(groups.values())


def draw(members: list[list[NDArray[np.int64]]], sampling: Sampling, seed: int, step: int) -> NDArray[np.int64]:
    """Return the samples of one step [identities × each]; an identity with fewer images gives some twice.

    A group with fewer identities than its share gives all of them, and a further group is used.

    Raises:
        UnusableData: there are fewer identities than a batch takes.
    """
    rng = np.random.default_rng([seed, step])
    share = -(-sampling.identities // max(1, sampling.groups))
    chosen = [
        members[group][identity]
        for group in rng.permutation(len(members))
        for identity in rng.permutation(len(members[group]))[:share]
    ][: sampling.identities]
    if len(chosen) < sampling.identities:
        limit = f", at most {share} of each group" if sampling.groups else ""
        most = largest_batch([len(group) for group in members], sampling)
        smaller = f", or a smaller batch with --change identities={most}" if most >= 2 else ""
        raise UnusableData(
            f"a batch takes {sampling.identities} identities with two images or more{limit}, and there are "
            f"{len(chosen)}; give more data{smaller}",
            metadata={"field": "data", "identities": len(chosen)},
        )
    return np.concatenate([rng.choice(group, sampling.each, replace=len(group) < sampling.each) for group in chosen])


def largest_batch(groups: list[int], sampling: Sampling) -> int:
    """Return the most identities, up to those of ``sampling``, that a batch can take from groups of these sizes.

    >>> largest_batch([12], Sampling(64, 2)), largest_batch([10, 1], Sampling(16, 2, groups=2))
    (12, 3)
    """
    return max(
        count
        for count in range(sampling.identities + 1)
        if sum(min(size, -(-count // max(1, sampling.groups))) for size in groups) >= count
    )


class _Steps(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Item n is the batch of step n."""

    def __init__(
        self, samples: Samples, sampling: Sampling, augmentation: Augmentation, seed: int, side: tuple[int, int]
    ) -> None:
        self._samples, self._sampling, self._seed = samples, sampling, seed
        self._members = members(samples, sampling.groups > 0)
        draw(self._members, sampling, seed, 0)  # an error is raised here, not in the worker
        self._augmentation, self._side = augmentation, side

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        places = draw(self._members, self._sampling, self._seed, step)
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
