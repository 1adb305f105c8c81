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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

START_S = 60.0
"""Most seconds that the processes take to begin."""
OWN_CONNECTION = ("grpc.use_local_subchannel_pool", 1)


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
    calls = Calls()
    channels = [
        grpc.aio.insecure_channel(plan.address, options=[OWN_CONNECTION]) for _ in range(max(1, plan.connections))
    ]
    try:
        for channel in channels:
            await channel.channel_ready()
        await asyncio.to_thread(begin)
        rpcs: list[Any] = [channel.unary_unary(plan.path) for channel in channels]
        processor = time.process_time()
        if plan.rate:
            await _open(plan, calls, rpcs, request)
        else:
            await _closed(plan, calls, rpcs, request)
        calls.processor_s = time.process_time() - processor
    finally:
        for channel in channels:
            await channel.close(None)
    return calls


async def _open(plan: Plan, calls: Calls, rpcs: Sequence[Any], request: bytes) -> None:
    rng, began = random.Random(plan.seed), time.perf_counter()  # arrivals, no secret
    ends, due, running = began + plan.seconds, began, set[asyncio.Task[float]]()
    number = 0
    while (due := due + rng.expovariate(plan.rate)) < ends:
        if (pause := due - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        calls.late_ms = max(calls.late_ms, (time.perf_counter() - due) * 1e3)
        task = asyncio.create_task(_call(plan, calls, rpcs[number % len(rpcs)], request, due, ends))
        number += 1
        running.add(task)
        task.add_done_callback(running.discard)
    if running:
        await asyncio.wait(running)


async def _closed(plan: Plan, calls: Calls, rpcs: Sequence[Any], request: bytes) -> None:
    ends = time.perf_counter() + plan.seconds

    async def caller(number: int) -> None:
        while (now := time.perf_counter()) < ends:
            pause = await _call(plan, calls, rpcs[number % len(rpcs)], request, now, ends)
            if plan.patient and pause:
                await asyncio.sleep(min(pause, max(0.0, ends - time.perf_counter())))

    await asyncio.gather(*(caller(number) for number in range(plan.callers)))


async def _call(plan: Plan, calls: Calls, rpc: Any, request: bytes, due: float, ends: float) -> float:
    """Make one call. Return after how many seconds the service says to repeat it."""
    try:
        await rpc(request, timeout=plan.deadline_s)
    except grpc.aio.AioRpcError as error:
        took_ms = (time.perf_counter() - due) * 1e3
        if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            name = error.code().name
            calls.others[name] = calls.others.get(name, 0) + 1
            return 0.0
        calls.refused_ms.append(took_ms)
        return _retry_s(error) if plan.patient else 0.0
    now = time.perf_counter()
    calls.answered_ms.append((now - due) * 1e3)
    calls.answered_in_time += now <= ends
    return 0.0


def _retry_s(error: grpc.aio.AioRpcError) -> float:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # it reads trailing metadata alone
    retry = error_details_pb2.RetryInfo()
    for detail in status.details if status is not None else ():
        if detail.Unpack(retry):
            return float(retry.retry_delay.ToNanoseconds()) / 1e9
    return 0.0


def _main() -> None:
    plan = Plan(**json.loads(sys.stdin.readline()))

    def begin() -> None:
        print("ready", flush=True)
        sys.stdin.readline()

    json.dump(asdict(asyncio.run(carry_out(plan, Path(plan.request).read_bytes(), begin))), sys.stdout)


if __name__ == "__main__":
    _main()
