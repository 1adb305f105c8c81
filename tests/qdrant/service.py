"""One service: it enrols, verifies, moves and deletes its own identities, and races others for shared ones.

`python -m tests.qdrant.service` runs it as a process. It reads orders from its standard input and writes events to its
standard output, one JSON object a line.
"""

import asyncio
import json
import random
import sys
import time
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from sameface_qdrant import Contract, NewTemplate, Probe, Provenance, Scope, ServerOptions, Store
from sameface_qdrant.errors import ConcurrentUpdate, IdentityNotFound, SamefaceError, StoreUnavailable
from sameface_qdrant.values.vectors import Vector
from tests.qdrant.ledger import Operation

CONTRACT = Contract("voices", version=1, sha256="b" * 64, dimension=32, preprocessing="none")
GALLERY = "people"
RACERS = ("a", "b")
RACE_CALLS = 3
SPREAD = 0.25

Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Task:
    """What a service is started with."""

    name: str
    url: str
    prefix: str
    seed: int
    api_key: str = ""
    lanes: int = 4
    """How many calls it makes at the same time."""
    first: int = 0
    """A number that no earlier process of this service has used."""
    people: dict[str, list[str]] = field(default_factory=dict)
    """The identities of this service, with the notes of their templates."""
    pending: list[dict[str, Any]] = field(default_factory=list)
    """Calls of an earlier process that were not acknowledged; they are repeated first."""


def vector_of(note: str) -> Vector:
    """The vector of a template, always the same for a note."""
    vector = np.random.default_rng(zlib.crc32(note.encode())).normal(size=CONTRACT.dimension)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def lane_of(number: str) -> str:
    """The name of the lane that numbered a call: ``s0-1`` of ``s0-1.27``."""
    return number.split(".")[0]


def options_of(url: str, prefix: str) -> ServerOptions:
    """The settings that docs/scaling.md recommends for a server, or for a cluster of three nodes and more."""
    if "," not in url:
        return ServerOptions(collection_prefix=prefix)
    return ServerOptions(collection_prefix=prefix, replication_factor=3, write_consistency_factor=2)


async def opened(task: Task) -> Store:
    """Open the store of a service; the server may be away at this moment."""
    options = options_of(task.url, task.prefix)
    while True:
        try:
            return await Store.open(task.url, api_key=task.api_key or None, options=options)
        except StoreUnavailable as away:
            await asyncio.sleep(away.retry_after_s or 1.0)


