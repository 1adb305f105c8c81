"""`python -m benchmarks photos`: measures how photos are read. Its tables are those of docs/benchmarks.md."""

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

from benchmarks.photos.faces import SEED, print_faces
from benchmarks.photos.turns import print_turns
from sameface.cli.evaluate.quality import quality

PARTS = ("turns", "faces", "quality")


def main(arguments: Sequence[str]) -> None:
    """Measure and print one part, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks photos", description=__doc__)
    parser.add_argument("part", nargs="?", choices=PARTS, help="what to measure (default all)")
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="folder with london/ and lfw_devtest/"
    )
    turns = parser.add_argument_group("turns: every photo turned as a whole")
    turns.add_argument("--photos", type=int, default=None, help="how many of each data set (default all)")
    turns.add_argument("--step", type=int, default=15, help="degrees between two turns (default 15)")
    turns.add_argument("--cut", action="store_true", help="keep the canvas, so that corners are cut off")
    faces = parser.add_argument_group("faces: composed scenes")
    faces.add_argument("--rounds", type=int, default=2, help="rounds of scenes with faces (default 2)")
    faces.add_argument("--empty", type=int, default=300, help="scenes without a face (default 300)")
    faces.add_argument("--megapixels", type=float, default=50, help="largest scene (default 50)")
    faces.add_argument("--most", type=int, default=1000, help="most faces asked for (default 1000)")
    faces.add_argument("--seed", type=int, default=SEED, help=f"of the scenes (default {SEED})")
    judged = parser.add_argument_group("quality: does it predict errors on LFW?")
    judged.add_argument("--degrade", default="all", metavar="KINDS", help="degraded copies (default all kinds)")
    options = parser.parse_args(arguments)
    if options.part in (None, "turns"):
        asyncio.run(print_turns(options.data, options.photos, options.step, "cut" if options.cut else "enlarged"))
    if options.part in (None, "faces"):
        sizes = (options.rounds, options.empty, round(options.megapixels * 1_000_000))
        asyncio.run(print_faces(options.data, *sizes, options.most, options.seed))
    if options.part in (None, "quality"):
        quality(options.data / "lfw_devtest", options.degrade)
