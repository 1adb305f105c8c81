"""`make chaos`: kills a writing process many times, then lets every part of a service fail under load.

The table of what callers saw goes into docs/faults.md, with the figures in docs/faults.json. `--fault` runs some of the
faults; the other rows stay as they were measured.
"""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.conditions import conditions
from tests.chaos.__main__ import kill
from tests.faults.faults import FAULTS
from tests.faults.run import run_faults
from tests.faults.table import as_json, markdown, merged, rows_of, written

DOCUMENT, FIGURES = Path("docs/faults.md"), Path("docs/faults.json")


def main() -> int:
    """Return 0 where every promise was kept."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="kills of a process that writes; 0: none")
    parser.add_argument("--seed", type=int, default=20261124)
    parser.add_argument("--fault", default="", help="only faults whose part and name contain this")
    parser.add_argument("--portraits", type=Path, default=Path("tests/data/portraits"))
    parser.add_argument("--no-write", action="store_true", help="leave docs/faults.md as it is")
    arguments = parser.parse_args()
    kept = not arguments.kills or kill(arguments.kills, arguments.seed)
    chosen = [fault for fault in FAULTS if arguments.fault in f"{fault.part}, {fault.name}"]
    found = {**conditions(), "seed": arguments.seed}

    def progress(what: str) -> None:
        print(what, file=sys.stderr, flush=True)

    # Networks and disks are removed, too, if somebody asks it to end.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    with tempfile.TemporaryDirectory(prefix="sameface-faults-") as name:
        measured = f"{found['date']}; {found['load_average']}"
        rows = asyncio.run(run_faults(chosen, Path(name), arguments.portraits, arguments.seed, progress))
    rows = [replace(row, measured="" if row.not_run else measured) for row in rows]
    print(markdown(as_json(found, rows)))
    if not arguments.no_write:
        before = rows_of(json.loads(FIGURES.read_text())) if FIGURES.is_file() else []
        whole = as_json(found, merged([fault.key for fault in FAULTS], before, rows))
        FIGURES.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
        DOCUMENT.write_text(written(DOCUMENT.read_text(), whole))
    broken = [f"{row.part}, {row.fault}: {one}" for row in rows for one in row.broken]
    for one in broken:
        print(f"VIOLATION {one}", file=sys.stderr)
    return 0 if kept and not broken else 1


if __name__ == "__main__":
    sys.exit(main())
