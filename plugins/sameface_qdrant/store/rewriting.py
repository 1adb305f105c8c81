"""Rounds in which a server writes every segment of a collection again, without the removed points.

Several services share a server, so the state of a round is a record of the meta collection, and every step of it is a
compare-and-set. A round that one service began is finished by any other. A deletion is covered by a round that began
after it. So it asks how many rounds have begun, after its points are removed, and waits for the next one.
"""

import asyncio
import dataclasses
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from sameface_qdrant.engines.base import Engine, Point, SegmentRewriting, Segments, Where
from sameface_qdrant.store.clock import time_now
from sameface_qdrant.store.conditional_write import STATE, change_of, write
from sameface_qdrant.store.payloads import META
from sameface_qdrant.values.ids import point_id
from sameface_qdrant.values.schema import known_fields

REWRITING = "rewriting"
"""The kind of these records."""
SETTLE_S = 1.0
"""A server changes a collection's configuration first and its optimizers a moment later. So it must report twice, with
this pause between, that it is done."""
LATE_S = 60.0
"""A slow service may ask for a layout after the others have gone on. A round ends this long after the layout was set
back, and until then such a layout is set back too."""
REST = 4.0
"""The pause after a round, as a multiple of the time in which segments were written."""
LONGEST_S = 6 * 3600.0
"""A round that takes longer is given up, and the layout is set back. The next one begins after the pause."""
MOST = 1_000


class Phase(StrEnum):
    """What the server is doing."""

    IDLE = "IDLE"
    WRITING = "WRITING"
    RESTORING = "RESTORING"
    """Every segment was written again, and the layout is set back."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rounds:
    """The rounds of one collection."""

    collection: str
    phase: Phase = Phase.IDLE
    started: int = 0
    """Rounds that began."""
    finished: int = 0
    """The latest round after whose beginning every segment was written again."""
    layout: bool = False
    """The collection's own layout, while a round runs."""
    began: float = 0.0
    """Seconds since the epoch, as the next two."""
    turned: float = 0.0
    """When the layout was set back."""
    ended: float = 0.0
    failure: str = ""
    """Why the round is not finished."""
    refused: str = ""
    """Why the latest round could not begin."""

    def covers(self, needed: int) -> bool:
        """Return whether every segment was written since a deletion that needs this round."""
        return self.finished >= needed

    def impossible(self, needed: int) -> bool:
        """Return whether the round was refused."""
        return bool(self.refused) and self.started >= needed and self.phase is Phase.IDLE

    @property
    def rest_until(self) -> float:
        """Seconds since the epoch before which no round begins."""
        return self.ended + REST * (self.turned - self.began)


