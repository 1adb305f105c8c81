"""What a rolling upgrade did is counted from its attempts and told in a table."""

import json
from pathlib import Path

import pytest

from tests.faults.attempts import OK, Attempt, Road
from tests.faults.test_table import CONDITIONS
from tests.upgrade.release import built
from tests.upgrade.report import Begun, as_json, markdown, step_of, steps_of, written
from tests.upgrade.run import scaled

AWAY = "UNAVAILABLE"


def test_a_step_counts_repeats_and_the_time_of_failures() -> None:
    attempts = [
        Attempt(Road.STORE, 1.0, 1.5, OK),
        Attempt(Road.STORE, 2.0, 2.1, AWAY),
        Attempt(Road.PHOTO, 3.0, 5.0, AWAY),
        Attempt(Road.PHOTO, 5.1, 5.2, OK),
    ]
    step = step_of("service 1", 4.04, 3, attempts, ["UNAVAILABLE"])
    assert (step.away_s, step.calls, step.repeated, step.failed) == (4.0, 3, {AWAY: 2}, ("UNAVAILABLE",))
    assert (step.longest_s, step.refused_s) == (2.0, 3.0)


def test_every_attempt_after_the_first_replacement_began_is_in_one_step() -> None:
    attempts = [Attempt(Road.STORE, at, at + 0.5, AWAY if at == 3 else OK) for at in range(6)]
    begun = [Begun("Triton 1", 1.0, 2, 1, 0), Begun("service 1", 2.0, 4, 3, 1)]
    failed = ["UNAVAILABLE", "INTERNAL", "CANCELLED"]
    assert steps_of(begun, 9, attempts, failed) == [
        step_of("Triton 1", 1.0, 2, attempts[1:3], failed[:1]),
        step_of("service 1", 2.0, 5, attempts[3:], failed[1:]),
    ]


def test_the_table_tells_how_many_calls_failed() -> None:
    well, ill = step_of("Triton 1", 3, 40, [], []), step_of("service 1", 4, 60, [], ["UNAVAILABLE", "INTERNAL"])
    load = {"sustained": 20.0, "offered": 10.0, "edge": 8.0}
    kept = json.loads(json.dumps(as_json(CONDITIONS, ("v1", "v2"), "a store", load, [well, ill], well, [])))
    text = markdown(kept)
    assert "sustained 20 calls a second; 10 were made. **2 of 100 calls failed.**" in text
    assert "| Triton 1 | 3.0 s | 40 | none | 0 | 0.0 s |" in text
    assert "| service 1 | 4.0 s | 60 | none | 2: 1 INTERNAL; 1 UNAVAILABLE | 0.0 s |" in text
    assert "Afterwards everything that was acknowledged was there" in text
    assert "**Promises were broken: lost: p1.**" in markdown(kept | {"broken": ["lost: p1"]})
    document = "<!-- upgrade -->\nold\n<!-- end of upgrade -->\n"
    assert written(written(document, kept), kept) == written(document, kept)


def test_a_revision_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no-such-release"):
        built("no-such-release", tmp_path)
    assert not list(tmp_path.iterdir())


def test_scaled_rates_keep_the_mix() -> None:
    rates = scaled(34.0)
    assert sum(rates.values()) == 34.0
    assert rates["verify"] == 4 * rates["enrol"]


def test_the_document_holds_the_tables_of_the_figures() -> None:
    kept = json.loads(Path("docs/upgrade.json").read_text())
    document = Path("docs/faults.md").read_text()
    assert written(document, kept) == document, "write it again with `make upgrade`"
