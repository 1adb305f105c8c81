"""``make soak``: load a service with every kind of call for a while; fail if memory, descriptors, threads or disk grow.

The service, its local Triton and its embedded store are real, and the audit log is on. build/soak gets a page with
tables and a picture, and the figures as JSON.
"""

import argparse
import asyncio
import json
import math
import os
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.conditions import conditions, conditions_rows
from benchmarks.results import markdown, print_tables
from sameface.client.aio import AsyncClient
from sameface.evaluation.report import Page, Picture, write_report
from sameface.evaluation.tables import Table
from sameface.launcher import Service, served
from tests.soak.load import PEOPLE, Counts, Load, Photos
from tests.soak.report import WARM_UP, Found, calls_table, cores_table, figures, judged, picture, slopes_table
from tests.soak.sampling import Watch, Watched

DEADLINE_S = 60.0
"""Of a call. Erasures wait for each other and for a disk that other programs use too."""
WARM_UP_RATE = 3
"""In the warm-up there are so many times more calls."""
CROWDS = 5
"""How often calls of all kinds are made at the same time, before everything else."""
SETTINGS = {"SAMEFACE_AUDIT__ENABLED": "true", "SAMEFACE_SWEEP_S": "30"}


async def soaked(service: Service, watched: Watched, options: argparse.Namespace) -> tuple[Watch, Counts]:
    """Load a service and read what it uses, for so many seconds."""
    readings = int(options.seconds / options.every_s) + 2
    async with AsyncClient(service.address, timeout_s=DEADLINE_S) as client:
        load = Load(client, service.address, Photos.of(options.portraits), options.seed, options.people)
        await load.prepare()
        await load.each_once()
        watch = Watch(watched, readings)

        async def read() -> None:
            while True:
                await asyncio.to_thread(watch.read)
                await asyncio.sleep(options.every_s)

        reading = asyncio.create_task(read())
        loading = asyncio.create_task(_load(load, options))
        done, _ = await asyncio.wait((reading, loading), return_when=asyncio.FIRST_COMPLETED)
        for task in (reading, loading):
            task.cancel()
        for task in done:
            task.result()
    return watch, load.counts


async def _load(load: Load, options: argparse.Namespace) -> None:
    """Load more in the warm-up than later. What grows with the load has then its size; what leaks goes on growing."""
    warm_up_s = WARM_UP * options.seconds
    await load.crowd(CROWDS)
    await load.run(warm_up_s, WARM_UP_RATE * options.rate)
    await load.run(options.seconds - warm_up_s, options.rate)


def main() -> int:
    """Return 0 if nothing grows that must not, and every answer was expected."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="sf-") as name:
        folder = Path(name)
        (temporary := folder / "tmp").mkdir()
        # The folder of this process stays the one it is: it was asked for before.
        os.environ.update({**SETTINGS, **os.environ, "TMPDIR": str(temporary)})
        before = conditions()
        with served(folder / "data", folder / "log") as service:
            data = folder / "data"
            watched = Watched(service.pid, data / "store", temporary, folder / "log", data / "audit")
            watch, counts = asyncio.run(soaked(service, watched, options))
            cores = watch.cores()
        options.folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "log", options.folder / "service.log")
    found = judged(watch.series)
    wrong = [f"{one.name.part}, {one.name.quantity}: {one.verdict}" for one in found if not one.met]
    wrong += [f"a process was lost: {told}" for told in watch.series.restarts]
    wrong += [f"{count} times: {told}" for told, count in counts.unexpected.items()]
    tables = [
        slopes_table(found, options.seconds),
        calls_table(counts),
        cores_table(cores),
        Table("Conditions", ("", ""), conditions_rows(before)),
    ]
    _write(options, watch, found, tables, {**vars_of(counts), "cores": cores, "conditions": before, "wrong": wrong})
    print_tables(tables[:-1])
    print(f"\npage: {options.folder / 'index.html'}")
    for one in wrong:
        print(f"WRONG: {one}", file=sys.stderr)
    return 1 if wrong else 0


def vars_of(counts: Counts) -> dict[str, Any]:
    """Return the counts as plain values."""
    return {
        "calls": dict(counts.calls),
        "median_s": {kind: round(float(np.median(of)), 4) for kind, of in counts.latencies_s.items()},
        "longest_s": {kind: round(max(of), 4) for kind, of in counts.latencies_s.items()},
        "busy": dict(counts.busy),
        "not_begun": counts.not_begun,
        "unexpected": dict(counts.unexpected),
    }


def _write(
    options: argparse.Namespace, watch: Watch, found: list[Found], tables: list[Table], more: dict[str, Any]
) -> None:
    options.folder.mkdir(parents=True, exist_ok=True)
    drawn = picture(watch.series, found)
    (options.folder / "soak.svg").write_text(drawn)
    (options.folder / "soak.md").write_text("\n".join(markdown(one) for one in tables))
    series = {
        "at_s": [round(float(at), 2) for at in watch.series.at_s[: watch.series.count]],
        "values": [
            {**asdict(name), "values": [None if math.isnan(one) else round(float(one), 4) for one in values]}
            for name, values in ((name, of[: watch.series.count]) for name, of in watch.series.values.items())
        ],
    }
    (options.folder / "series.json").write_text(json.dumps(series) + "\n")
    plain = {"seconds": options.seconds, "rate": options.rate, "seed": options.seed, "slopes": figures(found), **more}
    (options.folder / "figures.json").write_text(json.dumps(plain, indent=2, ensure_ascii=False) + "\n")
    told = "Dashed lines are the slopes, grey is the warm-up. Each axis shows at least a tenth of the value."
    write_report(
        options.folder / "index.html",
        Page("sameface: soak test", f"{options.seconds:g} s of mixed load.", tables, [Picture(told, svg=drawn)]),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1200.0, help="of load (default 1200)")
    parser.add_argument("--rate", type=float, default=6.0, help="calls begun per second (default 6)")
    parser.add_argument("--every-s", type=float, default=2.0, help="seconds between two readings (default 2)")
    parser.add_argument("--people", type=int, default=PEOPLE, help=f"who stay enrolled (default {PEOPLE})")
    parser.add_argument("--seed", type=int, default=20261124)
    parser.add_argument("--portraits", type=Path, default=Path("tests/data/portraits"))
    parser.add_argument("--folder", type=Path, default=Path("build/soak"), help="where the page and the figures go")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