class SegmentRounds:
    """Begins rounds and takes them to their end, one step at a call."""

    def __init__(self, engine: Engine, segments: SegmentRewriting) -> None:
        self._engine, self._segments = engine, segments

    async def read(self, collection: str) -> Rounds:
        """Return the rounds of a collection."""
        return _rounds(await self._record(collection), collection)

    async def unfinished(self) -> list[str]:
        """Return the collections in which a round runs."""
        running = (Phase.WRITING.value, Phase.RESTORING.value)
        where = Where({"kind": REWRITING}, among={STATE: running})
        points, _ = await self._engine.scroll(META, where, MOST)
        return [str(point.payload["collection"]) for point in points]

    async def step(self, collection: str, wanted: int) -> Rounds:
        """Take the next step, if there is one at the moment, and return the rounds.

        Args:
            collection: of the store.
            wanted: the latest round that a deletion waits for; 0 if none does.
        """
        record = await self._record(collection)
        rounds, now = _rounds(record, collection), time_now()
        match rounds.phase:
            case Phase.IDLE:
                if rounds.covers(wanted) or rounds.impossible(wanted) or now < rounds.rest_until:
                    return rounds
                return await self._begin(record, rounds)
            case Phase.WRITING:
                return await self._go_on(record, rounds, late=now - rounds.began > LONGEST_S)
            case Phase.RESTORING:
                seen = await self._segments.look(collection)
                if seen.layout is not rounds.layout or seen.stalled:
                    return await self._order((record, rounds), rounds.layout)
                if now - rounds.turned < LATE_S or not await self._settled(collection, seen):
                    return rounds
                return (await self._write(record, rounds, phase=Phase.IDLE, ended=time_now()))[1]

    async def _begin(self, record: Point | None, rounds: Rounds) -> Rounds:
        seen = await self._segments.look(rounds.collection)
        if seen.stalled:
            await self._segments.order(rounds.collection, seen.layout)
        if not await self._settled(rounds.collection, seen):
            # A segment that has the other layout already would not be written.
            return await self._failing(record, rounds, seen)
        begun = await self._write(
            record,
            rounds,
            phase=Phase.WRITING,
            started=rounds.started + 1,
            layout=seen.layout,
            began=time_now(),
            failure="",
            refused="",
        )
        return await self._order(begun, not seen.layout)

    async def _go_on(self, record: Point | None, rounds: Rounds, *, late: bool) -> Rounds:
        seen = await self._segments.look(rounds.collection)
        changes: dict[str, Any] = {"phase": Phase.RESTORING, "turned": time_now(), "failure": ""}
        if late:
            changes["failure"] = f"the server did not finish within {LONGEST_S / 3600:g} hours"
        elif seen.layout is rounds.layout or seen.stalled:
            return await self._order((record, rounds), not rounds.layout)
        elif await self._settled(rounds.collection, seen):
            changes["finished"] = rounds.started
        else:
            return await self._failing(record, rounds, seen)
        return await self._order(await self._write(record, rounds, **changes), rounds.layout)

    async def _settled(self, collection: str, seen: Segments) -> bool:
        if not seen.settled:
            return False
        await asyncio.sleep(SETTLE_S)
        return await self._segments.look(collection) == seen

    async def _order(self, state: tuple[Point | None, Rounds], layout: bool) -> Rounds:
        """Ask the server for a layout, unless another service took this step."""
        record, rounds = state
        if record is None:
            return rounds
        refused = await self._segments.order(rounds.collection, layout)
        if not refused:
            return rounds
        if rounds.phase is Phase.WRITING:
            at_once = {"turned": rounds.began, "ended": rounds.began}
            return (await self._write(record, rounds, phase=Phase.IDLE, refused=refused, **at_once))[1]
        return (await self._write(record, rounds, failure=refused))[1]

    async def _failing(self, record: Point | None, rounds: Rounds, seen: Segments) -> Rounds:
        if seen.failure == rounds.failure:
            return rounds
        return (await self._write(record, rounds, failure=seen.failure))[1]

    async def _record(self, collection: str) -> Point | None:
        key = point_id(REWRITING, collection)
        return (await self._engine.get(META, [key])).get(key)

    async def _write(self, record: Point | None, rounds: Rounds, **changes: Any) -> tuple[Point | None, Rounds]:
        """Return the record and its rounds after the change; no record if another service was faster."""
        changed = dataclasses.replace(rounds, **changes)
        fields: Mapping[str, Any] = {
            **dataclasses.asdict(changed),
            "phase": changed.phase.value,
            # The field that servers have an index for.
            STATE: changed.phase.value,
            "kind": REWRITING,
            "gallery": "",
            "identity": "",
            "updated": time_now(),
        }
        empty = Point(point_id(REWRITING, rounds.collection), {})
        written = await write(self._engine, change_of(META, record or empty, fields, new=record is None))
        if written is None:
            return None, await self.read(rounds.collection)
        await self._engine.commit(META)
        return written, _rounds(written, rounds.collection)


def _rounds(record: Point | None, collection: str) -> Rounds:
    if record is None:
        return Rounds(collection)
    stored = known_fields(Rounds, record.payload)
    return Rounds(**{**stored, "phase": Phase(stored["phase"])})
