"""The benchmarks that the documentation names can be run."""

import json
import re
import sys
from pathlib import Path

import pytest

from benchmarks import gallery, guards
from benchmarks.__main__ import NAMES, main

NAMED = re.compile(r"python -m benchmarks (\w+)")


def test_every_benchmark_that_a_page_names_is_a_command() -> None:
    named = {name for page in Path("docs").glob("*.md") for name in NAMED.findall(page.read_text(encoding="utf-8"))}
    assert {"gallery", "bulk", "serving"} <= named <= set(NAMES)


def test_a_small_gallery_is_measured_and_kept_for_the_next_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["--calls", "8", "--index-from", "100", "--json", "--store", str(tmp_path / "kept")]
    gallery.main(["--templates", "120", *arguments])
    (found,) = json.loads(capsys.readouterr().out)["galleries"]
    gallery.main(["--templates", "120", *arguments, "--hnsw-ef", "50"])
    (again,) = json.loads(capsys.readouterr().out)["galleries"]
    assert again["index_s"] == found["index_s"]  # it was not made again
    assert (again["recall_enrolled"], again["recall_strangers"]) == (1.0, 1.0)
    with pytest.raises(SystemExit, match="holds a store of 120 templates"):
        gallery.main(["--templates", "200", *arguments])
    (tmp_path / "kept" / "made.json").unlink()  # as after an interruption
    with pytest.raises(SystemExit, match="a store that was not finished; remove"):
        gallery.main(["--templates", "120", *arguments])
    assert found["index_s"] > 0
    assert (found["recall_enrolled"], found["recall_strangers"]) == (1.0, 1.0)
    assert all(one["p50"] > 0 for one in found["milliseconds"].values())


def test_the_cost_of_guards_is_measured_for_each_size(capsys: pytest.CaptureFixture[str]) -> None:
    guards.main(["--stored", "0", "30", "--new", "20", "--batch", "10", "--json"])
    rows = json.loads(capsys.readouterr().out)["guards"]
    streams = ["Edge alone, in bulk", *guards.STREAMS, guards.AGAIN]
    assert [(row["stored"], row["stream"]) for row in rows] == [(size, name) for size in (0, 30) for name in streams]
    assert all(row["per_s"] > 0 for row in rows)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["gallery", "--templates", "300", "--calls", "5"], "expected 8 calls or more"),
        (["gallery", "--templates", "30", "--calls", "8"], "4 templates or more for each call"),
        (["serving", "--wrong"], "--wrong"),
        (["guards", "--new", "0"], "--new 1 or more"),
        (["restarts", "--times", "0"], "--times 1 or more"),
        (["restarts", "--only", "nobody"], "is part of none of: service"),
        (["overload", "--docs", "--wrong"], "--wrong"),
    ],
)
def test_wrong_options_are_named(
    arguments: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert told in capsys.readouterr().err
