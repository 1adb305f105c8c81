"""Enrolment adds the templates of a call to an identity, all or none.

Calls for one gallery that wait at the same time are written as one batch, see `sameface_qdrant.store.enrolment_batch`.
A call that is alone does not wait.
"""

import asyncio
import copy
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence
from contextlib import aclosing
from contextvars import Context
from dataclasses import dataclass, field, replace

from sameface_qdrant.concurrency import ended, in_order
from sameface_qdrant.engines.base import Engine
from sameface_qdrant.errors import InvalidArgument, SamefaceError
from sameface_qdrant.store import payloads
from sameface_qdrant.store.enrolment_batch import EnrolmentBatch
from sameface_qdrant.store.enrolment_item import Item
from sameface_qdrant.store.enrolment_request import check_request
from sameface_qdrant.store.galleries import Galleries, Tenant
from sameface_qdrant.store.guard_findings import compares_identities
from sameface_qdrant.store.write_lock import WriteLock, runs_to_completion
from sameface_qdrant.values.argument_types import check_type
from sameface_qdrant.values.enrolment import Enrolment, EnrolmentResult
from sameface_qdrant.values.template import Template

MOST_AT_ONCE = 64
"""Calls that are written as one batch. More of them would wait longer for each other than for their own turn."""
LARGEST_BATCH = 1000
BATCH_TEMPLATES = 1000
"""Templates of a batch from which on no further enrolment joins it."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    request: Enrolment
    done: asyncio.Future[tuple[Tenant, Item]]


class Enrolments:
    """Reached as ``store.enroll`` and ``store.enroll_many``."""

    def __init__(self, engine: Engine, galleries: Galleries, write_lock: WriteLock, secret: bytes) -> None:
        self._engine = engine
        self._galleries = galleries
        self._write_lock = write_lock
        self._secret = secret
        self._waiting: dict[str, list[_Waiting]] = {}
        """By gallery, in the order of the calls. A gallery that is here has a task that writes its batches."""
        self._writers: set[asyncio.Task[None]] = set()

    async def check(self, gallery: str, request: Enrolment) -> tuple[Template, ...]:
        """Raise what `enroll` would raise, except RequestIdReused, and store nothing.

        Return the templates as they would be stored, without ids.
        """
        # Under the content's own ids, because the request is not made.
        batch = self._batch(gallery, [replace(request, request_id="")])
        await batch.preview()
        (item,) = batch.items
        if item.error is not None:
            raise item.error
        return tuple(
            replace(
                payloads.template_of(point, gallery),
                id="",
                create_time=None,
                vector=None,
                findings=tuple(item.findings),
            )
            for point in item.points
        )

    @runs_to_completion
    async def enroll(self, gallery: str, request: Enrolment) -> tuple[Template, ...]:
        """See `sameface_qdrant.Store.enroll`."""
        # What is malformed is the caller's own matter, and must not reach the others of a batch.
        request = replace(request, templates=tuple(request.templates))
        check_request(request)
        waiting = _Waiting(request, asyncio.get_running_loop().create_future())
        if gallery in self._waiting:
            self._waiting[gallery].append(waiting)
        else:
            self._waiting[gallery] = [waiting]
            writer = asyncio.create_task(self._write_batches(gallery))
            self._writers.add(writer)
            writer.add_done_callback(self._writers.discard)
        tenant, item = await waiting.done
        if item.error is not None:
            raise item.error
        # Also for a repeat: what it found may not be durable yet.
        await self._engine.commit(tenant.collection, erase=bool(item.replaced))
        return item.templates(gallery)

    async def enroll_many(
        self, gallery: str, enrolments: Iterable[Enrolment] | AsyncIterable[Enrolment], batch_size: int
    ) -> AsyncGenerator[EnrolmentResult, None]:
        """See `sameface_qdrant.Store.enroll_many`."""
        if not 1 <= batch_size <= LARGEST_BATCH:
            raise InvalidArgument(
                f"batch_size is {batch_size}; expected 1 to {LARGEST_BATCH}", metadata={"field": "batch_size"}
            )
        earlier: set[str] = set()
        before: asyncio.Task[None] | None = None
        stopped = False

        async def write(requests: list[Enrolment]) -> list[EnrolmentResult]:
            nonlocal earlier, before
            identities, waited = earlier, before
            earlier, before = {request.identity for request in requests}, asyncio.current_task()
            batch = self._batch(gallery, requests)
            if self._engine.exclusive:
                await batch.get_ready()
            if waited is not None and (self._engine.exclusive or identities & earlier):
                await ended(waited)
                if self._engine.exclusive and (stopped or waited.exception() is not None):
                    return []
            return await self._enroll_batch(gallery, batch)

        async with (
            aclosing(_batches(enrolments, batch_size)) as batches,
            aclosing(in_order(batches, write, await self._batches_at_once(gallery))) as written,
        ):
            try:
                async for results in written:
                    for result in results:
                        yield result
            finally:
                stopped = True  # what was only made ready is not written any more

    async def _batches_at_once(self, gallery: str) -> int:
        """Return how many batches of a stream are written at once.

        Where guards compare identities, a batch must find those of the one before. An exclusive engine writes one batch
        after another in any case, and the next one is made ready meanwhile. On a server, one batch is made ready here
        while the server writes the other.
        """
        if self._engine.exclusive:
            return 2
        tenant = await self._galleries.tenant(gallery)
        return 1 if compares_identities(tenant.gallery.policy) else 2

    @runs_to_completion
    async def _enroll_batch(self, gallery: str, batch: EnrolmentBatch) -> list[EnrolmentResult]:
        """Enrol for different identities, and make it durable."""
        tenant = await self._run(batch, gallery)
        replaced = any(item.replaced for item in batch.items if item.error is None)
        await self._engine.commit(tenant.collection, erase=replaced)
        return [
            EnrolmentResult(item.request.identity, item.templates(gallery) if item.error is None else (), item.error)
            for item in batch.items
        ]

    async def _write_batches(self, gallery: str) -> None:
        """Write what waits, one batch after another."""
        waiting, calls, first = self._waiting[gallery], list[_Waiting](), True
        try:
            while waiting:
                chosen = _next_batch([one.request for one in waiting], MOST_AT_ONCE)
                calls = [waiting[number] for number in chosen]
                for number in reversed(chosen):
                    del waiting[number]
                if first:
                    await self._write(gallery, calls)
                else:
                    # In a context of its own: the call that began this task has no part in it.
                    await asyncio.create_task(self._write(gallery, calls), context=Context())
                first = False
        finally:
            del self._waiting[gallery]
            for one in (*calls, *waiting):
                one.done.cancel()  # has no effect on what is done

    async def _write(self, gallery: str, calls: Sequence[_Waiting]) -> None:
        batch = self._batch(gallery, [one.request for one in calls])
        try:
            tenant = await self._run(batch, gallery)
        except SamefaceError as error:
            for one in calls:
                one.done.set_exception(copy.copy(error))
        except Exception as error:
            if len(calls) == 1:
                calls[0].done.set_exception(error)
                return
            # Alone, the call that causes this fails alone.
            for one in calls:
                await self._write(gallery, [one])
        else:
            for one, item in zip(calls, batch.items, strict=True):
                one.done.set_result((tenant, item))

    def _batch(self, gallery: str, requests: Sequence[Enrolment]) -> EnrolmentBatch:
        return EnrolmentBatch(self._engine, self._galleries, self._secret, gallery, requests)

    async def _run(self, batch: EnrolmentBatch, gallery: str) -> Tenant:
        async with self._write_lock.of(gallery, *(item.request.identity for item in batch.items)):
            return await batch.run()


@dataclass(slots=True)
class _Chosen:
    """The identities of a batch, each one once."""

    most: int
    identities: set[str] = field(default_factory=set)
    templates: int = 0

    def add(self, request: Enrolment) -> None:
        self.identities.add(request.identity)
        self.templates += len(request.templates)

    @property
    def is_full(self) -> bool:
        return len(self.identities) >= self.most or self.templates >= BATCH_TEMPLATES


def _next_batch(requests: Sequence[Enrolment], most: int) -> list[int]:
    """Return the positions of the first requests that make a batch, in their order."""
    chosen, positions = _Chosen(most), []
    for number, request in enumerate(requests):
        if chosen.is_full:
            break
        if request.identity not in chosen.identities:
            chosen.add(request)
            positions.append(number)
    return positions


async def _batches(
    enrolments: Iterable[Enrolment] | AsyncIterable[Enrolment], most: int
) -> AsyncGenerator[list[Enrolment], None]:
    """Split enrolments into batches, in their order. A batch ends before an identity that it contains."""
    batch, chosen = list[Enrolment](), _Chosen(most)
    async for enrolment in _each(enrolments):
        if enrolment.identity in chosen.identities:
            yield batch
            batch, chosen = [], _Chosen(most)
        batch.append(enrolment)
        chosen.add(enrolment)
        if chosen.is_full:
            yield batch
            batch, chosen = [], _Chosen(most)
    if batch:
        yield batch


async def _each(enrolments: Iterable[Enrolment] | AsyncIterable[Enrolment]) -> AsyncGenerator[Enrolment, None]:
    number = 0
    if isinstance(enrolments, AsyncIterable):
        async for enrolment in enrolments:
            check_type(enrolment, Enrolment, f"enrolments[{number}]")
            yield enrolment
            number += 1
    else:
        for number, enrolment in enumerate(enrolments):
            check_type(enrolment, Enrolment, f"enrolments[{number}]")
            yield enrolment
