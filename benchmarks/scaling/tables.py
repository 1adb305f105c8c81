"""The curves and a plan of capacity as tables and plots."""

from typing import Any

from benchmarks.conditions import conditions_rows
from benchmarks.pictures import lines
from benchmarks.scaling.capacity import Curve, Line, Plan
from sameface.evaluation.tables import Table

FITTED = {1_000, 10_000, 100_000}
"""Sizes of a gallery from which the model is made. The others check it."""


def curves_of(measured: dict[str, Any], only: set[int] | None = None) -> dict[str, Curve]:
    """Return the curves of the model. ``only`` are the sizes of a gallery to take; None takes all."""
    gallery = [one for one in measured["gallery"]["points"] if only is None or one["templates"] in only]
    return {
        "photo_cpu_ms": [(one["found"], one["cpu_ms"]) for one in measured["faces"]["points"]],
        "search_ms": [(one["templates"], one["identify_cpu_ms"]) for one in gallery],
        "store_mib": [(one["templates"], one["memory_mib"]) for one in gallery],
    }


def plan_table(needed: Plan) -> Table:
    """Return a plan as a table."""
    rows = (
        ("templates", f"{needed.templates:,.0f}"),
        ("shards", f"{needed.shards:,} of {needed.templates_per_shard:,.0f} templates"),
        ("memory of the store", f"{needed.store_memory_gib:,.0f} GiB"),
        ("cores for photos", f"{needed.photo_cores:,.1f}"),
        ("cores for searches", f"{needed.search_cores:,.1f}"),
        ("machines", f"{needed.photo_nodes:,} for photos, {needed.store_nodes:,} for the store"),
        (
            "GPUs instead of the cores for photos",
            "unknown: none was measured" if needed.gpus is None else f"{needed.gpus}",
        ),
        ("price of all machines per hour", f"{needed.price_per_hour:,.2f}"),
        ("price per million verifications", f"{needed.price_per_million_verifications:,.2f}"),
    )
    return Table("Capacity", ("what", "needed"), rows, ("Exact search; straight lines through measured points.",))


def scaling_tables(measured: dict[str, Any]) -> list[Table]:
    """Return a table of each curve that was measured."""
    tables = {"gallery": _gallery_table, "faces": _faces_table, "tritons": _tritons_table}
    return [tables[name](measured[name]) for name in tables if name in measured]


def _gallery_table(curve: dict[str, Any]) -> Table:
    """Return the gallery's curve, with what the model predicts for sizes that it was not made from."""
    points = curve["points"]
    search, memory = (
        Line.through([(one["templates"], one[figure]) for one in points if one["templates"] in FITTED])
        for figure in ("identify_cpu_ms", "memory_mib")
    )
    rows = tuple(
        (
            f"{one['templates']:,}",
            f"{one['claim_ms']:.2f}",
            f"{one['identify_ms']:.2f}",
            _beside(one["identify_cpu_ms"], search.at(one["templates"]), one["templates"] in FITTED),
            _beside(one["memory_mib"], memory.at(one["templates"]), one["templates"] in FITTED),
            f"{one['files_mib']:.0f}",
            f"{one['filling_s']:.1f}",
        )
        for one in points
    )
    headings = (
        "templates",
        "claim, ms",
        "identify, ms",
        "identify, processor ms",
        "memory, MiB",
        "files, MiB",
        "filled in, s",
    )
    notes = ("In brackets: what the model predicts for a size that it was not made from.", _told(curve))
    return Table("One gallery on Qdrant Edge, exact search", headings, rows, notes)


def _faces_table(curve: dict[str, Any]) -> Table:
    rows = tuple(
        (
            f"{one['faces']}",
            f"{one['found']}",
            f"{one['median_ms']:.0f}",
            f"{one['cpu_ms']:.0f}",
            f"{one['cpu_ms'] / max(1, one['found']):.0f}",
        )
        for one in curve["points"]
    )
    headings = ("faces in the photo", "found", "identify all, ms", "processor ms", "processor ms for each face")
    return Table("Faces of one photo of 2000×1000 pixels", headings, rows, (_told(curve),))


def _tritons_table(curve: dict[str, Any]) -> Table:
    rows = tuple(
        (
            f"{one['tritons']}",
            f"{one['instances'] // one['tritons']}",
            f"{one['per_s']:.1f}",
            f"{one['cpu_ms']:.1f}",
            f"{one['memory_mib']:.0f}",
        )
        for one in curve["points"]
    )
    headings = (
        "tritonservers",
        "instances of a model in each",
        "embeddings a second",
        "processor ms of one",
        "memory, MiB",
    )
    return Table("Tritons with as many instances together", headings, rows, (_told(curve),))


def _beside(value: float, predicted: float, fitted: bool) -> str:
    return f"{value:.1f}" if fitted else f"{value:.1f} ({predicted:.1f})"


def _told(curve: dict[str, Any]) -> str:
    rows = dict(conditions_rows(curve["conditions"]))
    return f"{rows['processor']}; {rows['system']}; {rows['date']}; load average before: {rows['load average before']}."


def plots(measured: dict[str, Any]) -> dict[str, str]:
    """Draw the curves; return SVG by file name."""
    drawn = {}
    if "gallery" in measured:
        points = measured["gallery"]["points"]
        names = {"identify_cpu_ms": "identify, processor time", "identify_ms": "identify", "claim_ms": "claim"}
        curves = {told: [(one["templates"], one[name]) for one in points] for name, told in names.items()}
        drawn["scaling-gallery.svg"] = lines(curves, "templates of the gallery", "ms")
    if "faces" in measured:
        points = measured["faces"]["points"]
        curves = {
            told: [(one["found"], one[name]) for one in points]
            for name, told in (("median_ms", "identify all faces"), ("cpu_ms", "processor time"))
        }
        drawn["scaling-faces.svg"] = lines(curves, "faces of the photo", "ms")
    return drawn
