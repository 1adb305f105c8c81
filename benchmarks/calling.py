"""Calls a service as many callers do: a child process with its own connections, so that one client is not the limit.

Open: calls begin at random times (a Poisson process) at a rate, whatever happened to earlier ones. Closed: some
callers, each of which calls again once it has an answer. A plan comes as JSON on stdin, the result goes to stdout.
"""

import asyncio
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from google.rpc import code_pb2

from benchmarks.lean_client import Connection
from sameface.event_loop import loop_factory

START_S = 60.0
"""Most seconds that the processes take to begin."""
PATIENCE_S = 5.0
"""So long after its deadline a call is given up."""
OK, BUSY = code_pb2.OK, code_pb2.RESOURCE_EXHAUSTED
_NAMES: dict[int, str] = {number: name for name, number in code_pb2.Code.items()}


@dataclass(frozen=True, slots=True)
class Plan:
    """What one process does."""

    address: str
    path: str
    """Name of the rpc in gRPC, such as /sameface.v1.FaceService/VerifyFace."""
    request: str
    """File with the serialised request."""
    seconds: float
    rate: float = 0.0
    """Open: calls per second."""
    callers: int = 0
    """Closed: callers at a time."""
    connections: int = 4
    deadline_s: float = 30.0
    patient: bool = False
    """Closed: a caller that is refused waits as RetryInfo says."""
    seed: int = 0


@dataclass(slots=True)
class Calls:
    """What became of the calls. Latencies of an open plan count from when a call was due."""

    answered_ms: list[float] = field(default_factory=list)
    """Latency of each call that was answered."""
    answered_in_time: int = 0
    """Those that were answered before the seconds of the plan had passed."""
    refused_ms: list[float] = field(default_factory=list)
    """Latency of each refusal (RESOURCE_EXHAUSTED)."""
    others: dict[str, int] = field(default_factory=dict)
    """Calls that ended in another way, by status code."""
    late_ms: float = 0.0
    """Open: how late the latest call began, which shows whether the client was the limit."""
    processor_s: float = 0.0

    def add(self, other: "Calls") -> None:
        """Add the calls of another process."""
        self.answered_ms += other.answered_ms
        self.answered_in_time += other.answered_in_time
        self.refused_ms += other.refused_ms
        self.others = dict(Counter(self.others) + Counter(other.others))
        self.late_ms = max(self.late_ms, other.late_ms)
        self.processor_s += other.processor_s


def call_from_processes(plans: Sequence[Plan]) -> Calls:
    """Run each plan in a process of its own, all at the same time."""
    processes = [
        subprocess.Popen([sys.executable, "-m", "benchmarks.calling"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in plans
    ]
    try:
        for process, plan in zip(processes, plans, strict=True):
            assert process.stdin is not None
            process.stdin.write(json.dumps(asdict(plan)).encode() + b"\n")
            process.stdin.flush()
        for process in processes:
            assert process.stdout is not None
            if process.stdout.readline() != b"ready\n":
                raise RuntimeError("a process that calls the service did not start; its error is above")
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
            process.stdin.flush()
        total = Calls()
        for process, plan in zip(processes, plans, strict=True):
            output, _ = process.communicate(timeout=plan.seconds + plan.deadline_s + START_S)
            total.add(Calls(**json.loads(output)))
        return total
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()


async def carry_out(plan: Plan, request: bytes, begin: Callable[[], None]) -> Calls:
    """Make the calls of a plan. ``begin`` is called when the connections stand, just before the first call."""
    connections = [
        await Connection.open(plan.address, plan.path, request, plan.deadline_s, pauses=plan.patient)
        for _ in range(max(1, plan.connections))
    ]
    try:
        await asyncio.to_thread(begin)
        calling, processor = _Calling(plan, connections), time.process_time()
        await calling.all()
        calling.calls.processor_s = time.process_time() - processor
    finally:
        for connection in connections:
            connection.close()
    return calling.calls


class _Calling:
    """The calls of a plan while they are made. Functions that are called back, because tasks take longer."""

    def __init__(self, plan: Plan, connections: Sequence[Connection]) -> None:
        self.calls = Calls()
        self._plan, self._connections = plan, connections
        self._loop = asyncio.get_running_loop()
        self._rng = random.Random(plan.seed)  # arrivals, no secret
        self._due = self._loop.time()
        self._ends = self._due + plan.seconds
        self._number = self._open = 0
        self._more = True
        self._over = asyncio.Event()

    async def all(self) -> None:
        """Return when every call has ended. A deadline that the service does not keep ends them too."""
        if self._plan.rate:
            self._due += self._rng.expovariate(self._plan.rate)
            self._begin_due()
        else:
            for number in range(self._plan.callers):
                self._repeat(number)
            self._loop.call_at(self._ends, self._begin_no_more)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), self._plan.seconds + self._plan.deadline_s + PATIENCE_S)
        self._count("DEADLINE_EXCEEDED", self._open)

    def _begin_due(self) -> None:
        """Open: begin every call that is due, and come back for the next one."""
        while (due := self._due) < min(self._ends, now := self._loop.time()):
            self._due += self._rng.expovariate(self._plan.rate)
            self.calls.late_ms = max(self.calls.late_ms, (now - due) * 1e3)
            self._begin(self._number, due, None)
            self._number += 1
        if self._due < self._ends:
            self._loop.call_at(self._due, self._begin_due)
        else:
            self._begin_no_more()

    def _repeat(self, number: int) -> None:
        """Closed: begin the next call of a caller."""
        if (now := self._loop.time()) < self._ends:
            self._begin(number, now, number)

    def _begin(self, number: int, due: float, caller: int | None) -> None:
        self._open += 1
        self._connections[number % len(self._connections)].call(partial(self._ended, due, caller))

    def _ended(self, due: float, caller: int | None, code: int, pause_s: float) -> None:
        self._open -= 1
        now = self._loop.time()
        if code == OK:
            self.calls.answered_ms.append((now - due) * 1e3)
            self.calls.answered_in_time += now <= self._ends
        elif code == BUSY:
            self.calls.refused_ms.append((now - due) * 1e3)
        else:
            self._count(_NAMES.get(code, str(code)), 1)
        if caller is not None and now < self._ends:
            # Not at once: a connection that is lost would end the next call before this one has returned.
            self._loop.call_later(pause_s, self._repeat, caller)
        self._look_whether_over()

    def _begin_no_more(self) -> None:
        self._more = False
        self._look_whether_over()

    def _look_whether_over(self) -> None:
        if not self._open and not self._more:
            self._over.set()

    def _count(self, name: str, calls: int) -> None:
        if calls:
            self.calls.others[name] = self.calls.others.get(name, 0) + calls


def _main() -> None:
    plan = Plan(**json.loads(sys.stdin.readline()))

    def begin() -> None:
        print("ready", flush=True)
        sys.stdin.readline()

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        json.dump(asdict(runner.run(carry_out(plan, Path(plan.request).read_bytes(), begin))), sys.stdout)


if __name__ == "__main__":
    _main()
