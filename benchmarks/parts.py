"""The parts of a run: how each is measured, and how its figures are shown. Figures are plain values, kept as JSON."""

import argparse
import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.embedders import embedders_tables, measure_embedders
from benchmarks.large_photos import GOAL as DECODING_GOAL
from benchmarks.large_photos import measure_large_photos
from benchmarks.operations import measure_operations, operations_tables
from benchmarks.overload import LIMITS as OVERLOAD_LIMITS
from benchmarks.overload import Sizes, measure_overload
from benchmarks.pauses import measure_pauses
from benchmarks.pictures import bars, operations_pictures, serving_pictures
from benchmarks.serving import measure_serving, running_services, serving_tables
from benchmarks.stages import measure_stages
from benchmarks.start import measure_start, start_tables
from benchmarks.verification import PROBE, SIZES, photo_of
from sameface.evaluation.report import Picture
from sameface.evaluation.tables import Table
from sameface.event_loop import loop_factory

Progress = Callable[[str], None]
Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a run."""

    title: str
    measure: Callable[[argparse.Namespace, Progress], Figures]
    tables: Callable[[Figures], list[Table]]
    pictures: Callable[[Figures], list[Picture]] = lambda found: []


def _start(options: argparse.Namespace, progress: Progress) -> Figures:
    return measure_start(1 if options.quick else options.starts, progress)


def _serving(options: argparse.Namespace, progress: Progress) -> Figures:
    with (
        TemporaryDirectory(prefix="sf-") as folder,
        running_services(Path(folder), all_of_them=not options.quick) as services,
    ):
        size = (1, 0.3) if options.quick else (options.rounds, options.turn_s)
        with_peers = not (options.quick or options.no_peers)
        work = measure_serving(services, options.portraits, size, progress, with_peers=with_peers)
        # What runs in this process has the event loop of the service.
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(work)


def _operations(options: argparse.Namespace, progress: Progress) -> Figures:
    with TemporaryDirectory(prefix="sf-") as folder, running_services(Path(folder), all_of_them=False) as services:
        service = services.plain
        if options.quick:
            work = measure_operations(service, options.portraits, (1, 0.2), progress, (1, 4), ("250×250",))
        else:
            work = measure_operations(service, options.portraits, (options.sweeps, options.turn_s / 2), progress)
        return asyncio.run(work)


def _stages(options: argparse.Namespace, progress: Progress) -> Figures:
    found = {}
    for name, megapixels in SIZES.items():
        progress(f"stages, {name}")
        times = measure_stages(photo_of(options.portraits / PROBE, megapixels), 5 if options.quick else options.calls)
        found[name] = {stage: asdict(time) for stage, time in times.items()}
    progress("stages, decoding of large photos")
    decoding = measure_large_photos(options.portraits, 1 if options.quick else 9)
    return {"stages": found, "decoding": decoding}


def _stages_tables(figures: Figures) -> list[Table]:
    found = figures["stages"]
    stages = list(next(iter(found.values())))
    rows = [(stage, *(f"{found[name][stage]['wall_ms']:.2f}" for name in found)) for stage in stages]
    rows.append(("together", *(f"{sum(one['wall_ms'] for one in found[name].values()):.2f}" for name in found)))
    notes = (
        "In process, one thread, one stage after another as for a real photo. Medians. The wire is the difference "
        "between a verification over gRPC and one in process, in the table of contenders.",
    )
    decoding = tuple(
        (
            name,
            str(one["decodings"]),
            f"{one['decode_ms']:.1f}",
            f"{one['whole_ms']:.1f}",
            f"{one['ratio']:.2f}",
            "" if one["ratio"] <= DECODING_GOAL else "missed",
        )
        for name, one in figures["decoding"].items()
    )
    headings = ("JPEG of 12 megapixels", "decodings", "decode stage, ms", "decoded at full size, ms", "ratio", "≤ 1/3")
    of_decoding = (
        "Processor time, medians, in turns; a ratio is of the same turn. The same code decodes the full size.",
    )
    return [
        Table("Stages of one verification, ms", ("stage", *found), tuple(rows), notes),
        Table("Decoding of large photos", headings, decoding, of_decoding),
    ]


def _stages_pictures(figures: Figures) -> list[Picture]:
    found = figures["stages"]
    times = {name: {stage: one["wall_ms"] for stage, one in stages.items()} for name, stages in found.items()}
    return [Picture("Stages of one verification in process, by size of the photo.", svg=bars(times, "milliseconds"))]


def _embedders(options: argparse.Namespace, progress: Progress) -> Figures:
    size = (1, 0.2) if options.quick else (options.rounds, options.turn_s)
    return asyncio.run(measure_embedders(size, progress))


def _overload(options: argparse.Namespace, progress: Progress) -> Figures:
    sizes = Sizes(best_s=1.0, usual_s=2.0, overload_s=2.0, compared=()) if options.quick else Sizes()
    return measure_overload(options.portraits, sizes, told=progress).summary()


def _overload_tables(found: Figures) -> list[Table]:
    phases = tuple(
        (
            one["phase"],
            *(str(one[key]) for key in ("answered_per_s", "p50_ms", "p99_ms", "refused_per_s", "refused_p99_ms")),
            f"{one['cores_of_service']}, {one['cores_of_clients']}",
        )
        for one in found["phases"]
    )
    headings = (
        "phase",
        "answered a second",
        "p50, ms",
        "p99, ms",
        "refused a second",
        "p99 of refusals, ms",
        "cores: service, clients",
    )
    memory = found["memory"]
    rows = (
        ("throughput ÷ its best", str(found["throughput_ratio"]), f"≥ {OVERLOAD_LIMITS['throughput']:g}"),
        ("p99 of answered calls ÷ p99 at 80 % load", str(found["p99_ratio"]), f"≤ {OVERLOAD_LIMITS['p99']:g}"),
        (
            "memory of the service and its processes (PSS)",
            f"{memory['start_mib']} to {memory['end_mib']} MiB, {memory['slope_mib_per_min']:+} MiB a minute",
            "flat",
        ),
    )
    title = f"Overload: {found['times_the_best']} times the best throughput"
    return [Table("Load", headings, phases), Table(title, ("figure", "measured", "goal"), rows)]


def _loop(options: argparse.Namespace, progress: Progress) -> Figures:
    progress("pauses of the event loop")
    return asyncio.run(measure_pauses(options.portraits, options.megapixels, options.cohort))


def _loop_tables(found: Figures) -> list[Table]:
    rows = tuple((work, f"{milliseconds:.1f}") for work, milliseconds in found.items())
    return [Table("Longest pause of the event loop", ("while", "ms"), rows)]


PARTS: dict[str, Part] = {
    "start": Part("start and memory", _start, start_tables),
    "serving": Part("one photo, beside the bare models and the peers", _serving, serving_tables, serving_pictures),
    "stages": Part("stages of one photo", _stages, _stages_tables, _stages_pictures),
    "embedders": Part("speed of the embedders", _embedders, embedders_tables),
    "operations": Part("operations by size and callers", _operations, operations_tables, operations_pictures),
    "overload": Part("more calls than can be answered", _overload, _overload_tables),
    "loop": Part("pauses of the event loop", _loop, _loop_tables),
}
"""In the order of the report."""
