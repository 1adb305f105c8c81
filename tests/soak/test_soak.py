"""A few seconds of the load that `make soak` runs at length, and what is read and judged meanwhile."""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sameface.client import Client
from sameface.launcher import Service
from tests.soak.__main__ import soaked
from tests.soak.load import GALLERY
from tests.soak.report import MUST_GROW, figures, judged, picture, slopes_table
from tests.soak.sampling import Name, Series, Watched, descriptors, disk_bytes, entries, memory_mib, threads

GROWS = """
import os, sys, threading
print(flush=True)
for line in sys.stdin:
    kept = bytearray(64 << 20)
    files = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]
    waiting = [threading.Thread(target=threading.Event().wait, daemon=True) for _ in range(3)]
    [one.start() for one in waiting]
    print(flush=True)
"""


def test_growth_of_a_process_is_measured() -> None:
    with subprocess.Popen([sys.executable, "-c", GROWS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        pids = [process.pid]
        before = memory_mib(pids), descriptors(pids), threads(pids)
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        after = memory_mib(pids), descriptors(pids), threads(pids)
        process.stdin.close()
    grown, opened, begun = (now - then for now, then in zip(after, before, strict=True))
    assert 64 <= grown < 66
    assert (opened, begun) == (20, 3)


def test_files_are_counted_by_what_they_occupy(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "one").write_bytes(b"1" * 100_000)
    (tmp_path / "a" / "b" / "two").write_bytes(b"2" * 5000)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert 105_000 <= disk_bytes(tmp_path) < 130_000
    assert entries(tmp_path) == 5


def test_only_a_leak_is_found_wrong() -> None:
    rng, series = np.random.default_rng(1), Series(600)
    series.at_s[:] = np.arange(600) * 2.0
    series.count = 600
    noise = rng.normal(size=(2, 600))
    warming = np.maximum(0, 100 - series.at_s)
    series.values = {
        Name("service", "memory", "MiB"): 300 - warming + noise[0] * 0.2,
        Name("tritonserver", "memory", "MiB"): 50 + noise[1] * 0.2 + series.at_s * 0.01,
        Name("service", "threads", ""): np.full(600, 20.0),
        Name("service", "audit log", "MiB"): series.at_s * 0.1,
    }
    found = judged(series)
    assert [one.verdict for one in found] == ["flat", "grows", "constant", "must grow"]
    assert [one.met for one in found] == [True, False, True, True]
    assert all(reason in MUST_GROW.values() for one in found if (reason := one.must_grow))
    assert figures(found)[1]["per_hour"] == pytest.approx(36, abs=1)
    assert [row[-1] for row in slopes_table(found, 1200).rows][:2] == ["flat", "grows"]
    drawn = picture(series, found)
    assert drawn.startswith("<svg")


def test_a_leak_that_is_small_beside_the_size_is_found() -> None:
    rng, series = np.random.default_rng(2), Series(600)
    series.at_s[:] = np.arange(600) * 2.0
    series.count = 600
    series.values = {Name("service", "memory", "MiB"): 300 + series.at_s * 2e-4 + rng.normal(size=600) * 0.01}
    (found,) = judged(series)
    assert found.slope.range < 0.001 * found.slope.first
    assert (found.verdict, found.met) == ("grows", False)


def data_folder(service: Service) -> Path:
    """The folder that a service was started with."""
    command = Path(f"/proc/{service.pid}/cmdline").read_text().split("\0")
    return Path(command[command.index("--data-dir") + 1])


@pytest.mark.timeout(120)
async def test_every_kind_of_call_is_answered_as_expected(service: Service, portraits: Path, tmp_path: Path) -> None:
    store = data_folder(service) / "store"
    options = argparse.Namespace(seconds=1.0, every_s=0.2, rate=8.0, seed=1, people=3, portraits=portraits)
    watch, counts = await soaked(service, Watched(service.pid, store, tmp_path, tmp_path / "log"), options)
    with Client(service.address) as client:
        left = [one.name for one in client.identities(GALLERY)]
        client.delete_gallery(GALLERY, force=True)
    assert not counts.unexpected
    assert len(counts.calls) == 14
    assert watch.series.count >= 1
    assert not watch.series.restarts
    parts = {name.part for name in watch.series.values}
    assert parts == {"client", "service", "tritonserver", "face_detector", "face_embedder", "store"}
    assert all(np.all(values[: watch.series.count] >= 0) for values in watch.series.values.values())
    assert sum("/person-" in name for name in left) == 3
