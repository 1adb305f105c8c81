"""`make upgrade`: replaces every part of a running system by this release, under load, and counts the calls that fail.

Two services on two Tritons and one Qdrant server take calls from a client that spreads them. QDRANT_URL or QDRANT_BIN
names the server; otherwise a stand-in of the tests is taken. The figures go into docs/upgrade.json, and the tables into
docs/faults.md.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.conditions import conditions
from tests.faults.__main__ import DOCUMENT
from tests.upgrade.release import built, this_release
from tests.upgrade.report import as_json, markdown, written
from tests.upgrade.run import on_edge, rolling, store_told

FIGURES = Path("docs/upgrade.json")


def main() -> int:
    """Return 0 where no call failed in the rolling upgrade, and everything that was acknowledged is there."""
    parser = argparse.ArgumentParser(prog="make upgrade", description=__doc__)
    parser.add_argument("--previous", required=True, help="git revision of the release that runs before")
    parser.add_argument("--folder", type=Path, default=Path("build/upgrade"), help="where that release is built")
    parser.add_argument("--seed", type=int, default=20261124)
    parser.add_argument("--no-write", action="store_true", help="leave docs/faults.md as it is")
    arguments = parser.parse_args()

    def progress(what: str) -> None:
        print(what, file=sys.stderr, flush=True)

    progress(f"building {arguments.previous}")
    before, after = built(arguments.previous, arguments.folder), this_release()
    found = {**conditions(), "seed": arguments.seed}
    with tempfile.TemporaryDirectory(prefix="sameface-upgrade-") as name:
        load, steps, broken = asyncio.run(rolling(before, after, Path(name) / "rolling", arguments.seed, progress))
        edge_load, edge, lost = asyncio.run(on_edge(before, after, Path(name) / "edge", arguments.seed, progress))
    load["edge"] = edge_load
    kept = as_json(found, (before.name, after.name), store_told(), load, steps, edge, [*broken, *lost])
    print(markdown(kept))
    if not arguments.no_write:
        FIGURES.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
        DOCUMENT.write_text(written(DOCUMENT.read_text(), kept))
    failed = [*(f"{step.part}: {one}" for step in steps for one in step.failed), *broken, *lost]
    for one in failed:
        print(f"FAILED {one}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
