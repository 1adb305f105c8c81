"""Groups identities by their mean mated and mean non-mated score: doves, chameleons, phantoms and worms. Pure numpy.

Yager and Dunstone 2010, "The Biometric Menagerie", IEEE Transactions on Pattern Analysis and Machine Intelligence 32,
p. 220. The lowest and the highest quarter of each mean make four corners. If the two means of an identity were
independent, each corner would hold about a sixteenth of the identities. A corner with significantly more identities
shows that these errors belong to identities and not to single samples.
`sameface_qdrant.metrics.menagerie` finds lambs, which attract impostors at a threshold.
`sameface_qdrant.calibration.zoo_plot` draws the groups.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from sameface_qdrant.errors import InvalidArgument, NotEnoughData
from sameface_qdrant.metrics.comparisons import Comparisons
from sameface_qdrant.metrics.error_rates import Indices, Mask, Scores
from sameface_qdrant.metrics.menagerie import holm_correction

LEAST_IDENTITIES = 8
"""With fewer identities, a quarter is a single one."""


class Animal(StrEnum):
    """What an identity is called by the quarters that its two means are in."""

    DOVE = "dove"
    """Mated scores high, non-mated scores low: the best identities."""
    CHAMELEON = "chameleon"
    """Both high: matches easily, and is easily mistaken."""
    PHANTOM = "phantom"
    """Both low: hard to match, whoever claims it."""
    WORM = "worm"
    """Mated scores low, non-mated scores high: the worst identities."""


@dataclass(frozen=True, slots=True)
class GroupedIdentity:
    """An identity with its mean scores."""

    name: str
    mated: float
    """Mean of its mated scores."""
    non_mated: float
    """Mean of its scores with other identities, on either side."""
    animal: Animal | None
    """None for most identities: those that are in no corner."""


@dataclass(frozen=True, slots=True)
class Animals:
    """The identities of a gallery by their mean scores."""

    identities: tuple[GroupedIdentity, ...]
    mated_quarters: tuple[float, float]
    """The mean mated scores up to which the lowest and from which the highest quarter reaches."""
    non_mated_quarters: tuple[float, float]
    p_values: dict[Animal, float]
    """Probability of so many identities in the corner or more, if both means were independent (Fisher's exact test,
    one-sided), with Holm's correction over the four corners."""
    left_out: int
    """Identities without a mated or without a non-mated comparison."""

    def of(self, animal: Animal) -> tuple[GroupedIdentity, ...]:
        """Return the identities of one group."""
        return tuple(one for one in self.identities if one.animal is animal)


def group_identities(comparisons: Comparisons) -> Animals:
    """Return the groups of the identities that are compared.

    Raises:
        NotEnoughData: fewer than 8 identities have a mated and a non-mated comparison.
    """
    count = len(comparisons.names)
    mated = _means(comparisons.mated, [comparisons.owners], count)
    non_mated = _means(comparisons.non_mated, [comparisons.first, comparisons.second], count)
    return group_means(comparisons.names, mated, non_mated)


def group_means(names: Sequence[str], mated: Scores, non_mated: Scores) -> Animals:
    """Return the groups of identities whose mean scores are known.

    Args:
        names: of the identities.
        mated: mean mated score of each, [identities]; NaN without one.
        non_mated: mean non-mated score of each, [identities]; NaN without one.

    Raises:
        InvalidArgument: the three differ in length.
        NotEnoughData: fewer than 8 identities have both.
    """
    if not len(names) == mated.size == non_mated.size:
        raise InvalidArgument(
            f"there are {len(names)} names, {mated.size} mated and {non_mated.size} non-mated means; expected as many "
            "of each",
            metadata={"field": "names"},
        )
    known = np.flatnonzero(np.isfinite(mated) & np.isfinite(non_mated))
    if known.size < LEAST_IDENTITIES:
        raise NotEnoughData(
            f"{known.size} of {len(names)} identities have a mated and a non-mated comparison; expected at least "
            f"{LEAST_IDENTITIES}: enrol a second template of more identities",
            metadata={"identities": int(known.size), "comparisons": 0},
        )
    own, other = mated[known], non_mated[known]
    mated_quarters, non_mated_quarters = _quarters(own), _quarters(other)
    low, high = own <= mated_quarters[0], own >= mated_quarters[1]
    quiet, loud = other <= non_mated_quarters[0], other >= non_mated_quarters[1]
    corners = {
        Animal.DOVE: (high, quiet),
        Animal.CHAMELEON: (high, loud),
        Animal.PHANTOM: (low, quiet),
        Animal.WORM: (low, loud),
    }
    animals: list[Animal | None] = [None] * known.size
    for animal, (one, another) in corners.items():
        for place in map(int, np.flatnonzero(one & another)):
            animals[place] = animal
    p_values = holm_correction(np.array([_chance_of_overlap(one, another) for one, another in corners.values()]))
    return Animals(
        tuple(
            GroupedIdentity(str(names[int(row)]), float(mated[row]), float(non_mated[row]), animal)
            for row, animal in zip(known, animals, strict=True)
        ),
        mated_quarters,
        non_mated_quarters,
        dict(zip(corners, map(float, p_values), strict=True)),
        len(names) - int(known.size),
    )


def _means(scores: Scores, sides: Sequence[Indices], count: int) -> Scores:
    """Return the mean score of each identity over all comparisons that it is in; NaN where there is none."""
    total, number = np.zeros(count), np.zeros(count)
    for owners in sides:
        total += np.bincount(owners, scores, count)
        number += np.bincount(owners, minlength=count)
    means: Scores = np.divide(total, number, out=np.full(count, np.nan), where=number > 0)
    return means


def _quarters(means: Scores) -> tuple[float, float]:
    low, high = np.quantile(means, [0.25, 0.75])
    return float(low), float(high)


def _chance_of_overlap(one: Mask, another: Mask) -> float:
    """Return the probability of so many common members or more, if two sets of these sizes were drawn at random."""
    total, first, second = one.size, int(one.sum()), int(another.sum())
    common = int((one & another).sum())
    possible = math.comb(total, second)
    ways = sum(
        math.comb(first, shared) * math.comb(total - first, second - shared)
        for shared in range(common, min(first, second) + 1)
        if second - shared <= total - first
    )
    return ways / possible
