"""The benchmark of the event loop's pauses runs, and measures what blocks the loop."""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.pauses import longest_pause


async def test_a_pause_is_noticed_and_work_in_a_thread_is_none() -> None:
    async def stands_on_the_loop() -> None:
        time.sleep(0.2)  # noqa: ASYNC251  # this is the point

    assert await longest_pause(stands_on_the_loop()) > 150
    ticks = await longest_pause(asyncio.to_thread(time.sleep, 0.05))
    assert ticks >= 0


@pytest.mark.triton
def test_every_kind_of_work_gets_its_figure(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "loop", "--json", "--megapixels", "1", "--cohort", "300"]
    command += ["--folder", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    pauses = json.loads(result.stdout)["loop"]["figures"]
    assert len(pauses) == 6
    assert all(milliseconds >= 0 for milliseconds in pauses.values())
