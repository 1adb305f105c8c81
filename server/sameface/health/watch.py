"""Probes the parts of a running service, each in a task of its own.

A probe returns if calls would be answered, and raises what they would get otherwise. A probe that hangs counts as a
failure again and again, and no second one is begun meanwhile.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from sameface.health.judging import Judgement, judged
from sameface.health.parts import PartHealth
from sameface_qdrant.errors import SamefaceError

log = logging.getLogger(__name__)

Probe = Callable[[], Awaitable[None]]
AGAIN_S = 0.5
"""Seconds between probes of a part that has just failed, or does not serve."""
HANGS = "NO_ANSWER"
"""The reason of a probe that takes too long."""
UNKNOWN = "INTERNAL"
END_S = 1.0
"""Seconds that probes may take to end."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A part, and how it is probed."""

    name: str
    probe: Probe
    every_s: float
    timeout_s: float
    failures_needed: int = 2


class PartsWatch:
    """The health of all parts of a service."""

    def __init__(self) -> None:
        self._judgements: dict[str, Judgement] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def health(self) -> Mapping[str, PartHealth]:
        """Return the health of every watched part, by its name."""
        return {name: judgement.health for name, judgement in self._judgements.items()}

    def add(self, watched: Watched) -> None:
        """Start to probe a part, which serves at the moment."""
        self._judgements[watched.name] = Judgement(PartHealth(True, time.time()))
        self._tasks.add(asyncio.create_task(self._watch(watched), name=f"health of {watched.name}"))

    def follow(self, name: str) -> Callable[[bool, str], Awaitable[None]]:
        """Return a function for a part that tells by itself whether it serves, and why not."""
        self._judgements[name] = Judgement(PartHealth(True, time.time()))

        async def told(serving: bool, reason: str) -> None:
            self._set(name, Judgement(PartHealth(serving, time.time(), "" if serving else reason)))

        return told

    async def aclose(self) -> None:
        """Stop probing."""
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=END_S)

    async def _watch(self, watched: Watched) -> None:
        running: asyncio.Task[None] | None = None
        try:
            while True:
                troubled = self._judgements[watched.name].failures or not self._judgements[watched.name].health.serving
                await asyncio.sleep(min(AGAIN_S, watched.every_s) if troubled else watched.every_s)
                running = running or asyncio.ensure_future(_run(watched.probe))
                done, _ = await asyncio.wait([running], timeout=watched.timeout_s)
                ended, running = (running, None) if done else (None, running)
                try:
                    self._judge(watched, ended)
                except Exception:
                    # The watch of a part must not end, whatever the error is.
                    log.exception("%s: a probe could not be judged; it is probed again", watched.name)
        finally:
            if running is not None:
                running.cancel()

    def _judge(self, watched: Watched, probe: asyncio.Task[None] | None) -> None:
        """Take a probe that has ended; None for one that hangs."""
        reason, message = HANGS, f"no answer within {watched.timeout_s:g} s"
        if probe is not None:
            reason, message = _failure_of(probe)
        before = self._judgements[watched.name]
        now, at = time.monotonic(), time.time()
        after = judged(before, reason, now=now, at=at, failures_needed=watched.failures_needed)
        self._set(watched.name, after, message)

    def _set(self, name: str, judgement: Judgement, message: str = "") -> None:
        before, self._judgements[name] = self._judgements[name].health, judgement
        after = judgement.health
        if after.serving and not before.serving:
            log.warning("%s: serves again after %.1f s", name, after.since - before.since)
        elif before.serving and not after.serving:
            log.error("%s: does not serve (%s)%s", name, after.reason, message and f": {message}")


async def _run(probe: Probe) -> None:
    await probe()


def _failure_of(probe: asyncio.Task[None]) -> tuple[str, str]:
    """Return the reason and the message of what a probe raised; empty without."""
    if probe.cancelled():
        return UNKNOWN, "the probe was cancelled"
    error = probe.exception()
    if error is None:
        return "", ""
    if isinstance(error, SamefaceError):
        return error.reason, error.message
    return UNKNOWN, repr(error)
