"""Fits a map between two embedding spaces to photos embedded by both, and chooses its form. Pure numpy.

The target of a photo is a direction, not a point: embeddings are compared by their angle. So each target may have any
length, and the lengths are found together with the map (alternating least squares). A difference by a mean that is
subtracted before the norm is found exactly by that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

import numpy as np
from numpy.typing import NDArray

from sameface_qdrant.errors import NotEnoughData

Rows = NDArray[np.float64]
STRENGTHS = (1e-2, 1e-1, 1.0, 10.0)
"""Of the ridge, as shares of the mean variance of a direction of the old space."""
FOLDS = 5
SAME_SPACE = 0.5
"""Mean cosine of a photo's embeddings by both versions, from which on they are of one family."""
DIGITS = 4
"""Candidates whose cosines are equal to so many digits are equally good; the simpler one is taken."""
HIDDEN = 128
"""Units of the network."""
_ROUNDS = 10
"""Of the alternation. The mean cosine no longer changes after some six."""


class Form(StrEnum):
    """A kind of map."""

    RIDGE = "ridge"
    """Affine, fitted by least squares, with a pull towards what `_pull` returns."""
    ORTHOGONAL = "orthogonal"
    """The closest rotation of the centred spaces (Schönemann 1966, Psychometrika 31, p. 1)."""
    NETWORK = "network"
    """The ridge, and a hidden layer of random directions whose output is fitted with it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A form with its strength, and how near it comes to people that it was not fitted to."""

    form: Form
    strength: float
    """0 for the orthogonal form."""
    cosine: float = 0.0
    """Mean cosine of mapped and native embeddings over held-out people, −1..1."""


@dataclass(frozen=True, slots=True)
class PhotoEmbeddings:
    """The same photos embedded by both versions."""

    old: Rows
    """[N, old dimension], unit norm."""
    new: Rows
    """[N, new dimension], unit norm."""
    people: NDArray[np.int64]
    """[N, 2] Who is in each photo, as numbers from 0 on. The two are equal but for mixtures of two people."""

    def rows(self, chosen: NDArray[np.bool_]) -> "PhotoEmbeddings":
        """Return some of the photos; ``chosen`` is [N]."""
        return PhotoEmbeddings(self.old[chosen], self.new[chosen], self.people[chosen])


@dataclass(frozen=True, slots=True)
class Fitted:
    """The numbers of a map: y = weight · x + bias, and with a network + out · max(0, inner · x + inner_bias)."""

    weight: Rows
    bias: Rows
    inner: Rows | None = None
    inner_bias: Rows | None = None
    out: Rows | None = None

    def applied(self, old: Rows) -> Rows:
        """Return mapped embeddings [N, new dimension], of unit norm."""
        mapped = old @ self.weight.T + self.bias
        if self.inner is not None and self.inner_bias is not None and self.out is not None:
            mapped = mapped + np.maximum(old @ self.inner.T + self.inner_bias, 0.0) @ self.out.T
        found: Rows = mapped / np.linalg.norm(mapped, axis=1, keepdims=True)
        return found


def fit(given: PhotoEmbeddings, candidate: Candidate, seed: int = 0) -> Fitted:
    """Fit one form to photos. ``seed`` draws the directions of a network."""
    if candidate.form is Form.ORTHOGONAL:
        return Fitted(*_rotation(given))
    pull = _pull(given)
    if candidate.form is Form.RIDGE:
        return Fitted(*_ridge(given.old, given.new, pull, candidate.strength))
    inner, inner_bias = _directions(given.old, seed)
    hidden = np.maximum(given.old @ inner.T + inner_bias, 0.0)
    toward = np.concatenate([pull, np.zeros((len(pull), len(inner)))], axis=1)
    weight, bias = _ridge(np.concatenate([given.old, hidden], axis=1), given.new, toward, candidate.strength)
    size = given.old.shape[1]
    return Fitted(weight[:, :size], bias, inner, inner_bias, weight[:, size:])


def choose(
    given: PhotoEmbeddings,
    forms: Sequence[Form] = tuple(Form),
    strengths: Sequence[float] = STRENGTHS,
    *,
    folds: int = FOLDS,
    seed: int = 0,
) -> tuple[Candidate, ...]:
    """Return every candidate with its cosine over held-out people, best first.

    The people are in ``folds`` parts. Each part is judged by a fit to the other ones, on its photos without mixtures.

    Raises:
        NotEnoughData: there are fewer people than folds.
    """
    part = _parts(given.people, folds, seed)
    tried = [Candidate(one, strength) for one, strength in product(forms, strengths) if one is not Form.ORTHOGONAL]
    if Form.ORTHOGONAL in forms:
        tried.append(Candidate(Form.ORTHOGONAL, 0.0))
    found = [
        Candidate(one.form, one.strength, float(np.mean(cosines(held_out(given, one, part, seed), given, part))))
        for one in tried
    ]
    return tuple(sorted(found, key=lambda one: (-round(one.cosine, DIGITS), one.form is Form.NETWORK, -one.strength)))


