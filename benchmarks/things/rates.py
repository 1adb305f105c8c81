"""Error rates of claims and searches, with intervals from resampling identities."""

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.things.attempts import FORGED, FORGERY, GENUINE, IMPOSTOR, MATED, NON_MATED, Attempt
from sameface.evaluation.tables import Table
from sameface_qdrant.calibration.report import interval_text, rate_text
from sameface_qdrant.metrics.error_rates import eer
from sameface_qdrant.metrics.intervals import rate_interval

OUTCOMES = ("MATCH", "AMBIGUOUS", "NO_MATCH")
REPLICATES = 1000


def rate(errors: Sequence[bool], attempts: Sequence[Attempt], *, of_one: bool) -> str:
    """Return a rate with its 95 % interval. ``of_one``: the attempts count as trials of the probe's identity alone."""
    flags = np.array(errors, dtype=np.bool_)
    numbers = {name: place for place, name in enumerate(sorted({n for a in attempts for n in (a.probe, a.claimed)}))}
    first = np.array([numbers[one.probe] for one in attempts])
    second = first if of_one else np.array([numbers[one.claimed] for one in attempts])
    interval = rate_interval(flags, first, second, replicates=REPLICATES)
    return f"{rate_text(float(flags.mean()))} ({interval_text(interval)})"


def claims_table(title: str, found: Sequence[Attempt]) -> Table:
    """Return what the claims of each kind were answered, and FNMR and FMR of their scores."""
    rows = []
    for kind in (GENUINE, IMPOSTOR, FORGERY):
        if own := [one for one in found if one.kind == kind]:
            genuine = kind == GENUINE
            wrong = [one.accepted != genuine for one in own]
            name = "FNMR" if genuine else "FMR"
            rows.append((kind, *_counts(own), f"{name} {rate(wrong, own, of_one=kind != IMPOSTOR)}"))
    return Table(title, ("claims", "", *OUTCOMES, "by score against threshold"), tuple(rows), equal_errors(found))


def equal_errors(found: Sequence[Attempt]) -> tuple[str, ...]:
    """Return the equal error rates of the claims' scores, as sentences: what a threshold of their own would give."""
    scores = {kind: np.array([one.score for one in found if one.kind == kind]) for kind in (GENUINE, IMPOSTOR, FORGERY)}
    return tuple(
        f"EER of {GENUINE} claims and {kind} claims: {rate_text(eer(scores[GENUINE], scores[kind]))}."
        for kind in (IMPOSTOR, FORGERY)
        if scores[kind].size and scores[GENUINE].size
    )


def searches_table(title: str, found: Sequence[Attempt]) -> Table:
    """Return what the searches of each kind were answered, and FNIR and FPIR of their outcomes."""
    rows = []
    for kind, name in ((MATED, "FNIR"), (NON_MATED, "FPIR"), (FORGED, "FPIR")):
        if own := [one for one in found if one.kind == kind]:
            matched = [one.outcome == "MATCH" for one in own]
            right = [one.claimed == one.probe for one in own]
            wrong = [not (m and r) for m, r in zip(matched, right, strict=True)] if kind == MATED else matched
            nearest = rate_text(sum(right) / len(own)) if kind == MATED else "–"
            rows.append((kind, *_counts(own), f"{name} {rate(wrong, own, of_one=True)}", nearest))
    return Table(title, ("searches", "", *OUTCOMES, "by outcome", "nearest is right"), tuple(rows))


def _counts(own: Sequence[Attempt]) -> tuple[str, ...]:
    outcomes = [one.outcome for one in own]
    return (f"{len(own):,}", *(f"{outcomes.count(outcome):,}" for outcome in OUTCOMES))


def agreement_table(found: Mapping[str, Mapping[str, Sequence[Attempt]]]) -> Table:
    """Return how far the answers of two inferences differ; both were asked the same."""
    one, other = found.values()
    rows = []
    for name, own in one.items():
        pairs = list(zip(own, other[name], strict=True))
        if any((a.kind, a.probe) != (b.kind, b.probe) for a, b in pairs):
            raise ValueError(f"the two services were not asked the same about {name}")
        apart = max(abs(a.score - b.score) for a, b in pairs)
        rows.append((name, f"{len(pairs):,}", f"{sum(a.outcome != b.outcome for a, b in pairs):,}", f"{apart:.1e}"))
    headings = ("", "calls", "other outcomes", "largest difference of scores")
    return Table(" and ".join(found), headings, tuple(rows))
