"""Every fault of the table: what is done to which part, and how it is undone."""

import os
import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from benchmarks.load import processes_of
from tests.faults.network import Disk, Network, why_no_disk, why_no_network
from tests.faults.parts import Program
from tests.faults.stacks import CLOCK, EMBEDDED, QDRANT, TRITON, Stack, set_clock, why_not

Act = Callable[[Stack, random.Random], Awaitable[None]]
Held = TypeVar("Held", Network, Disk)
ITSELF = "until the service mends it"
HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the table."""

    stack: str
    part: str
    name: str
    happen: Act
    undo: Act | None = None
    lasts_s: float = 0.0
    needs: Callable[[], str] = lambda: ""
    """Why it cannot be run here; empty if it can."""

    @property
    def key(self) -> tuple[str, str]:
        """What names the row."""
        return self.part, self.name

    @property
    def lasts(self) -> str:
        """For the table."""
        if self.undo is None:
            return ITSELF
        return f"{self.lasts_s:g} s" if self.lasts_s else "restarted at once"

    def why_not(self) -> str:
        """Why it cannot be run here; empty if it can."""
        return why_not(self.stack) or self.needs()


def _program(stack: Stack, part: str) -> Program:
    found = {"service": stack.service.program, "triton": stack.triton, "qdrant": stack.qdrant}[part]
    assert found is not None
    return found


def _sends(part: str, number: signal.Signals) -> Act:
    async def act(stack: Stack, draw: random.Random) -> None:
        _program(stack, part).send(number)

    return act


def _kills(part: str) -> Act:
    async def act(stack: Stack, draw: random.Random) -> None:
        _program(stack, part).kill()

    return act


def _stops(part: str) -> Act:
    async def act(stack: Stack, draw: random.Random) -> None:
        await _program(stack, part).stop()

    return act


def _starts(part: str) -> Act:
    async def act(stack: Stack, draw: random.Random) -> None:
        if part == "triton":
            await stack.restart_triton()
        elif part == "qdrant":
            _program(stack, part).launch()
        else:
            await stack.service.start()

    return act


def _inside(role: str, number: signal.Signals) -> Act:
    """Send a signal to a process that the service, or the Triton elsewhere, has started."""

    async def act(stack: Stack, draw: random.Random) -> None:
        owner = stack.triton or stack.service.program
        roles = processes_of(owner.pid)
        chosen = draw.choice(("face_embedder", "face_detector")) if role == "model" else role
        os.kill(draw.choice(roles[chosen]), number)

    return act


def _calls(held: Callable[[Stack], Held | None], call: Callable[[Held], None]) -> Act:
    """Do something to the network or the disk that a stack has to itself."""

    async def act(stack: Stack, draw: random.Random) -> None:
        found = held(stack)
        assert found is not None
        call(found)

    return act


def _steps(seconds: int) -> Act:
    async def act(stack: Stack, draw: random.Random) -> None:
        set_clock(stack.folder, seconds)

    return act


KILL, STOP, CONT = signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT
CUT, JOIN = (_calls(lambda stack: stack.network, call) for call in (Network.cut, Network.join))
FILL, FREE = (_calls(lambda stack: stack.disk, call) for call in (Disk.fill, Disk.free))
FILL_AUDIT, FREE_AUDIT = (_calls(lambda stack: stack.audit, call) for call in (Disk.fill, Disk.free))
FAULTS = (
    Fault(EMBEDDED, "service", "killed", _kills("service"), _starts("service")),
    Fault(EMBEDDED, "service", "stopped (SIGTERM)", _stops("service"), _starts("service")),
    Fault(EMBEDDED, "service", "paused", _sends("service", STOP), _sends("service", CONT), 6.0),
    Fault(EMBEDDED, "service", "cut off", CUT, JOIN, 8.0, why_no_network),
    Fault(EMBEDDED, "service", "disk of the store full", FILL, FREE, 6.0, why_no_disk),
    Fault(EMBEDDED, "service", "disk of the audit log full", FILL_AUDIT, FREE_AUDIT, 6.0, why_no_disk),
    Fault(EMBEDDED, "local Triton", "server killed", _inside("tritonserver", KILL)),
    Fault(EMBEDDED, "local Triton", "server paused", _inside("tritonserver", STOP)),
    Fault(EMBEDDED, "local Triton", "model process killed", _inside("model", KILL)),
    Fault(EMBEDDED, "local Triton", "model process hangs", _inside("model", STOP)),
    Fault(EMBEDDED, "Envoy", "killed", _inside("envoy", KILL)),
    Fault(EMBEDDED, "Envoy", "paused", _inside("envoy", STOP), _inside("envoy", CONT), 6.0),
    Fault(TRITON, "Triton elsewhere", "killed", _kills("triton"), _starts("triton"), 6.0),
    Fault(TRITON, "Triton elsewhere", "stopped (SIGTERM)", _stops("triton"), _starts("triton"), 6.0),
    Fault(TRITON, "Triton elsewhere", "paused", _inside("tritonserver", STOP), _inside("tritonserver", CONT), 4.0),
    Fault(TRITON, "Triton elsewhere", "cut off", CUT, JOIN, 8.0, why_no_network),
    Fault(TRITON, "Triton elsewhere", "model process killed", _inside("model", KILL)),
    Fault(TRITON, "Triton elsewhere", "model process hangs", _inside("model", STOP)),
    Fault(QDRANT, "Qdrant server", "killed", _kills("qdrant"), _starts("qdrant"), 6.0),
    Fault(QDRANT, "Qdrant server", "restarted (SIGTERM)", _stops("qdrant"), _starts("qdrant")),
    Fault(QDRANT, "Qdrant server", "paused", _sends("qdrant", STOP), _sends("qdrant", CONT), 8.0),
    Fault(QDRANT, "Qdrant server", "cut off", CUT, JOIN, 8.0, why_no_network),
    Fault(QDRANT, "Qdrant server", "disk full", FILL, FREE, 6.0, why_no_disk),
    Fault(CLOCK, "clock of the service", "one hour ahead", _steps(HOUR_S), _steps(0), 6.0),
    Fault(CLOCK, "clock of the service", "one hour back", _steps(-HOUR_S), _steps(0), 6.0),
)
