"""Replaces every part of a running system in turn by another release, under load."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.faults.callers import RATES, Load
from tests.faults.parts import Program, ServiceProgram, free_port, socket_of, triton_program
from tests.faults.stacks import qdrant_program
from tests.relay import Relay
from tests.upgrade.release import Release
from tests.upgrade.report import Begun, Step, steps_of

SETTLE_S = 5.0
"""Between two replacements; as long as an orchestrator waits at least."""
SUSTAINED_S, SUSTAINED_CALLERS = 15.0, 16
PORTRAITS = Path("tests/data/portraits")
Replacement = tuple[str, Callable[[], Awaitable[None]]]
"""The part, and what replaces it."""


@dataclass(slots=True)
class Pair:
    """Two services on two Tritons and one Qdrant server."""

    services: list[ServiceProgram]
    tritons: list[Program]
    forwards: list[Relay]
    folder: Path
    flags: list[str]

    async def replace_triton(self, number: int, release: Release) -> None:
        """Stop one, and start that of another release in its place."""
        await self.tritons[number].stop()
        self.tritons[number] = triton_program(self.folder / f"triton-{number}", release.python)
        self.forwards[number].target = socket_of(await self.tritons[number].start())

    async def replace_service(self, number: int, release: Release) -> None:
        """Stop one, and start that of another release at its address."""
        old = self.services[number]
        await old.program.stop()
        old.program.command = [release.python, *old.program.command[1:]]
        await old.start()

    @property
    def address(self) -> str:
        """Both services, for a client that spreads its calls."""
        return "ipv4:" + ",".join(one.address for one in self.services)


def store_told() -> str:
    """Which store the two services share."""
    if os.environ.get("QDRANT_URL"):
        return "a Qdrant server that ran already"
    return "a Qdrant server" if os.environ.get("QDRANT_BIN") else "a stand-in of a Qdrant server, in memory"


async def rolling(
    before: Release, after: Release, folder: Path, seed: int, progress: Callable[[str], None]
) -> tuple[dict[str, float], list[Step], list[str]]:
    """Replace both Tritons and both services in turn. Return the load, what each step did, and broken promises."""
    async with pair(before, folder) as running:
        progress("both releases together: what they sustain")
        await running.replace_service(1, after)
        load = Load(running.address, PORTRAITS, seed)
        await load.prepare()
        sustained = await load.most(SUSTAINED_CALLERS, SUSTAINED_S)
        await running.replace_service(1, before)
        load.rates = scaled(sustained / 2)
        replacements: list[Replacement] = [
            *((f"Triton {number + 1}", partial(running.replace_triton, number, after)) for number in range(2)),
            *((f"service {number + 1}", partial(running.replace_service, number, after)) for number in range(2)),
        ]
        steps, broken = await replaced(load, replacements, progress)
        return {"sustained": sustained, "offered": sustained / 2}, steps, broken


async def on_edge(
    before: Release, after: Release, folder: Path, seed: int, progress: Callable[[str], None]
) -> tuple[float, Step, list[str]]:
    """Replace a service that has its templates in Qdrant Edge. Return the load, what was seen, and broken promises."""
    service = ServiceProgram.prepared(folder, ["--data-dir", str(folder / "data")], python=before.python)
    await service.start()
    try:
        load = Load(service.address, PORTRAITS, seed)
        await load.prepare()
        load.rates = scaled(await load.most(SUSTAINED_CALLERS, SUSTAINED_S) / 2)

        async def replace() -> None:
            await service.program.stop()
            service.program.command = [after.python, *service.program.command[1:]]
            await service.start()

        (step,), broken = await replaced(load, [("service on Qdrant Edge", replace)], progress)
        return sum(load.rates.values()), step, broken
    finally:
        await service.program.stop()


async def replaced(
    load: Load, replacements: Sequence[Replacement], progress: Callable[[str], None], settle_s: float = SETTLE_S
) -> tuple[list[Step], list[str]]:
    """Make replacements one after the other under load. Return what each did to the calls, and broken promises.

    Every call is waited for, and counts for the replacement after which it ended, the last one too. ``settle_s``
    seconds pass before each replacement and after the last one.
    """
    load.attempts.clear()
    load.failures.clear()
    load.calls = 0
    begun: list[Begun] = []
    load.start()
    try:
        await asyncio.sleep(settle_s)
        for part, replace in replacements:
            progress(f"replacing {part}")
            calls, attempts, failed, began = load.calls, len(load.attempts), len(load.failures), time.monotonic()
            await replace()
            begun.append(Begun(part, time.monotonic() - began, calls, attempts, failed))
            await asyncio.sleep(settle_s)
    finally:
        await load.stop()
    await load.check()
    await load.aclose()
    early = [f"failed before the first replacement: {one}" for one in load.failures[: begun[0].failed]]
    broken = [*early, *(f"{one.kind}: {one.what}" for one in load.violations)]
    return steps_of(begun, load.calls, load.attempts, load.failures), broken


def scaled(calls_per_s: float) -> dict[str, float]:
    """The rates of every kind that are so many calls together."""
    whole = sum(RATES.values())
    return {kind: rate * calls_per_s / whole for kind, rate in RATES.items()}


@asynccontextmanager
async def pair(release: Release, folder: Path) -> AsyncIterator[Pair]:
    """Start the parts, all of one release."""
    async with AsyncExitStack() as things:
        url = os.environ.get("QDRANT_URL") or await _qdrant(folder, things)
        tritons, forwards = [], []
        for number in range(2):
            triton = triton_program(folder / f"triton-{number}", release.python)
            tritons.append(triton)
            forwards.append(await Relay(socket_of(await triton.start())).start())
            things.push_async_callback(forwards[-1].stop)
        ports = ",".join(f"127.0.0.1:{one.port}" for one in forwards)
        flags = ["--qdrant-url", url, "--triton-url", f"ipv4:{ports}"]
        variables: Mapping[str, str] = {"SAMEFACE_QDRANT__COLLECTION_PREFIX": f"upgrade-{os.getpid()}-"}
        services = [
            ServiceProgram.prepared(
                folder / f"service-{number}",
                [*flags, "--data-dir", str(folder / f"service-{number}" / "data")],
                python=release.python,
                environment=variables,
            )
            for number in range(2)
        ]
        running = Pair(services, tritons, forwards, folder, flags)
        try:
            for service in services:
                await service.start()
            yield running
        finally:
            for program in [*(one.program for one in services), *running.tritons]:
                await program.stop()


async def _qdrant(folder: Path, things: AsyncExitStack) -> str:
    (folder / "qdrant").mkdir(parents=True)
    if not os.environ.get("QDRANT_BIN"):
        port = free_port()
        program = Program([sys.executable, "-m", "tests.upgrade.stand_in", str(port)], folder / "stand-in.log")
        things.push_async_callback(program.stop)
        await program.start()
        return f"http://127.0.0.1:{port}"
    program = qdrant_program(folder / "qdrant", "127.0.0.1", [])
    program.launch()
    things.push_async_callback(program.stop)
    return f"http://127.0.0.1:{program.environment['QDRANT__SERVICE__GRPC_PORT']}"
