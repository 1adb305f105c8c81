"""All mated and non-mated comparisons among enrolled templates, for calibration. Pure numpy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Owner = TypeVar("Owner")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class ComparisonScores:
    """Cosine scores, each pair of templates once."""

    mated: NDArray[np.float64]
    """[pairs] Both templates are of one identity."""
    non_mated: NDArray[np.float64]
    """[pairs] The templates are of two identities."""
    identities: int
    """How many identities took part."""
    templates: int
    complete: bool
    """False where a cap left templates out; the rest is a seeded sample."""


def sample(
    held: Mapping[Owner, Sequence[Item]], *, max_templates: int, per_identity: int, seed: int
) -> list[tuple[Owner, Item]]:
    """Return templates of identities drawn without preference.

    At most ``per_identity`` of each, ``max_templates`` in all. The same seed draws the same from the same templates in
    the same order. Identities with many templates weigh no more than ``per_identity`` allows.
    """
    rng = np.random.default_rng(seed)
    owners = list(held)
    chosen: list[tuple[Owner, Item]] = []
    for position in rng.permutation(len(owners)):
        owner, items = owners[position], held[owners[position]]
        room = min(per_identity, max_templates - len(chosen))
        if room <= 0:
            break
        drawn = sorted(rng.permutation(len(items))[:room])
        chosen += [(owner, items[index]) for index in drawn]
    return chosen


def compare_all(
    units: NDArray[np.float32], owners: Sequence[object]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mated and the non-mated scores of every pair of templates.

    Args:
        units: [templates, dimension], rows of unit L2 norm.
        owners: [templates], the identity of each row.

    >>> mated, non_mated = compare_all(np.eye(3, dtype=np.float32)[[0, 0, 1]], ["ada", "ada", "bob"])
    >>> mated.tolist(), non_mated.tolist()
    ([1.0], [0.0, 0.0])
    """
    numbers = {owner: number for number, owner in enumerate(dict.fromkeys(owners))}
    owned = np.array([numbers[owner] for owner in owners], dtype=np.int64)
    mated: list[NDArray[np.float64]] = [np.empty(0)]
    non_mated: list[NDArray[np.float64]] = [np.empty(0)]
    for row in range(len(owned) - 1):
        scores = (units[row + 1 :] @ units[row]).astype(np.float64)
        same = owned[row + 1 :] == owned[row]
        mated.append(scores[same])
        non_mated.append(scores[~same])
    return np.concatenate(mated), np.concatenate(non_mated)
