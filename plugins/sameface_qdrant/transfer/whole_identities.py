"""Reads whole identities of a store that is in use: each as it was at one moment.

A change of an identity writes its record first. So the record is read, then the templates, then the record again; if it
has another revision by then, or a writer has not finished, the identity is read again.
"""

import asyncio
import dataclasses
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from sameface_qdrant.engines.base import Engine, Point
from sameface_qdrant.errors import ConcurrentUpdate
from sameface_qdrant.store.conditional_write import CRASHED_AFTER_S, REVISION, is_closed, is_left_over, is_pending
from sameface_qdrant.store.filters import gallery_filter
from sameface_qdrant.store.galleries import Tenant
from sameface_qdrant.store.identity_records import find_record
from sameface_qdrant.store.payloads import IDENTITY, TEMPLATE, earliest, in_force

AT_ONCE = 1024
"""About how many templates are read at the same time."""
MOST_IDENTITIES = 128
READ_BATCH = 256
ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class WholeIdentity:
    """An identity's record with its templates in force, and their vectors."""

    record: Point
    templates: tuple[Point, ...]

    @property
    def points(self) -> tuple[Point, ...]:
        """The record, then the templates."""
        return (self.record, *self.templates)


class WholeIdentities:
    """The identities of one gallery. Those that have expired or are being erased are left out."""

    def __init__(self, engine: Engine, tenant: Tenant) -> None:
        self._engine = engine
        self._tenant = tenant
        self.expired = 0
        """Identities left out because they have expired."""
        self.expired_templates = 0

    async def pages(self) -> AsyncIterator[list[WholeIdentity]]:
        """Yield a few identities at a time, in the order of their records' ids."""
        size = max(1, min(MOST_IDENTITIES, AT_ONCE // self._tenant.gallery.policy.max_templates))
        where = gallery_filter(self._tenant.uid, IDENTITY)
        start: str | None = None
        while True:
            records, start = await self._engine.scroll(self._tenant.collection, where, size, start)
            yield await self._read(records)
            if start is None:
                return

    async def one(self, identity: str) -> WholeIdentity | None:
        """Return one identity; None if there is none that is exported.

        Raises:
            ConcurrentUpdate: it changed at every attempt, or it is being moved and the move does not end.
        """
        moving = ""
        for attempt in range(1, ATTEMPTS + 1):
            record = await find_record(self._engine, self._tenant, identity)
            if record is None or is_closed(record):
                return None
            found = await self._consistent([record], last=attempt == ATTEMPTS)
            whole = found[identity]
            if whole is None:
                return None
            if isinstance(whole, WholeIdentity):
                return self._in_force(whole)
            moving = str(whole.payload["moving_to"])
            if attempt < ATTEMPTS:
                await asyncio.sleep(0.01 * 2**attempt)
        gallery = self._tenant.gallery.id
        text = f"the identity {identity!r} of {gallery!r} changes at every attempt to read it; export again"
        if moving:
            text = (
                f"the identity {identity!r} of {gallery!r} is being moved to {moving!r}, and the move has not ended; "
                "repeat the move to finish it, then export again"
            )
        raise ConcurrentUpdate(text, metadata={"gallery": gallery, "identity": identity})

    async def _read(self, records: Sequence[Point]) -> list[WholeIdentity]:
        wanted = [record for record in records if not is_closed(record)]
        found = await self._consistent(wanted)
        whole = []
        for identity, one in found.items():
            present = self._in_force(one) if isinstance(one, WholeIdentity) else None
            if not isinstance(one, WholeIdentity) and one is not None:
                present = await self.one(identity)
            if present is not None:
                whole.append(present)
        return whole

    async def _consistent(
        self, records: Sequence[Point], *, last: bool = False
    ) -> dict[str, WholeIdentity | Point | None]:
        """Read the templates of records, then the records again.

        Return for each identity the whole, or None if it is gone by now, or its record if it must be read again. The
        ``last`` attempt takes what pending templates leave: their call was not acknowledged.
        """
        tenant, engine = self._tenant, self._engine
        templates = await self._templates([record.payload["identity"] for record in records])
        ids = [point.id for points in templates.values() for point in points if not is_pending(point)]
        read: dict[str, Point] = {}
        for first in range(0, len(ids), READ_BATCH):
            batch = ids[first : first + READ_BATCH]
            read |= await engine.get(tenant.collection, batch, with_vector=True)
        after: dict[str, Point] = {}
        for first in range(0, len(records), READ_BATCH):
            batch = [record.id for record in records[first : first + READ_BATCH]]
            after |= await engine.get(tenant.collection, batch)
        found: dict[str, WholeIdentity | Point | None] = {}
        for record in records:
            identity, now = record.payload["identity"], after.get(record.id)
            mine = templates.get(identity, [])
            confirmed = [point for point in mine if not is_pending(point)]
            if now is None or is_closed(now):
                found[identity] = None
            elif (
                now.payload[REVISION] != record.payload[REVISION]
                or now.payload["moving_to"]
                or any(point.id not in read for point in confirmed)
                or (self._unfinished(now, mine) and not last)
            ):
                found[identity] = now
            else:
                held = (_settled(read[point.id], now) for point in confirmed)
                found[identity] = WholeIdentity(now, tuple(held))
        return found

    async def _templates(self, identities: Sequence[str]) -> dict[str, list[Point]]:
        """Return the templates of identities, without vectors."""
        found: dict[str, list[Point]] = defaultdict(list)
        if not identities:
            return found
        where = gallery_filter(self._tenant.uid, TEMPLATE)
        where = dataclasses.replace(where, among={"identity": tuple(identities)})
        start: str | None = None
        while True:
            points, start = await self._engine.scroll(self._tenant.collection, where, AT_ONCE, start)
            for point in points:
                found[point.payload["identity"]].append(point)
            if start is None:
                return found

    def _unfinished(self, record: Point, templates: Sequence[Point]) -> bool:
        """Return whether a writer will confirm, remove or replace templates at any moment."""
        if self._engine.exclusive:
            return False
        pending = any(is_pending(point) and not is_left_over(point) for point in templates)
        over = len(templates) > self._tenant.gallery.policy.max_templates
        return pending or (over and time.time() - float(record.payload["updated"]) < CRASHED_AFTER_S)

    def _in_force(self, whole: WholeIdentity) -> WholeIdentity | None:
        """Return what has not expired, and count the rest."""
        now = time.time()
        if not in_force(whole.record.payload, now):
            self.expired += 1
            return None
        left = tuple(point for point in whole.templates if in_force(point.payload, now))
        self.expired_templates += len(whole.templates) - len(left)
        return WholeIdentity(whole.record, left)


def _settled(template: Point, record: Point) -> Point:
    """Return a template with the labels and the expiry that its identity gives it.

    A change of an identity writes its record first, and then these copies.
    """
    payload: dict[str, Any] = {**template.payload, "labels": record.payload["labels"]}
    if "own_expires" not in payload:  # an early release wrote it
        return dataclasses.replace(template, payload=payload)
    expires = earliest(payload["own_expires"], record.payload.get("expires"))
    if expires is not None or payload.get("expires") is not None:
        payload["expires"] = expires
    return dataclasses.replace(template, payload=payload)