class Lane:
    """Works until it is told to stop, one call after the other. It reports each before it begins and at its end."""

    def __init__(self, name: str, task: Task, store: Store, tell: Tell) -> None:
        self._task, self._store, self._tell = task, store, tell
        self._name = name
        self._draw = random.Random(f"{task.seed} {name} {task.first}")
        self._people = {one: tuple(notes) for one, notes in task.people.items() if lane_of(one[1:]) == name}
        self._pending = [one for one in task.pending if lane_of(one["number"]) == name]
        self._number = task.first
        self.stopping = False

    async def work(self) -> None:
        """Repeat what was interrupted, then go on with calls of all kinds."""
        for one in self._pending:
            await self._carry_out(Operation(**{**one, "notes": tuple(one["notes"])}))
        while not self.stopping:
            await self._carry_out(self._next())
            await self._check_one()

    async def race(self, gallery: str, seed: int) -> None:
        """Make a few calls on identities that other services change at the same moment."""
        draw = random.Random(f"{seed} {self._task.name}")
        for turn in range(RACE_CALLS):
            kind, identity = draw.choice(("enrol", "enrol", "delete", "move")), draw.choice(RACERS)
            note = f"{gallery}.{self._task.name}.{turn}"
            target = RACERS[1 - RACERS.index(identity)]
            arguments = [identity] + {"enrol": [note], "move": [target], "delete": []}[kind]
            call: dict[str, Any] = {"event": "race", "gallery": gallery, "id": note, "kind": kind, "args": arguments}
            self._tell({**call, "began": time.monotonic(), "result": "unknown"})
            await asyncio.sleep(draw.random() / 50)
            began = time.monotonic()
            try:
                if kind == "enrol":
                    new = [NewTemplate(vector_of(note), CONTRACT, Provenance(note=note))]
                    await self._store.enroll(gallery, identity, new)
                elif kind == "delete":
                    await self._store.identities.delete(gallery, identity, force=True)
                else:
                    await self._store.identities.move(gallery, identity, target, merge=True)
                result = "done"
            except IdentityNotFound:
                result = "not found"
            except StoreUnavailable:
                result = "unknown"
            except ConcurrentUpdate:
                # A move that is overtaken has begun, and goes on when it is repeated.
                result = "unknown" if kind == "move" else "no effect"
            except Exception as error:
                self._untyped(f"race {kind}", error)
                result = "unknown"
            self._tell({**call, "began": began, "ended": time.monotonic(), "result": result})

    def _next(self) -> Operation:
        self._number += 1
        number = f"{self._name}.{self._number}"
        kind = self._draw.choice(("enrol", "enrol", "more", "drop", "delete", "move"))
        if len(self._people) < 3:
            kind = "enrol"
        if kind == "enrol":
            notes = tuple(f"{number}.{each}" for each in range(self._draw.randint(1, 3)))
            return Operation(number, "enrol", f"p{number}", notes)
        identity = self._draw.choice(sorted(self._people))
        if kind == "more" and len(self._people[identity]) < 6:
            return Operation(number, "enrol", identity, (f"{number}.0",))
        if kind == "move":
            return Operation(number, "move", identity, target=f"m{number}")
        if kind == "drop" and len(self._people[identity]) > 1:
            return Operation(number, "drop", identity, (self._draw.choice(self._people[identity]),))
        return Operation(number, "delete", identity)

    async def _carry_out(self, operation: Operation) -> None:
        """Call, and repeat the same call as the documentation says, until it is acknowledged."""
        began = time.monotonic()
        self._tell({"event": "begin", "operation": asdict(operation)})
        repeated = operation.number in {one["number"] for one in self._pending}
        unavailable = conflicts = 0
        while True:
            try:
                await self._call(operation, repeated=repeated)
                break
            except StoreUnavailable as failure:
                unavailable += 1
                pause, why = failure.retry_after_s or 1.0, failure.message
            except ConcurrentUpdate as failure:
                conflicts += 1
                pause, why = min(0.1 * 2**conflicts, 2.0), failure.message
            except Exception as error:
                self._untyped(operation.kind, error)
                self._tell({"event": "given up", "number": operation.number})
                self._people.pop(operation.identity, None)
                return
            repeated = True
            self._tell({"event": "failure", "number": operation.number, "at": time.monotonic(), "why": why[:200]})
            await asyncio.sleep(pause * (1 + SPREAD * self._draw.random()))
        self._note(operation)
        times = {"began": began, "ended": time.monotonic()}
        counts = {"unavailable": unavailable, "conflicts": conflicts}
        self._tell({"event": "done", "number": operation.number, **times, **counts})

    async def _call(self, operation: Operation, *, repeated: bool) -> None:
        store, identity = self._store, operation.identity
        try:
            if operation.kind == "enrol":
                new = [NewTemplate(vector_of(note), CONTRACT, Provenance(note=note)) for note in operation.notes]
                await store.enroll(GALLERY, identity, new, request_id=operation.number)
            elif operation.kind == "move":
                await store.identities.move(GALLERY, identity, operation.target)
            elif operation.kind == "delete":
                await store.identities.delete(GALLERY, identity, force=True)
            else:
                (note,) = operation.notes
                templates = (await store.templates.list(GALLERY, identity)).items
                there = [one.id for one in templates if one.provenance.note == note]
                if there or not repeated:
                    await store.templates.delete(GALLERY, identity, there[0])
        except IdentityNotFound:
            # An earlier attempt, whose answer was lost, has removed it.
            if not repeated or operation.kind not in ("delete", "move"):
                raise

    def _note(self, operation: Operation) -> None:
        notes = self._people.pop(operation.identity, ())
        if operation.kind == "enrol":
            self._people[operation.identity] = (*notes, *(note for note in operation.notes if note not in notes))
        elif operation.kind == "move":
            self._people[operation.target] = notes
        elif operation.kind == "drop":
            self._people[operation.identity] = tuple(note for note in notes if note not in operation.notes)

    async def _check_one(self) -> None:
        """Verify one of the own identities: what this service was told is stored must be found."""
        identity = self._draw.choice(sorted(self._people)) if self._people else ""
        if not identity or not self._people[identity]:
            return
        note = self._draw.choice(self._people[identity])
        began = time.monotonic()
        result = "done"
        try:
            decision = await self._store.verify(GALLERY, identity, Probe(vector_of(note), CONTRACT), scope=Scope.CLAIM)
            if (decision.score or 0.0) < 0.99:
                result = f"lost: {note} of {identity} scores {decision.score}"
        except StoreUnavailable as away:
            result = f"unavailable: {away.message[:120]}"
        except SamefaceError as error:
            result = f"lost: {note} of {identity}: {error.reason}"
        except Exception as error:
            self._untyped("verify", error)
        self._tell({"event": "verified", "began": began, "ended": time.monotonic(), "result": result})

    def _untyped(self, what: str, error: Exception) -> None:
        kind = error.reason if isinstance(error, SamefaceError) else type(error).__name__
        self._tell({"event": "untyped", "what": f"{what}: {kind}: {error}"[:300], "at": time.monotonic()})


async def serve(task: Task, store: Store, orders: AsyncIterator[dict[str, Any]], tell: Tell) -> None:
    """Work, and take part in races, until an order says to stop."""
    lanes = [Lane(f"{task.name}-{number}", task, store, tell) for number in range(task.lanes)]
    working = [asyncio.create_task(lane.work()) for lane in lanes]
    races: set[asyncio.Task[None]] = set()
    async for order in orders:
        if order["order"] == "stop":
            break
        races.add(asyncio.create_task(lanes[0].race(order["gallery"], order["seed"])))
    for lane in lanes:
        lane.stopping = True
    await asyncio.gather(*working, *races)
    await store.aclose()
    tell({"event": "stopped"})


def _print(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


async def _main() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def orders() -> AsyncIterator[dict[str, Any]]:
        while line := await reader.readline():
            yield json.loads(line)

    lines = orders()
    task = Task(**await anext(lines))
    store = await opened(task)
    _print({"event": "ready"})
    await serve(task, store, lines, _print)


if __name__ == "__main__":
    asyncio.run(_main())
