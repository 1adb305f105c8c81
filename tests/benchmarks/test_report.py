"""The benchmarks measure a running service, and their figures become tables, a page and a part of the documents."""

import asyncio
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks.conditions import conditions, processor_of
from benchmarks.embedders import measure_embedders
from benchmarks.in_turns import difference, in_turns, percentile, ratio
from benchmarks.load import Load
from benchmarks.operations import measure_operations
from benchmarks.peers import command as peers
from benchmarks.peers.contender import peer_processes
from benchmarks.peers.environments import PEERS, Peer, peer_folder
from benchmarks.results import read_results, refreshed, write_results
from benchmarks.serving import BARE_1, BARE_MOST, BARE_N, Services, goals, measure_serving, most_of_bare
from sameface.launcher import Service
from sameface.settings import Settings


def summary(per_s: float) -> dict[str, Any]:
    return {"calls": 9, "per_s": per_s, "median_ms": 1e3 / per_s, "p95_ms": 1.0, "p99_ms": 1.0, "cpu_ms": {"a": 1.0}}


async def test_a_running_service_is_measured_and_shown(service: Service, portraits: Path, tmp_path: Path) -> None:
    steps: list[str] = []
    results = {
        "serving": {
            "conditions": conditions(),
            "figures": await measure_serving(Services(service), portraits, (1, 0.05), steps.append, with_peers=False),
        },
        "operations": {
            "conditions": conditions(),
            "figures": await measure_operations(service, portraits, (1, 0.05), steps.append, (1, 2), ("250×250",)),
        },
    }
    write_results(tmp_path, results)
    assert read_results(tmp_path) == results
    loads = results["operations"]["figures"]["loads"]
    assert set(loads) == {f"{kind}, 250×250, {count}" for kind in ("verify", "identify", "enrol") for count in (1, 2)}
    assert all(one["calls"] > 0 and one["median_ms"] > 0 for rounds in loads.values() for one in rounds)
    page = (tmp_path / "index.html").read_text()
    assert page.count("<svg") == 5
    assert "verify, 16 callers ÷ the most of the bare models" in page
    assert any("verify over gRPC, 16 at a time" in step for step in steps)
    told = refreshed("a\n<!-- figures: serving -->\nold\n<!-- end of figures -->\nb", results)
    assert told.startswith("a\n<!-- figures: serving -->\n")
    assert told.endswith("<!-- end of figures -->\nb")
    assert "old" not in told
    assert "| verify in process ÷ bare models, one thread each |" in told
    # A second time nothing changes, and what was not measured stays.
    assert refreshed(told, results) == told
    assert "old" in refreshed("<!-- figures: start -->\nold\n<!-- end of figures -->", results)


async def test_every_version_in_every_runtime_is_measured() -> None:
    figures = await measure_embedders((1, 0.02), lambda step: None)
    folders = Settings().model_repository.glob("face_embedder*/*/card.json")
    assert {f"{card.parts[-3]} version {card.parts[-2]}" for card in folders} == {*figures["loads"], *figures["absent"]}
    assert {name.partition(" ")[0] for name in figures["loads"]} == {"face_embedder", "face_embedder_openvino"}


def test_ratios_are_of_the_same_round() -> None:
    # The machine is slower in the second round. That changes neither ratio.
    found = ratio([10.0, 5.0, 12.0], [5.0, 2.5, 6.0])
    assert (found.median, found.low, found.high) == (2.0, 2.0, 2.0)
    spread = ratio([1.0, 2.0, 3.0], [1.0, 1.0, 1.0])
    assert (spread.low, spread.median, spread.high) == (1.0, 2.0, 3.0)
    assert difference([3.0, 5.0], [1.0, 3.0]).median == 2.0
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.0
    assert percentile([1.0], 0.99) == 1.0


def test_the_most_of_the_bare_models_is_the_faster_way_of_each_round() -> None:
    loads = {BARE_N: [summary(50), summary(70)], BARE_MOST: [summary(60), summary(60)], BARE_1: [summary(30)] * 2}
    assert most_of_bare(loads) == [60, 70]


async def test_every_contender_works_once_in_each_round() -> None:
    order: list[str] = []

    def contender(name: str) -> Any:
        async def turn(seconds: float) -> Load:
            order.append(name)
            await asyncio.sleep(0)
            return Load(1.0, (1.0,), {"a": 0.001})

        return turn

    found = await in_turns({name: contender(name) for name in "abc"}, 4, 0.01, lambda step: None)
    assert {name: len(rounds) for name, rounds in found.items()} == {"a": 4, "b": 4, "c": 4}
    rounds = ["".join(order[start : start + 3]) for start in range(0, 15, 3)]
    assert {"".join(sorted(one)) for one in rounds} == {"abc"}
    assert len(set(rounds)) > 1


def test_conditions_name_the_machine(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx2 sse\n\nprocessor\t: 1\n")
    assert processor_of(cpuinfo) == ("Some CPU", frozenset({"fpu", "avx2", "sse"}))
    assert processor_of(tmp_path / "none") == ("", frozenset())
    found = json.loads(json.dumps(conditions()))
    assert found["cores"] >= 1
    assert not math.isnan(found["load_average"])


@pytest.mark.parametrize(("per_s", "met"), [(92.0, True), (91.0, False)])
def test_goals_are_judged_by_the_median(per_s: float, met: bool) -> None:
    names = ("verify in process, one thread", "verify in process, all threads", "verify over gRPC, 1 at a time")
    loads = {name: [summary(10)] for name in (BARE_1, BARE_N, *names)}
    loads |= {BARE_MOST: [summary(100)], "verify over gRPC, 16 at a time": [summary(per_s)]}
    (goal,) = [one for one in goals(loads) if one.name == "verify, 16 callers ÷ the most of the bare models"]
    assert (goal.wanted, goal.met) == ("≥ 0.92", met)


def test_a_peer_that_is_not_installed_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMEFACE_CACHE_DIR", str(tmp_path))
    peers.main([])
    printed = capsys.readouterr().out.splitlines()
    assert printed == [f"{peer.title}: not installed" for peer in PEERS]


def test_a_peer_that_ends_is_told_and_leaves_no_process(tmp_path: Path) -> None:
    peer = Peer("ends", "a peer that ends", ("opencv",))
    python = peer_folder(peer, tmp_path) / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(shutil.which("false") or "/bin/false")
    with (
        pytest.raises(RuntimeError, match="ended with 1"),
        peer_processes(peer, tmp_path, (tmp_path / "a", tmp_path / "b"), each_core=True),
    ):
        pass
