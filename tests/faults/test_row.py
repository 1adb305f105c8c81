"""One fault of the table on a real service: the rest is run by `make chaos`."""

import time
from pathlib import Path

from sameface.launcher import Service
from tests.conftest import PORTRAITS
from tests.faults.attempts import OK, Attempt, Road
from tests.faults.callers import LATE_S, TIMEOUT_S, Load
from tests.faults.faults import FAULTS
from tests.faults.parts import Program, ServiceProgram
from tests.faults.run import run_one
from tests.faults.stacks import Stack


class Running(Program):
    """The process of a service that somebody else has started."""

    def __init__(self, pid: int) -> None:
        super().__init__((), Path())
        self._pid = pid

    @property
    def pid(self) -> int:
        return self._pid


async def test_a_killed_model_process_costs_no_promise(service: Service, tmp_path: Path) -> None:
    (fault,) = (fault for fault in FAULTS if fault.key == ("local Triton", "model process killed"))
    stack = Stack(ServiceProgram(Running(service.pid), service.address), tmp_path)
    load = Load(service.address, PORTRAITS, seed=1)
    try:
        await load.prepare()
        # One enrolment at least: those of the load come at random times.
        await load._enrol()
        before = stack.service.processes("face_embedder") + stack.service.processes("face_detector")
        row = await run_one(fault, stack, load, seed=1, settled_s=0.8)
        after = stack.service.processes("face_embedder") + stack.service.processes("face_detector")
        assert set(after) != set(before)
        assert not row.broken
        assert OK in [one.answer for one in load.attempts if one.road is Road.PHOTO]
        assert load.ledger.acknowledged["enrol"] > 0
        # Positive controls: broken promises are noticed.
        load.ledger.state["never"] = frozenset({"never"})
        await load.check()
        now = time.monotonic()
        for answer in ("INTERNAL", "UNKNOWN MODEL_UNAVAILABLE", "CANCELLED"):
            load._noted(Attempt(Road.STORE, now, now, answer))
        load._noted(Attempt(Road.STORE, now - TIMEOUT_S - LATE_S - 1, now, "DEADLINE_EXCEEDED"))
        load._noted(Attempt(Road.STORE, now, now, "UNAVAILABLE"))
        assert [one.kind for one in load.violations] == ["lost", "untyped", "untyped", "untyped", "hung"]
    finally:
        await load.aclose()