def held_out(given: PhotoEmbeddings, candidate: Candidate, part: NDArray[np.int64], seed: int = 0) -> Rows:
    """Return every photo mapped by a fit to other people, [N, new dimension]; zeros for mixtures.

    ``part`` [N, 2] is the part of the people of each photo.
    """
    mapped = np.zeros_like(given.new)
    for one in np.unique(part):
        within = (part == one).all(axis=1) & _is_alone(given)
        fitted = fit(given.rows((part != one).all(axis=1)), candidate, seed)
        mapped[within] = fitted.applied(given.old[within])
    return mapped


def cosines(mapped: Rows, given: PhotoEmbeddings, part: NDArray[np.int64] | None = None) -> Rows:
    """Return the cosine of mapped and native embeddings of every photo that is no mixture."""
    alone = _is_alone(given)
    found: Rows = np.einsum("ij,ij->i", mapped[alone], given.new[alone])
    return found


def parts_of(given: PhotoEmbeddings, folds: int = FOLDS, seed: int = 0) -> NDArray[np.int64]:
    """Return the part of the people of each photo, [N, 2], as `choose` takes it."""
    return _parts(given.people, folds, seed)


def _parts(people: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    count = int(people.max()) + 1 if people.size else 0
    if count < folds:
        raise NotEnoughData(
            f"there are {count} people; expected at least {folds}, so that each of {folds} parts is judged by a map "
            "that was fitted to the others; add people",
            metadata={"identities": count},
        )
    part_of: NDArray[np.int64] = np.arange(count) % folds
    found: NDArray[np.int64] = np.random.default_rng([seed, 1]).permutation(part_of)[people]
    return found


def _is_alone(given: PhotoEmbeddings) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = given.people[:, 0] == given.people[:, 1]
    return found


def _rotation(given: PhotoEmbeddings) -> tuple[Rows, Rows]:
    """Return weight and bias of the closest rotation between the centred spaces; of unequal sizes, the closest one
    whose rows or columns are orthonormal."""
    old_mean, new_mean = given.old.mean(axis=0), given.new.mean(axis=0)
    left, _, right = np.linalg.svd((given.new - new_mean).T @ (given.old - old_mean), full_matrices=False)
    weight: Rows = left @ right
    return weight, new_mean - weight @ old_mean


def _pull(given: PhotoEmbeddings) -> Rows:
    """Return the weight that a ridge is pulled towards.

    Versions of one family have nearly the same space. There it is the identity, which needs no data; else it is the
    closest rotation.
    """
    if given.old.shape == given.new.shape and np.einsum("ij,ij->i", given.old, given.new).mean() >= SAME_SPACE:
        return np.eye(given.old.shape[1])
    return _rotation(given)[0]


def _ridge(old: Rows, new: Rows, toward: Rows, strength: float) -> tuple[Rows, Rows]:
    """Return weight and bias that give the directions of ``new``, pulled towards a weight by ``strength``."""
    mean = old.mean(axis=0)
    centred = old - mean
    pull = strength * float(np.square(centred).sum()) / old.shape[1]
    gram = centred.T @ centred + pull * np.eye(old.shape[1])
    lengths = np.ones(len(old))
    for _ in range(_ROUNDS):
        target = new * lengths[:, np.newaxis]
        weight = np.linalg.solve(gram, centred.T @ target + pull * toward.T).T
        bias = target.mean(axis=0) - weight @ mean
        lengths = np.maximum(np.einsum("ij,ij->i", old @ weight.T + bias, new), 0.1)
        lengths /= lengths.mean()
    return weight, bias


def _directions(old: Rows, seed: int) -> tuple[Rows, Rows]:
    """Return random directions [H, dimension] with thresholds among their values, so that each unit is often on."""
    rng = np.random.default_rng([seed, 2])
    inner = rng.normal(size=(HIDDEN, old.shape[1]))
    inner /= np.linalg.norm(inner, axis=1, keepdims=True)
    at = old[rng.integers(0, len(old), HIDDEN)]
    return inner, -np.einsum("ij,ij->i", inner, at)
