"""The figures of the versions as tables of docs/models.md."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.conditions import conditions_rows
from benchmarks.in_turns import middle, of, ratio
from sameface.evaluation.support import power_text
from sameface.evaluation.tables import Table
from sameface.inference.cards import EMBEDDER, OPENVINO_EMBEDDER, ModelCard
from sameface.inference.map_cards import MapCard
from sameface_qdrant.calibration.report import rate_text

Versions = Mapping[str, Any]
"""By number of the version: what `measure_versions` returns, with ``passes``."""
LICENCES = re.compile(r"Apache-2\.0|MIT|BSD-3-Clause|CC BY 4\.0")
BY_IDENTITY = ("FNMR at FMR 1e-3", "FNMR at FMR 1e-4", "FNMR at FMR 1e-5")
BY_COMPARISON = ("FNMR by comparison at FMR 1e-3", "FNMR by comparison at FMR 1e-4", "FNMR by comparison at FMR 1e-5")
FNIR, RANK_ONE, PAIRS = "FNIR at FPIR 1e-2", "rank 1", "accuracy over pairs"
COMPARED = (*BY_IDENTITY, FNIR, RANK_ONE, PAIRS)


def licence_text(card: ModelCard | MapCard) -> str:
    """Return the licences that a card names, or that what it describes is for research only."""
    if card.licence.restriction:
        return "**research only**"
    weights = list(dict.fromkeys(LICENCES.findall(card.licence.weights)))
    return ", ".join(dict.fromkeys([*weights, *LICENCES.findall(card.licence.training_data)])) or "see its card"


def versions_tables(figures: Mapping[str, Any], cards: Mapping[int, ModelCard], default: int) -> list[Table]:
    """Return the tables: figures, differences, figures by comparison, and times if they were measured."""
    versions: Versions = figures["versions"]
    tables = [
        _figures(versions, figures.get("times"), cards, default),
        _differences(versions),
        _by_comparison(versions),
    ]
    if "times" in figures:
        tables.append(_times(figures["times"]))
    return tables


def _figures(versions: Versions, times: Any, cards: Mapping[int, ModelCard], default: int) -> Table:
    rows = []
    for number, found in versions.items():
        name = f"**{number}**, the default" if int(number) == default else number
        milliseconds = [_milliseconds(times, f"{model} version {number}") for model in (EMBEDDER, OPENVINO_EMBEDDER)]
        one = found["figures"]
        rows.append(
            (
                name,
                licence_text(cards[int(number)]),
                str(found["passes"]),
                *(_percent(one[name]) + _mark(one[name]) for name in (*BY_IDENTITY, FNIR, RANK_ONE, PAIRS)),
                *milliseconds,
            )
        )
    headings = (
        "version",
        "licence",
        "passes",
        *(name.replace("FNMR at FMR", "FNMR at") for name in BY_IDENTITY),
        "FNIR",
        "rank 1",
        "pairs",
        "ms, ONNX Runtime",
        "ms, OpenVINO",
    )
    return Table("The versions", headings, tuple(rows))


def _milliseconds(times: Any, name: str) -> str:
    if times is None or name not in times["loads"]:
        return "–"
    return f"{middle(times['loads'], name, 'median_ms'):.1f}"


def _percent(one: Mapping[str, Any]) -> str:
    return f"{100 * one['value']:.2f} %"


def _mark(one: Mapping[str, Any]) -> str:
    return "" if one["supported"] else " (not supported)"


def _differences(versions: Versions) -> Table:
    rows = tuple(
        (
            f"{number} − {reference}",
            *(_difference(against[name]) for name in COMPARED),
        )
        for number, found in versions.items()
        for reference, against in found["against"].items()
        if int(reference) < int(number)
    )
    headings = (
        "versions",
        *(name.replace("FNMR at FMR", "FNMR at") for name in BY_IDENTITY),
        "FNIR",
        "rank 1",
        "pairs",
    )
    return Table("Differences in percentage points", headings, rows)


def _difference(one: Mapping[str, Any]) -> str:
    value, low, high = (100 * one[name] for name in ("value", "low", "high"))
    text = f"{value:+.2f}"
    if one["verdict"] != "no difference shown":
        text = f"**{text}**"
    return f"{text} ({low:+.2f} to {high:+.2f})"


def _by_comparison(versions: Versions) -> Table:
    rows = tuple(
        (number, *(_percent(found["figures"][name]) for name in BY_COMPARISON)) for number, found in versions.items()
    )
    headings = ("version", *(name.replace("FNMR by comparison at FMR", "FNMR at") for name in BY_COMPARISON))
    return Table("The same thresholds, every comparison counts the same", headings, rows)


def _times(times: Mapping[str, Any]) -> Table:
    loads = times["loads"]
    base = f"{EMBEDDER} version 1"
    rows = tuple(
        (
            name,
            f"{middle(loads, name, 'median_ms'):.2f}",
            str(ratio(of(loads, name, "median_ms"), of(loads, base, "median_ms"))),
        )
        for name in loads
    )
    return Table("Time of one face on one thread", ("embedder", "median, ms", f"time; {base} = 1"), rows)


def verification_table(found: Mapping[str, Any]) -> Table:
    """Return FNMR at every FMR, and EER, of one version."""
    rows = [
        (power_text(one["fmr"]), f"{one['threshold']:.4f}", *_both(one["fnmr"]), *_both(one["fnmr_by_identity"]))
        for one in found["points"]
    ]
    rows.append(("EER", "", *_both(found["eer"]), *_both(found["eer_by_identity"])))
    headings = ("FMR", "threshold", "FNMR", "95 %", "FNMR by identity", "95 %")
    return Table("Verification", headings, tuple(rows))


def verification_sentence(number: int, found: Mapping[str, Any]) -> str:
    """Return of which version the table is, and what its comparisons are worth."""
    return (
        f"This is `face_embedder` version {number}. Its comparisons are worth some {found['independent']:,} "
        f"independent ones, which support an FMR of {found['supported_fmr']:.2g}."
    )


def identification_sentence(number: int, found: Mapping[str, Any]) -> str:
    """Return FNIR and rank-1 rate of one version."""
    (fnir, fnir_interval), (rank, rank_interval) = (_both(found["figures"][name]) for name in (FNIR, RANK_ONE))
    return (
        f"On LFW's development set ({found['verification']['enrolled']} enrolled), version {number} has an FNIR of "
        f"{fnir} ({fnir_interval}) at FPIR 1 %, and finds {rank} ({rank_interval}) at rank 1."
    )


def _both(one: Mapping[str, float]) -> tuple[str, str]:
    value, low, high = (100 * one[name] for name in ("value", "low", "high"))
    return f"{value:.2f} %", f"{low:.2f} to {high:.2f}"


def pose_table(found: Sequence[Mapping[str, Any]]) -> Table:
    """Return FNMR of turned faces by version, with the differences from the first one."""
    rows = []
    for model in dict.fromkeys(one["model"] for one in found):
        own = [one for one in found if one["model"] == model]
        rows.append((model, *(_turned(one) for one in own)))
    headings = ("", *(f"{one['view']}, FNMR at {power_text(one['fmr'])}" for one in found if one["difference"] is None))
    return Table("Turned faces against frontal ones", headings, tuple(rows))


def _turned(one: Mapping[str, Any]) -> str:
    text, difference = rate_text(one["fnmr"]["value"]), one["difference"]
    if difference is None:
        return f"{text} ({rate_text(one['fnmr']['low'])} to {rate_text(one['fnmr']['high'])})"
    value, low, high = (100 * difference[name] for name in ("value", "low", "high"))
    return f"{text}, {value:+.1f} ({low:+.1f} to {high:+.1f})"


def conditions_sentence(times: Mapping[str, Any]) -> str:
    """Return under which conditions the times were measured."""
    found = dict(conditions_rows(times["conditions"]))
    load = found["load average before"]
    return f"{found['processor']}; {found['versions']}; {found['date']}; load average before: {load}."


def markdown_rows(table: Table) -> str:
    """Return a table as Markdown, without its title."""
    lines = [_row(table.headings), _row(["---"] * len(table.headings)), *map(_row, table.rows)]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
