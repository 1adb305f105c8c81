"""Error rates of groups of people by every version, each at the threshold of its own card. Plain values."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sameface.evaluation.groups import measure_groups_at
from sameface.evaluation.labels import AGE, AGE_BANDS, has_column, read_labels, with_everybody
from sameface.evaluation.records import groups_for_card
from sameface.evaluation.samples import Samples
from sameface.evaluation.tables import Table
from sameface.inference.cards import ModelCard
from sameface_qdrant.calibration.report import rate_text

FMR = 1e-3
"""The operating point of the card that is the threshold."""
MADE_WITH = "The version was made with photos of these people."
LONDON = "London"
Record = dict[str, Any]


def measure_version_groups(
    samples: Mapping[int, Samples],
    labels: Path,
    cards: Mapping[int, ModelCard],
    measured_on: str,
    progress: Callable[[str], None],
    *,
    replicates: int = 1000,
) -> dict[int, list[Record]]:
    """Return what the card of each version says of groups; a version without an operating point is left out."""
    found: dict[int, list[Record]] = {}
    limits: Mapping[str, Sequence[float]] = {AGE: AGE_BANDS} if has_column(labels, AGE) else {}
    for number, one in samples.items():
        thresholds = [point.threshold for point in cards[number].operating_points if point.fmr == FMR]
        if not thresholds:
            continue
        progress(f"version {number}: groups of {measured_on}")
        named, _ = read_labels(labels, one, limits)
        groups = measure_groups_at(one, thresholds[0], with_everybody(named), replicates=replicates)
        found[number] = groups_for_card(groups, measured_on, note_of(cards[number], measured_on))
    return found


def note_of(card: ModelCard, measured_on: str) -> str:
    """Return what a reader has to know: whether the version was made with these people."""
    is_own = measured_on.lower() == LONDON.lower() and LONDON in card.licence.training_data
    return MADE_WITH if is_own else ""


def groups_table(groups: Mapping[str, Sequence[Record]], numbers: Sequence[str]) -> Table:
    """Return FNMR and FMR of every group by some versions.

    Args:
        groups: by version, what `measure_version_groups` returns for all photos.
        numbers: the versions to show.
    """
    shown = [number for number in numbers if number in groups]
    rows = []
    for place, one in enumerate(groups[shown[0]] if shown else ()):
        marked = f"{one['label']} (few people)" if one["few_identities"] else one["label"]
        name = f"{one['column']}: {marked}" if one["column"] else marked
        rates = [_rate(groups[number][place][rate]) for rate in ("fnmr_by_identity", "fmr") for number in shown]
        rows.append((one["measured_on"], name, f"{one['identities']:,}", *rates))
    headings = ("photos", "group", "people", *(f"{rate}, {number}" for rate in ("FNMR", "FMR") for number in shown))
    return Table("Groups", headings, tuple(rows))


def _rate(one: Mapping[str, float] | None) -> str:
    if one is None:
        return "–"
    return f"{rate_text(one['value'])} ({rate_text(one['low'])} to {rate_text(one['high'])})".replace(" %", "") + " %"
