"""Folds over people: in each, means and weights are fitted without the people who are judged."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor, nn

from sameface.evaluation.samples import Samples, write_embeddings
from sameface_qdrant.metrics.error_rates import fnmr, threshold_at_fmr
from sameface_train.errors import UnusableData
from sameface_train.few_people.copies import Copies
from sameface_train.few_people.learning import between, outputs
from sameface_train.few_people.objective import centres_of

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""How far the weights are taken from the pretrained ones to the trained ones; 0 is the pretrained network."""
FMRS = (1e-2, 1e-3)
Vectors = NDArray[np.float32]
Labels = NDArray[np.int64]


def fold_of_people(count: int, folds: int) -> Labels:
    """Return the fold of each of ``count`` people in sorted order, 0 to ``folds`` − 1, as `benchmarks pose` has it.

    >>> fold_of_people(7, 3)
    array([0, 1, 2, 0, 1, 2, 0])
    """
    return np.arange(count) % folds


def check_folds(labels: Labels, people: int, folds: int) -> None:
    """Check that every fold can be judged: it has two people, and one of them has two photos.

    ``labels`` [N] are the people of the photos, 0 to ``people`` − 1.

    Raises:
        UnusableData: a fold has not.
    """
    if folds > people // 2:
        raise UnusableData(
            f"there are {people} people for {folds} folds; expected two people or more in each fold, because a fold "
            f"compares the people in it: give {2 * folds} people or more, or fewer folds with --folds, or --folds 0 "
            "--share 1, which measures nothing",
            metadata={"field": "folds", "identities": people},
        )
    photos = np.bincount(labels, minlength=people)
    most = [int(photos[fold_of_people(people, folds) == fold].max()) for fold in range(folds)]
    if min(most) < 2:
        raise UnusableData(
            f"nobody in fold {most.index(min(most))} of {folds} has two photos; expected a person with two photos in "
            "each fold, because a fold compares two photos of a person: give more photos, fewer folds with --folds, or "
            "--folds 0 --share 1, which measures nothing",
            metadata={"field": "data", "identities": people},
        )


def judged(
    upper: nn.Sequential, trained: nn.Sequential, copies: Copies, is_held_out: NDArray[np.bool_], output: Tensor
) -> dict[str, Vectors]:
    """Return embeddings [N, D] of the held-out photos, by name.

    ``base`` is the pretrained network. ``averaged 0.5`` is an image and its mirror averaged, and ``single 0.5`` an
    image alone, by weights halfway to the trained ones; both minus the means of the photos that are not held out.
    ``… changed`` is of one changed copy of each photo, with the same means. ``output`` [N, 2, D] is what the pretrained
    network gives for every photo.
    """
    held_out, fitted = np.flatnonzero(is_held_out), np.flatnonzero(~is_held_out)
    found: dict[str, Vectors] = {}
    for share in SHARES:
        network = between(upper, trained, share)
        every = outputs(network, copies.plain, np.arange(len(is_held_out))) if share else output
        centres, plain = centres_of(every[fitted]), every[held_out]
        changed = outputs(network, copies.changed[:, 0], held_out)
        found[f"averaged {share:g}"] = centres.together(plain).numpy()
        found[f"averaged {share:g} changed"] = centres.together(changed).numpy()
        found[f"single {share:g}"] = centres.alone(plain[:, 0]).numpy()
        found[f"single {share:g} changed"] = centres.alone(changed[:, 0]).numpy()
        if share == 0.0:
            found["base"] = functional.normalize(plain[:, 0]).numpy()
            found["base changed"] = functional.normalize(changed[:, 0]).numpy()
    return found


@dataclass(frozen=True, slots=True)
class Figures:
    """How well people are told apart that were not trained on."""

    fnmr: tuple[float, ...]
    """FNMR at each of `FMRS`, 0..1; every mated comparison counts the same."""
    separation: float
    """d′: the distance between the means of mated and non-mated scores, over the root of their mean variance."""


