"""Compares turned faces with frontal ones, for several models on the Face Research Lab London Set.

    sameface evaluate verification LONDON --embedder-version 1 --save-embeddings base.npz
    python -m benchmarks pose base=base.npz "version 2"=two.npz

Every model is compared with the first one on the same resampled people. With --folds N, only comparisons of people of
one fold count, so that a file may hold, for each person, embeddings of a network that was not trained on that person.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import print_tables
from sameface.evaluation.group_intervals import FEW_IDENTITIES, group_difference
from sameface.evaluation.model_comparison import check_same_samples
from sameface.evaluation.records import estimate_record
from sameface.evaluation.resampling import Counts, Estimate, draw_identities, estimate
from sameface.evaluation.samples import Samples, read_embeddings
from sameface.evaluation.support import power_text
from sameface.evaluation.tables import Table
from sameface_qdrant.calibration.report import interval_text, rate_text
from sameface_qdrant.metrics.error_rates import Rates, Scores, Weights, fnmr, threshold_at_fmr

VIEWS = {"three-quarter": "3quarter", "profile": "profile"}
FMRS = (1e-2, 1e-3)
REPLICATES = 1000


@dataclass(frozen=True, slots=True)
class TurnedRate:
    """FNMR of turned faces against frontal ones."""

    view: str
    fmr: float
    """The target FMR over the comparisons of different people in the same views."""
    model: str
    people: int
    fnmr: Estimate
    difference: Estimate | None
    """FNMR less that of the first model, with its interval (see `group_difference`); None for the first one."""


def main(arguments: Sequence[str]) -> None:
    """Print FNMR of turned faces for every model, and the difference from the first one."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks pose", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", metavar="NAME=NPZ", help="embeddings of the same photos by each model")
    parser.add_argument("--folds", type=int, default=1, help="folds by person (default 1: all comparisons)")
    parser.add_argument("--replicates", type=int, default=REPLICATES, help=f"resamples (default {REPLICATES})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    named = dict(one.rpartition("=")[::2] for one in options.models)
    if "" in named or len(named) < len(options.models) or options.folds < 1 or options.replicates < 100:
        parser.error("expected a different name for each file, as NAME=NPZ, --folds 1 or more and 100 --replicates")
    models = {name: read_embeddings(Path(path)) for name, path in named.items()}
    found = turned_rates(models, folds=options.folds, replicates=options.replicates, seed=options.seed)
    if options.json:
        print(json.dumps(turned_record(found), indent=2))
    else:
        print_tables([turned_table(found)])


def turned_rates(
    models: Mapping[str, Samples], *, folds: int = 1, replicates: int = REPLICATES, seed: int = 0
) -> tuple[TurnedRate, ...]:
    """Measure every model on the same people and the same resamples of them.

    All people have one threshold, also with several folds. Every person counts the same in FNMR, every comparison in
    FMR.

    Raises:
        InvalidArgument: the models have other samples.
    """
    first, *others = models.values()
    for other in others:
        check_same_samples(first, other)
    people = sorted(set(first.identity))
    resample_counts = draw_identities(len(people), replicates, seed)
    found = []
    for view, part in VIEWS.items():
        scores = [within_folds(cross_scores(samples, part), folds) for samples in models.values()]
        resampled = [resampled_fnmr(one, resample_counts, FMRS) for one in scores]
        for place, target in enumerate(FMRS):
            values = [weighted_fnmr(one, np.ones(len(people)), target) for one in scores]
            rates = [
                estimate(value, of_model[:, place], len(people))
                for value, of_model in zip(values, resampled, strict=True)
            ]
            for number, name in enumerate(models):
                # Two rates of 0 differ by 0 in every resample, which does not show that they are equal.
                difference = group_difference(
                    rates[number],
                    rates[0],
                    (resampled[number] - resampled[0])[:, place],
                    has_few=len(people) < FEW_IDENTITIES,
                )
                found.append(TurnedRate(view, target, name, len(people), rates[number], difference if number else None))
    return tuple(found)


def turned_table(found: Sequence[TurnedRate]) -> Table:
    """Return the figures as a table."""
    rows = tuple(
        (
            one.view,
            power_text(one.fmr),
            one.model,
            rate_text(one.fnmr.value),
            interval_text(one.fnmr.interval),
            "" if one.difference is None else signed(one.difference),
        )
        for one in found
    )
    notes = (
        f"{found[0].people} people. Differences are from {found[0].model}, in percentage points with 95 % intervals "
        "over the same resampled people; an interval that includes 0 shows none.",
    )
    return Table(
        "Turned faces against frontal ones",
        ("view", "FMR", "model", "FNMR", "95 % interval", "difference"),
        rows,
        notes,
    )


def signed(difference: Estimate) -> str:
    """Return a difference of rates in percentage points.

    >>> from sameface_qdrant.metrics.intervals import ConfidenceInterval
    >>> signed(Estimate(-0.021, ConfidenceInterval(-0.04, 0.001)))
    '-2.1 (-4.0 to +0.1)'
    """
    low, high = difference.interval.low, difference.interval.high
    return f"{100 * difference.value:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def turned_record(found: Sequence[TurnedRate]) -> list[dict[str, Any]]:
    """Return the figures as plain values."""
    return [
        {
            "view": one.view,
            "fmr": one.fmr,
            "model": one.model,
            "people": one.people,
            "fnmr": estimate_record(one.fnmr),
            "difference": estimate_record(one.difference),
        }
        for one in found
    ]


def fold_of(place: int, folds: int) -> int:
    """Return the fold of a person, by the place of the person's id among all ids in order."""
    return place % folds


def within_folds(scores: Scores, folds: int) -> Scores:
    """Return the scores [people, people, pairs] with NaN for comparisons of people of different folds."""
    fold = np.array([fold_of(place, folds) for place in range(len(scores))])
    kept: Scores = np.where((fold[:, None] == fold[None])[:, :, None], scores, np.nan)
    return kept


def cross_scores(samples: Samples, part: str) -> Scores:
    """Return the scores of each person's turned photos with each person's frontal ones, [people, people, pairs].

    A person with fewer photos than the others, because a face was not found, has NaN for the missing ones.
    """
    people = sorted(set(samples.identity))
    sides = []
    for wanted in (part, "front"):
        photos = [
            [
                place
                for place, (identity, name) in enumerate(zip(samples.identity, samples.sample, strict=True))
                if identity == person and wanted in Path(name).name
            ]
            for person in people
        ]
        most = max(map(len, photos))
        side = np.full((len(people), most, samples.vectors.shape[1]), np.nan)
        for place, own in enumerate(photos):
            side[place, : len(own)] = samples.vectors[own]
        sides.append(side)
    scores: Scores = np.einsum("pax,qbx->pqab", *sides).reshape(len(people), len(people), -1)
    return scores


def weighted_fnmr(scores: Scores, counts: Weights, target_fmr: float) -> float:
    """Return FNMR at an FMR. Person i counts ``counts[i]`` times; a comparison of two people counts their product."""
    people = len(counts)
    weights = np.broadcast_to((counts[:, None] * counts[None])[:, :, None], scores.shape)
    is_own = np.eye(people, dtype=bool)
    is_finite = np.isfinite(scores)
    non_mated = is_finite & ~is_own[:, :, None] & (weights > 0)
    threshold = threshold_at_fmr(scores[non_mated], target_fmr, weights[non_mated])
    mated = is_finite & is_own[:, :, None]
    by_person = np.broadcast_to(counts[:, None, None], scores.shape)
    return fnmr(scores[mated], threshold, by_person[mated])


def resampled_fnmr(scores: Scores, resample_counts: Counts, fmrs: Sequence[float]) -> Rates:
    """Return `weighted_fnmr` of every resample, [resamples, fmrs]; NaN without comparisons. The scores are sorted once.

    Args:
        scores: [people, people, pairs].
        resample_counts: how often each person is in each resample, [resamples, people].
        fmrs: target FMRs.
    """
    is_own = np.broadcast_to(np.eye(len(scores), dtype=bool)[:, :, None], scores.shape)
    first, second, _ = np.nonzero(np.isfinite(scores) & ~is_own)
    non_mated = scores[np.isfinite(scores) & ~is_own]
    order = np.argsort(-non_mated, kind="stable")
    non_mated, first, second = non_mated[order], first[order], second[order]
    owner, _, _ = np.nonzero(np.isfinite(scores) & is_own)
    mated = scores[np.isfinite(scores) & is_own]
    # A threshold accepts equal scores together: these are the places where each group of equal scores ends.
    ends = np.append(np.flatnonzero(np.diff(non_mated)), non_mated.size - 1)
    rates = np.full((len(resample_counts), len(fmrs)), np.nan)
    for row, counts in enumerate(resample_counts.astype(np.float64)):
        accepted = np.cumsum(counts[first] * counts[second])[ends]
        total = counts[owner].sum()
        if not accepted[-1] or not total:
            continue
        for place, target in enumerate(fmrs):
            kept = int(np.searchsorted(accepted, (target + 1e-12) * accepted[-1], side="right"))
            # The first group that is refused; behind the last one every score is accepted.
            threshold = np.nextafter(non_mated[ends[kept]], np.inf) if kept < ends.size else non_mated[-1]
            rates[row, place] = counts[owner] @ (mated < threshold) / total
    return rates
