"""The table of faults is written from the figures of a run, and the document is what those figures say."""

import json
import re
from pathlib import Path

from tests.faults.attempts import OK, Attempt, Road
from tests.faults.faults import FAULTS
from tests.faults.network import REASONS
from tests.faults.run import row_of
from tests.faults.stacks import NO_FAKETIME, NO_QDRANT
from tests.faults.table import Row, as_json, markdown, merged, rows_of, written

CONDITIONS = {
    "seed": 7,
    "date": "2026-11-24 10:00 UTC",
    "processor": "a processor",
    "cores": 2,
    "memory_gib": 8.0,
    "system": "Linux 6",
    "python": "3.11.7",
    "versions": {"sameface": "0.1.0"},
    "load_average": 0.1,
}
WELL = Row(
    "Envoy",
    "killed",
    "1 s",
    {"photo": {OK: 3}, "store": {OK: 4, "UNAVAILABLE": 1}},
    "SERVING",
    0.2,
    0.4,
    measured="then",
)
BROKEN = Row("service", "killed", "1 s", {}, "no answer 0.0 to 1.0 s", 2.0, 0.0, ("lost: p1 lacks ['p1']",))
LEFT_OUT = Row("service", "cut off", not_run="a network namespace needs Linux and root")


def test_rows_come_back_as_they_were_kept() -> None:
    kept = json.loads(json.dumps(as_json(CONDITIONS, [WELL, BROKEN, LEFT_OUT])))
    assert rows_of(kept) == [WELL, BROKEN, LEFT_OUT]


def test_the_table_tells_what_was_broken_and_what_was_not_run() -> None:
    text = markdown(as_json(CONDITIONS, [WELL, BROKEN, LEFT_OUT]))
    assert "| Envoy | killed | 1 s | 3 OK | 4 OK; 1 UNAVAILABLE | SERVING | 0.2 s | 0.4 s | yes | then |" in text
    assert "| **no**: lost: p1 lacks ['p1'] |" in text
    assert "| service | cut off | a network namespace needs Linux and root |" in text
    assert "Seed 7; 2026-11-24 10:00 UTC; a processor, 2 cores, 8.0 GiB" in text
    again = written("# Faults\n<!-- faults -->\nold\n<!-- end of faults -->\nmore\n", as_json(CONDITIONS, [WELL]))
    assert "old" not in again
    assert written(again, as_json(CONDITIONS, [WELL])) == again


def test_a_run_of_some_faults_keeps_the_other_rows_and_the_order() -> None:
    order = [BROKEN.key, WELL.key, LEFT_OUT.key]
    mended = Row("service", "killed", "1 s", health="SERVING")
    assert merged(order, [WELL, BROKEN, LEFT_OUT], [mended]) == [mended, WELL, LEFT_OUT]
    # What cannot be run here does not replace what was measured elsewhere.
    assert merged(order, [WELL], [Row(*WELL.key, not_run="no Envoy")]) == [WELL]
    assert merged(order, [LEFT_OUT], [Row(*LEFT_OUT.key, "8 s")]) == [Row(*LEFT_OUT.key, "8 s")]


def test_a_row_counts_what_was_open_between_the_fault_and_its_end() -> None:
    fault = FAULTS[0]
    attempts = [
        Attempt(Road.STORE, 1, 2, OK),  # before
        Attempt(Road.STORE, 9, 11, OK),
        Attempt(Road.PHOTO, 11, 14, "UNAVAILABLE"),
        Attempt(Road.PHOTO, 13, 15, "UNAVAILABLE"),
        Attempt(Road.PHOTO, 13.5, 14.5, OK),
        Attempt(Road.STORE, 18, 19, OK),  # long after
    ]
    row = row_of(fault, attempts, "SERVING", (10.0, 12.0, 20.0), [])
    assert row.answers == {"store": {OK: 1}, "photo": {"UNAVAILABLE": 2, OK: 1}}
    assert (row.back_s, row.longest_s) == (1.5, 3.0)


def test_no_fault_has_the_name_of_another_one() -> None:
    assert len({fault.key for fault in FAULTS}) == len(FAULTS)


def test_the_document_holds_the_table_of_the_figures() -> None:
    document, figures = Path("docs/faults.md").read_text(), Path("docs/faults.json").read_text()
    kept = json.loads(figures)
    assert written(document, kept) == document, "write it again with `make chaos`"
    assert {row.key for row in rows_of(kept)} == {fault.key for fault in FAULTS}


def test_a_row_that_was_not_run_says_why_and_the_others_say_when_they_were() -> None:
    reasons = (NO_QDRANT, NO_FAKETIME, *REASONS)
    # The reasons of this machine are among them.
    assert all(fault.why_not().startswith(reasons) for fault in FAULTS if fault.why_not())
    for row in rows_of(json.loads(Path("docs/faults.json").read_text())):
        if row.not_run:
            assert row.not_run.startswith(reasons), row.key
        else:
            assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC; \d+\.\d+", row.measured), row.key
