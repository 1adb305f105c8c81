"""The figures of the template maps as tables of docs/models.md and docs/model-change.md, from the cards of the maps."""

import math
from collections.abc import Sequence
from pathlib import Path

from benchmarks.versions.tables import BY_COMPARISON, BY_IDENTITY, FNIR, licence_text, markdown_rows
from sameface.evaluation.compatibility import JUDGED
from sameface.evaluation.model_comparison import Verdict
from sameface.evaluation.tables import Table
from sameface.inference.card_figures import MeasuredRate
from sameface.inference.map_cards import CombinationFigures, MapCard, map_folders, read_map

MAPS, ONE_MAP = "maps", "one_map"
"""Names of the two tables in the documents."""
TOLD = (1, 3)
"""The versions of the map that docs/model-change.md tells of."""


def shipped_maps(repository: Path) -> list[MapCard]:
    """Return the cards of all maps of a repository, by their versions."""
    return [read_map(folder)[0] for _, folder in map_folders(repository)]


def maps_table(cards: Sequence[MapCard]) -> Table:
    """Return a row for each map: what it is, and its figures beside those of both versions alone."""
    rows = tuple(
        (
            f"{card.old.version} to {card.new.version}",
            f"{card.fit.form}, {card.fit.strength:g}",
            f"{card.evaluation.cosine.value:.4f}",
            *(_three(card, endpoint) for endpoint in (*BY_IDENTITY[1:], *BY_COMPARISON[1:], FNIR)),
            _unmapped(card),
            licence_text(card),
        )
        for card in cards
    )
    headings = (
        "versions",
        "form, strength",
        "cosine",
        "FNMR at 1e-4",
        "FNMR at 1e-5",
        "by comparison, 1e-4",
        "by comparison, 1e-5",
        "FNIR at FPIR 1 %",
        "without a map",
        "licence",
    )
    return Table("The template maps", headings, rows)


def one_map_table(card: MapCard) -> Table:
    """Return the figures that judge one map, with 95 % intervals."""
    old, new = card.old.version, card.new.version
    found = card.evaluation
    measured = {
        f"version {old} alone": found.old,
        f"mapped templates, probes of version {new}": found.mapped,
        f"version {new} alone": found.new,
    }
    if found.unmapped is not None:
        measured[f"templates of version {old} as they are, probes of version {new}"] = found.unmapped
    rows = tuple(
        (endpoint.replace("1e-2", "1 %"), *(_with_interval(_rate(one, endpoint)) for one in measured.values()))
        for endpoint in JUDGED
    )
    return Table("One template map", ("", *measured), rows)


def map_tables(repository: Path) -> dict[str, str]:
    """Return both tables as Markdown, by their names in the documents."""
    cards = shipped_maps(repository)
    told = next(card for card in cards if (card.old.version, card.new.version) == TOLD)
    return {MAPS: markdown_rows(maps_table(cards)), ONE_MAP: markdown_rows(one_map_table(told))}


def _figures(card: MapCard) -> tuple[CombinationFigures, ...]:
    found = card.evaluation
    return found.old, found.mapped, found.new


def _rate(figures: CombinationFigures, endpoint: str) -> MeasuredRate:
    if endpoint == FNIR:
        return figures.fnir
    fmr = float(endpoint.rpartition(" ")[2])
    point = next(one for one in figures.fnmr if math.isclose(one.fmr, fmr))
    return point.fnmr if endpoint in BY_COMPARISON else point.fnmr_by_identity


def _three(card: MapCard, endpoint: str) -> str:
    """Return a figure of the old version, of mapped templates and of the new version, in percent.

    Mapped templates are bold where the interval of their difference from the old version excludes 0.
    """
    old, mapped, new = (f"{100 * _rate(one, endpoint).value:.2f}" for one in _figures(card))
    shown = card.evaluation.against_old[endpoint] != Verdict.NO_DIFFERENCE
    return f"{old} / {f'**{mapped}**' if shown else mapped} / {new}"


def _unmapped(card: MapCard) -> str:
    """Return the figures of `JUDGED` of old templates as they are with new probes, in percent."""
    if (found := card.evaluation.unmapped) is None:
        return "–"
    return " / ".join(f"{100 * _rate(found, endpoint).value:.2f}" for endpoint in JUDGED)


def _with_interval(rate: MeasuredRate) -> str:
    return f"{100 * rate.value:.2f} % ({100 * rate.low:.2f} to {100 * rate.high:.2f})"
