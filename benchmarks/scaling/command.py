"""`python -m benchmarks scaling`: how cost grows with the gallery, the faces of a photo and the Tritons.

It takes some minutes and writes the curves to benchmarks/scaling/curves.json, from which docs/scaling.md, its plots and
`python -m benchmarks capacity` are made. ``--plots`` only draws and writes the tables again.
"""

import argparse
import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.conditions import conditions
from benchmarks.results import markdown, print_tables
from benchmarks.scaling.capacity import Demand, Line, Machine, Measured, plan
from benchmarks.scaling.measure import measure_faces, measure_gallery, measure_tritons
from benchmarks.scaling.tables import curves_of, plan_table, plots, scaling_tables

CURVES = Path(__file__).with_name("curves.json")
DOCUMENT, IMAGES = Path("docs/scaling.md"), Path("docs/images")
MARKED = re.compile(r"(<!-- curves -->\n)(.*?)(<!-- end of curves -->)", re.S)


def main(arguments: Sequence[str]) -> None:
    """Measure, draw and write the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sizes = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
    parser.add_argument("curve", nargs="?", choices=("gallery", "faces", "tritons"), help="only this one")
    parser.add_argument("--sizes", type=int, nargs="+", default=sizes, help="gallery: numbers of templates")
    parser.add_argument("--probes", type=int, default=40, help="gallery: searches at each size (default 40)")
    parser.add_argument("--faces", type=int, nargs="+", default=(1, 2, 5, 10, 20, 35, 50), help="faces of a photo")
    parser.add_argument("--tritons", type=int, nargs="+", default=(1, 2, 4), help="numbers of tritonservers")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement (default 3)")
    parser.add_argument("--portraits", type=Path, default=Path("tests/data/portraits"))
    parser.add_argument("--curves", type=Path, default=CURVES, help="where the curves are written")
    parser.add_argument("--plots", action="store_true", help="measure nothing; draw and write the tables again")
    options = parser.parse_args(arguments)
    measured: dict[str, Any] = json.loads(options.curves.read_text()) if options.curves.is_file() else {}
    if not options.plots:
        with Console(stderr=True).status("starting") as status:
            for name in (options.curve,) if options.curve else ("gallery", "faces", "tritons"):
                before = conditions()
                measured[name] = {"conditions": before, "points": _measured(name, options, status.update)}
                options.curves.write_text(json.dumps(measured, indent=1) + "\n")
    if options.curves == CURVES:
        for name, svg in plots(measured).items():
            (IMAGES / name).write_text(svg)
        found = "\n".join(markdown(table) for table in scaling_tables(measured))
        text = MARKED.sub(lambda marked: f"{marked[1]}{found}\n{marked[3]}", DOCUMENT.read_text())
        DOCUMENT.write_text(text)
    print_tables(scaling_tables(measured))


def _measured(name: str, options: argparse.Namespace, progress: Any) -> list[dict[str, float]]:
    if name == "gallery":
        return asyncio.run(measure_gallery(options.sizes, options.probes, progress))
    if name == "faces":
        return asyncio.run(measure_faces(options.faces, options.seconds, options.portraits, progress))
    return asyncio.run(measure_tritons(options.tritons, options.seconds, progress))


def capacity_main(arguments: Sequence[str]) -> None:
    """Print what a load needs."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks capacity",
        description="What a load needs, extrapolated from the measured curves of benchmarks/scaling/curves.json.",
    )
    parser.add_argument("--identities", type=float, required=True)
    parser.add_argument("--verifications-per-s", type=float, default=0.0, help="in scope CLAIM")
    parser.add_argument("--identifications-per-s", type=float, default=0.0)
    parser.add_argument("--templates-per-identity", type=float, default=1.0)
    parser.add_argument("--faces-per-photo", type=float, default=1.0)
    parser.add_argument(
        "--photo-cpu-ms",
        type=float,
        default=None,
        help="processor time of a photo with one face (default: of 2000×1000 pixels, every face sought)",
    )
    parser.add_argument("--search-budget-ms", type=float, default=100.0, help="for the search of one shard")
    parser.add_argument("--cores", type=int, default=16, help="of a machine")
    parser.add_argument("--memory-gib", type=float, default=64.0, help="of a machine")
    parser.add_argument("--price-per-hour", type=float, default=0.0, help="of a machine, in any currency")
    parser.add_argument("--copies", type=int, default=1, help="of each shard")
    parser.add_argument(
        "--photos-per-gpu-s", type=float, default=None, help="that you measured; none was measured here"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    measured = Measured.of(curves_of(json.loads(CURVES.read_text())))
    if options.photo_cpu_ms is not None:
        each = measured.photo_cpu_ms.each
        measured = replace(measured, photo_cpu_ms=Line(options.photo_cpu_ms - each, each))
    needed = plan(
        Demand(
            identities=options.identities,
            verifications_per_s=options.verifications_per_s,
            identifications_per_s=options.identifications_per_s,
            templates_per_identity=options.templates_per_identity,
            faces_per_photo=options.faces_per_photo,
            search_budget_ms=options.search_budget_ms,
        ),
        Machine(
            cores=options.cores,
            memory_gib=options.memory_gib,
            price_per_hour=options.price_per_hour,
            copies=options.copies,
            photos_per_gpu_s=options.photos_per_gpu_s,
        ),
        measured,
    )
    if options.json:
        print(json.dumps(asdict(needed), indent=2))
    else:
        print_tables([plan_table(needed)])