def figures(references: Vectors, probes: Vectors, labels: Labels, folds: Labels) -> Figures:
    """Return the figures over all pairs of a reference [N, D] and a probe [N, D] of two photos within a fold.

    The threshold is one for all folds: their networks differ little, and a served version has one threshold.
    """
    first, second = np.nonzero((folds[:, np.newaxis] == folds) & ~np.eye(len(labels), dtype=bool))
    scores = (references @ probes.T)[first, second]
    is_mated = labels[first] == labels[second]
    mated, others = scores[is_mated], scores[~is_mated]
    spread = float(np.sqrt((mated.var() + others.var()) / 2))
    rates = tuple(float(fnmr(mated, threshold_at_fmr(others, rate))) for rate in FMRS)
    return Figures(rates, float(mated.mean() - others.mean()) / spread)


def choose_share(vectors: Mapping[str, Vectors], labels: Labels, folds: Labels) -> tuple[float, dict[str, Figures]]:
    """Return the share of `SHARES` with the lowest error on held-out people, and the figures of every share.

    The error is the mean of the FNMRs at `FMRS`, of photos as they are and of changed copies against them. Of equal
    shares it is the smallest: what has not been shown to help is not done.
    """
    found: dict[str, Figures] = {}
    errors = []
    for share in SHARES:
        name = f"averaged {share:g}"
        plain, changed = vectors[name], vectors[f"{name} changed"]
        found[name] = figures(plain, plain, labels, folds)
        found[f"{name} changed"] = figures(plain, changed, labels, folds)
        errors.append(sum(found[name].fnmr) + sum(found[f"{name} changed"].fnmr))
    return SHARES[int(np.argmin(errors))], found


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Embeddings of photos, each by a network that was trained without this person."""

    vectors: dict[str, Vectors]
    """By name, see `judged`."""
    identity: tuple[str, ...]
    sample: tuple[str, ...]
    folds: Labels

    @property
    def labels(self) -> Labels:
        """The number of each photo's identity."""
        return np.asarray(np.unique(self.identity, return_inverse=True)[1], np.int64)

    def write(self, path: Path, described: Mapping[str, object]) -> None:
        """Write an npz file; after a kill either the old or the new one is there."""
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            content: dict[str, Any] = {f"vectors {name}": vectors for name, vectors in self.vectors.items()}
            content |= {"described": np.array(json.dumps(described)), "folds": self.folds}
            np.savez(file, identity=np.array(self.identity), sample=np.array(self.sample), **content)
        partial.replace(path)

    @staticmethod
    def read(path: Path, described: Mapping[str, object] | None = None) -> "HeldOut | None":
        """Return what `write` wrote; None if there is no file, or one of a training that ``described`` does not fit."""
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as content:
            if described is not None and json.loads(str(content["described"])) != json.loads(json.dumps(described)):
                return None
            prefix = "vectors "
            vectors = {
                name.removeprefix(prefix): np.asarray(content[name], np.float32)
                for name in content.files
                if name.startswith(prefix)
            }
            identity, sample = (tuple(map(str, content[name])) for name in ("identity", "sample"))
            return HeldOut(vectors, identity, sample, np.asarray(content["folds"], np.int64))

    def write_each(self, folder: Path) -> None:
        """Write a file for each network, ``folder/<name>.npz``, for `sameface evaluate` and `benchmarks pose`.

        Photos have the names that they had before `sameface-train prepare`. Each network centres its embeddings by
        the means of its fold.
        """
        folder.mkdir(parents=True, exist_ok=True)
        order = np.argsort(self.sample)
        for name, vectors in self.vectors.items():
            samples = Samples(
                vectors[order],
                tuple(self.identity[place] for place in order),
                tuple(self.sample[place].removesuffix(".png") for place in order),
                model=f"{name}, by networks of folds",
            )
            write_embeddings(folder / f"{name.replace(' ', '-')}.npz", samples)


def together(parts: Sequence[HeldOut]) -> HeldOut:
    """Return the held-out photos of all folds as one."""
    return HeldOut(
        {name: np.concatenate([part.vectors[name] for part in parts]) for name in parts[0].vectors},
        tuple(name for part in parts for name in part.identity),
        tuple(name for part in parts for name in part.sample),
        np.concatenate([part.folds for part in parts]),
    )
