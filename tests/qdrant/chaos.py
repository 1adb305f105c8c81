"""Lets services work while services and nodes are killed, and checks what they were promised."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from sameface_qdrant import Policy, Probe, Store
from sameface_qdrant.engines.base import Point, Where
from sameface_qdrant.errors import ConcurrentUpdate, IdentityNotFound, SamefaceError, StoreUnavailable
from sameface_qdrant.store import conditional_write
from tests.plugin.histories import FOREVER, Call, Result, halves, is_explained, settle, state_of
from tests.qdrant.faults import Fault
from tests.qdrant.handles import Handle, Spawn
from tests.qdrant.ledger import Ledger, Operation, Violation, broken
from tests.qdrant.outcome import Outcome, Row
from tests.qdrant.service import CONTRACT, GALLERY, Task, lane_of, vector_of

GIVEN_UP_AFTER_S = 5.0
"""A call that has not succeeded by then, with its documented repeats, counts as failed."""
STOPPED_WITHIN_S = 120.0
GAP_S = 4.0
"""Pause between two faults."""
EVENTS_ARRIVE_WITHIN_S = 1.0
"""A service tells that a call begins before it makes it; the event may be on its way when the effect is seen."""


class Chaos:
    """One run."""

    def __init__(
        self, reader: Store, spawn: Spawn, task: Task, names: Sequence[str], views: Sequence[Store] = ()
    ) -> None:
        """``views`` are stores on one node each, which are compared at the end."""
        self.reader, self._views = reader, views
        self.ledger = Ledger()
        self.outcome = Outcome(task.seed)
        self._spawn, self._task, self._names = spawn, task, names
        self._draw = random.Random(task.seed)
        self._services: dict[str, Handle] = {}
        self._races: dict[str, dict[str, Call]] = {}
        self._given_up: set[str] = set()
        self._latest: Counter[str] = Counter()

    async def run(
        self, seconds: float, faults: Sequence[Fault], healthy: Callable[[], Awaitable[None]], kills_every_s: float = 10
    ) -> Outcome:
        """Work for so many seconds under these faults, in this order and again; then check everything."""
        await self._gallery(GALLERY)
        for name in self._names:
            self._services[name] = await self._spawn(self._task_of(name), self._on_event)
        end = time.monotonic() + seconds
        beside = [
            asyncio.create_task(one)
            for one in (self._kill_services(end, kills_every_s), self._race(end), self._read(end))
        ]
        while time.monotonic() < end:
            for fault in faults:
                if time.monotonic() >= end:
                    break
                row = Row(fault.name, fault.majority, time.monotonic())
                self.outcome.rows.append(row)
                await fault.happen()
                await healthy()
                row.ended = time.monotonic()
                await asyncio.sleep(GAP_S)
            if not faults:
                await asyncio.sleep(max(0.0, end - time.monotonic()))
        await asyncio.gather(*beside)
        await self._stop()
        await self._check()
        return self.outcome

    async def _gallery(self, name: str) -> None:
        await self._patiently(
            lambda: self.reader.galleries.create(
                name, CONTRACT, policy=Policy(verify_threshold=0.9), request_id=f"gallery {name}"
            )
        )

    async def _patiently(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Repeat a call of the harness itself until the store is available."""
        end = time.monotonic() + STOPPED_WITHIN_S
        while True:
            try:
                return await call()
            except (StoreUnavailable, ConcurrentUpdate):
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.5)

    def _task_of(self, name: str) -> Task:
        mine = {one: sorted(notes) for one, notes in self.ledger.state.items() if _service_of(one[1:]) == name}
        pending = [asdict(one) for one in self.ledger.open.values() if _service_of(one.number) == name]
        return replace(self._task, name=name, first=self._latest[name], people=mine, pending=pending)

    def _on_event(self, name: str, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "begin":
            operation = event["operation"]
            self.ledger.begin(Operation(**{**operation, "notes": tuple(operation["notes"])}))
            self._latest[name] = max(self._latest[name], int(operation["number"].split(".")[1]))
        elif kind == "done":
            self.ledger.done(event["number"])
            self.outcome.calls.append(event)
            self._judge(event)
        elif kind == "verified":
            self.outcome.calls.append(event)
            if event["result"].startswith("lost"):
                self._violated("lost", f"verification: {event['result']}")
            elif event["result"] != "done" and self._had_majority(event["began"], event["ended"]):
                self._violated("failed", f"verification: {event['result']}")
        elif kind == "failure":
            self.outcome.failures.append(event)
        elif kind == "given up":
            one = self.ledger.open.pop(event["number"])
            self._given_up |= {one.identity, one.target}
        elif kind == "untyped":
            self._violated("untyped", event["what"])
        elif kind == "race":
            known = self._races.setdefault(event["gallery"], {})
            arguments = tuple(event["args"]) if event["kind"] != "enrol" else (event["args"][0], event["args"][1])
            known[event["id"]] = Call(
                event["kind"], arguments, event["began"], event.get("ended", FOREVER), Result(event["result"])
            )
            if event["result"] == "unknown":
                known[event["id"]] = Call(event["kind"], arguments, event["began"], FOREVER, Result.UNKNOWN)

    def _judge(self, call: dict[str, Any]) -> None:
        took = call["ended"] - call["began"]
        waited_for_a_crash = bool(call["conflicts"])
        failed = took > GIVEN_UP_AFTER_S and call["unavailable"] and not waited_for_a_crash
        if failed and self._had_majority(call["began"], call["ended"]):
            self._violated(
                "failed", f"call {call['number']} took {took:.1f} s, unavailable {call['unavailable']} times"
            )

    def _had_majority(self, began: float, ended: float) -> bool:
        return not any(
            not row.majority and row.began < ended and began < row.ended + GAP_S for row in self.outcome.rows
        )

    def _violated(self, kind: str, what: str) -> None:
        at = next((row.name for row in reversed(self.outcome.rows) if row.ended == FOREVER), "no fault")
        self.outcome.violations.append(Violation(kind, f"{what} (during: {at})"))

    async def _kill_services(self, end: float, every_s: float) -> None:
        while True:
            pause = every_s * (0.5 + self._draw.random())
            if time.monotonic() + pause >= end:
                return
            await asyncio.sleep(pause)
            name = self._draw.choice(self._names)
            await self._services[name].kill()
            self._services[name] = await self._spawn(self._task_of(name), self._on_event)
            self.outcome.kills += 1

    async def _race(self, end: float) -> None:
        number = 0
        while time.monotonic() < end:
            gallery = f"race-{self._task.seed}-{number}"
            await self._gallery(gallery)
            for service in self._services.values():
                service.order({"order": "race", "gallery": gallery, "seed": self._task.seed * 1000 + number})
            number += 1
            await asyncio.sleep(1)

    async def _read(self, end: float) -> None:
        """Look, as another client, at what is acknowledged."""
        while time.monotonic() < end:
            await asyncio.sleep(0.02)
            began = time.monotonic()
            try:
                await self._look()
            except StoreUnavailable as away:
                if self._had_majority(began, time.monotonic()):
                    self._violated("failed", f"a reader: {away.message[:300]}")
            except SamefaceError as error:
                self._violated("untyped", f"a reader: {error.reason}: {error.message}"[:200])
            except Exception as error:
                self._violated("untyped", f"a reader: {error!r}"[:200])

    async def _look(self) -> None:
        living = sorted(one for one in self.ledger.state if not self.ledger.busy(one))
        if living:
            identity = self._draw.choice(living)
            expected, changes = self.ledger.state[identity], self.ledger.changes[identity]
            try:
                page = await self.reader.templates.list(GALLERY, identity)
                found = {one.provenance.note for one in page.items}
            except IdentityNotFound:
                found = set()
            if found != expected:
                await asyncio.sleep(EVENTS_ARRIVE_WITHIN_S)
            if found != expected and self.ledger.changes[identity] == changes:
                self._violated("lost", f"a reader: {identity} has {sorted(found)}, not {sorted(expected)}")
        gone = sorted(self.ledger.removed)[-50:]
        if gone:
            identity = self._draw.choice(gone)
            with_notes = sorted(self.ledger.erased)[-50:]
            try:
                await self.reader.identities.get(GALLERY, identity)
                self._violated("back", f"a reader: {identity} is there")
            except IdentityNotFound:
                pass
            if with_notes:
                note = self._draw.choice(with_notes)
                hits = await self.reader.search(GALLERY, Probe(vector_of(note), CONTRACT), limit=1)
                if hits and hits[0].template.provenance.note == note:
                    self._violated("back", f"a reader: {note} is found")

    async def _stop(self) -> None:
        for service in self._services.values():
            service.order({"order": "stop"})
        for name, service in self._services.items():
            try:
                async with asyncio.timeout(STOPPED_WITHIN_S):
                    await service.wait()
            except TimeoutError:
                self._violated("failed", f"{name} did not finish its call: {list(self.ledger.open.values())}")
                await service.kill()

    async def _check(self) -> None:
        """Finish what killed services left, and compare what is stored with what was promised."""
        self.outcome.acknowledged = self.ledger.acknowledged
        conditional_write.CRASHED_AFTER_S, before = 0.0, conditional_write.CRASHED_AFTER_S
        try:
            for gallery in self._races:
                await self._patiently(partial(settle, self.reader, gallery))
            for _ in range(20):
                if not await self._patiently(self.reader.sweep):
                    break
        finally:
            conditional_write.CRASHED_AFTER_S = before
        for one in self._given_up:
            self.ledger.state.pop(one, None)
        for store in (self.reader, *self._views):
            stored = await self._stored(store, GALLERY)
            seen = await self._patiently(partial(_seen, store, GALLERY))
            for one in self._given_up:
                stored.pop(one, None)
                seen.pop(one, None)
            self.outcome.violations += broken(self.ledger, seen, stored)
        for gallery, calls in self._races.items():
            self.outcome.races += 1
            final = await self._patiently(partial(state_of, self.reader, gallery))
            if not is_explained([*calls.values(), *halves([*calls.values()])], final):
                told = "; ".join(map(str, sorted(calls.values(), key=lambda call: call.began)))
                self.outcome.violations.append(Violation("lost", f"no order explains {gallery}: {told} -> {final}"))
            notes = {identity: set(there) for identity, there in final}
            for identity, there in (await self._stored(self.reader, gallery)).items():
                if extra := set(there) - notes.get(identity, set()):
                    self.outcome.violations.append(Violation("copies", f"{gallery}: {identity} holds {extra}"))

    async def _stored(self, store: Store, gallery: str) -> dict[str, list[str]]:
        """Notes of all templates in the collection by identity, whether callers see them or not."""

        async def page(start: str | None) -> tuple[list[Point], str | None]:
            tenant = await store.galleries.tenant(gallery)
            within = Where({"gallery": tenant.uid, "kind": "template"})
            return await store._engine.scroll(tenant.collection, within, 500, start)

        found: dict[str, list[str]] = {}
        start: str | None = None
        while True:
            points, start = await self._patiently(partial(page, start))
            for point in points:
                found.setdefault(point.payload["identity"], []).append(point.payload["note"])
            if start is None:
                return found


async def _seen(store: Store, gallery: str) -> dict[str, list[str]]:
    """Notes of the templates of every identity, as callers see them."""
    found: dict[str, list[str]] = {}
    token = ""
    while True:
        page = await store.identities.list(gallery, page_size=200, page_token=token)
        for one in page.items:
            templates = await store.templates.list(gallery, one.id)
            found[one.id] = [template.provenance.note for template in templates.items]
        token = page.next_token
        if not token:
            return found


def _service_of(number: str) -> str:
    return lane_of(number).split("-")[0]
