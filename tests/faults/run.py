"""Runs faults one after the other on a stack, under load, and tells what each did."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

from tests.faults.attempts import Attempt, back_after, counts, during, health
from tests.faults.callers import Load
from tests.faults.faults import Fault
from tests.faults.stacks import Stack, running
from tests.faults.table import Row

SETTLED_S = 3.0
"""So long nothing may fail before a fault, and before it counts as over."""
BACK_WITHIN_S = 90.0


async def run_faults(
    faults: Sequence[Fault], folder: Path, portraits: Path, seed: int, progress: Callable[[str], None]
) -> list[Row]:
    """Run every fault that can be run here, and return the rows of all."""
    rows = [_not_run(fault, why) for fault in faults if (why := fault.why_not())]
    possible = [fault for fault in faults if not fault.why_not()]
    for kind, group in groupby(possible, key=lambda fault: fault.stack):
        async with running(kind, folder / kind) as stack:
            load = Load(stack.service.address, portraits, seed, stack.service.http)
            try:
                await load.prepare()
                for fault in group:
                    progress(f"{fault.part}: {fault.name}")
                    rows.append(await run_one(fault, stack, load, seed))
            finally:
                await load.aclose()
    return rows


async def run_one(fault: Fault, stack: Stack, load: Load, seed: int, settled_s: float = SETTLED_S) -> Row:
    """Let one fault happen under load. Afterwards everything that was acknowledged is looked for.

    For ``settled_s`` seconds nothing may fail before it, and before it counts as over.
    """
    draw = random.Random(f"{seed} {fault.part} {fault.name}")
    load.attempts.clear()
    load.looks.clear()
    load.violations.clear()
    load.start()
    broken = [] if await load.settled(settled_s, BACK_WITHIN_S) else ["calls failed before it began"]
    await asyncio.sleep(draw.random())
    began = time.monotonic()
    await fault.happen(stack, draw)
    if fault.undo is not None:
        await asyncio.sleep(fault.lasts_s)
        over = time.monotonic()
        await fault.undo(stack, draw)
    else:
        over = began
    # What it does may be noticed late: by the next check of a model.
    await asyncio.sleep(settled_s)
    if not await load.settled(settled_s, BACK_WITHIN_S):
        broken.append(f"not back within {BACK_WITHIN_S:g} s")
    ended = time.monotonic()
    await load.stop()
    await load.check()
    broken += sorted({f"{one.kind}: {one.what}" for one in load.violations})
    return row_of(fault, load.attempts, health(load.looks, began, ended), (began, over, ended), broken)


def row_of(
    fault: Fault, attempts: Sequence[Attempt], state: str, times: tuple[float, float, float], broken: Sequence[str]
) -> Row:
    """Put together what was seen. ``times`` are when the fault began, when it was over, and when all was well again."""
    began, over, ended = times
    back = back_after(attempts, over)
    until = max(over + back, max((one.ended for one in attempts if one.failed), default=over))
    seen = during(attempts, began, min(until, ended))
    return Row(
        fault.part,
        fault.name,
        fault.lasts,
        {road.value: found for road, found in counts(seen).items()},
        state,
        round(max((one.ended - one.began for one in seen), default=0.0), 1),
        round(back, 1),
        tuple(broken),
    )


def _not_run(fault: Fault, why: str) -> Row:
    return Row(fault.part, fault.name, not_run=why)
