"""Enrolment: templates enter an identity, all of a call or none.

Concurrent writers. Every write to an identity also writes the identity's record with the next revision, in the same
batch. Within a process writes take turns; Qdrant Edge admits one process. On a server the record is written on the
condition that its revision is still the one that was read. The templates of the batch are new, so they are written
whatever becomes of the record; a writer that does not find its mark on the record afterwards takes its own templates
back and answers ConcurrentUpdate. Caps hold once every call has returned, and a repeat acknowledges only what stays.
What guards reject holds in the same way, see `sameface_qdrant.store.guards`.
"""

import asyncio
import hashlib
import hmac
import time
import uuid
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import ConcurrentUpdate, IdentityExpired, RequestIdReused, TemplateLimitReached
from sameface_qdrant.store import payloads
from sameface_qdrant.store.galleries import Galleries, Tenant
from sameface_qdrant.store.guards import Guards, refusal, to_replace
from sameface_qdrant.store.identities import Identities
from sameface_qdrant.store.write_lock import Writes, uncut
from sameface_qdrant.threads import to_end
from sameface_qdrant.values.finding import Finding, FindingKind
from sameface_qdrant.values.gallery import WhenFull
from sameface_qdrant.values.ids import NO_LABELS, check_id, check_labels, point_id
from sameface_qdrant.values.template import NewTemplate, Template
from sameface_qdrant.values.vectors import Vector, units_under


@dataclass(frozen=True, slots=True)
class Enrolee:
    """Whom templates are enrolled for, and how the identity is made where there is none."""

    identity: str
    create_identity: bool = True
    display_name: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)
    consent_reference: str = ""
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One template of a call, with what was found out about it."""

    new: NewTemplate
    vector: Vector
    digest: str
    key: str


class Enrolments:
    """Reached as ``store.enroll``."""

    def __init__(
        self, engine: Engine, galleries: Galleries, identities: Identities, writes: Writes, secret: bytes
    ) -> None:
        self._engine = engine
        self._galleries = galleries
        self._identities = identities
        self._writes = writes
        self._guards = Guards(engine)
        self._secret = secret

    async def check(self, gallery: str, enrolee: Enrolee, templates: Sequence[NewTemplate]) -> tuple[Template, ...]:
        """Raise what `enroll` would raise (but for RequestIdReused) and store nothing.

        Returns the templates as they would be, without ids.
        """
        _check_new(enrolee, templates)
        tenant = await self._galleries.tenant(gallery)
        now = time.time()
        entries = await to_end(asyncio.to_thread(self._entries, tenant, enrolee.identity, templates, ""))
        record = await self._record(tenant, enrolee)
        keys = [entry.key for entry in entries]
        found = await self._engine.get(tenant.collection, keys)
        fresh = _fresh(entries, {key for key, point in found.items() if payloads.in_force(point.payload, now)})
        points = self._points(tenant, enrolee, fresh, record, "", now)
        findings = await self._look(tenant, enrolee, record, points) if points else []
        findings += [
            _replaced(enrolee.identity, key) for key in await self._make_room(tenant, enrolee, record, points, keys)
        ]
        previews = self._points(tenant, enrolee, entries, record, "", now)
        return tuple(
            replace(
                payloads.template_of(point, gallery), id="", create_time=None, vector=None, findings=tuple(findings)
            )
            for point in previews
        )

    @uncut
    async def enroll(
        self, gallery: str, enrolee: Enrolee, templates: Sequence[NewTemplate], *, request_id: str
    ) -> tuple[Template, ...]:
        """See `sameface_qdrant.Store.enroll`."""
        _check_new(enrolee, templates)
        findings: list[Finding] = []
        async with self._writes.turn:
            # Read under the lock: a gallery that is being erased must not receive templates afterwards.
            tenant = await self._galleries.tenant(gallery)
            now = time.time()
            entries = await asyncio.to_thread(self._entries, tenant, enrolee.identity, templates, request_id)
            keys = [entry.key for entry in entries]
            found = await self._engine.get(tenant.collection, keys)
            # An expired template does not stand in the way of its renewal.
            present = {key: point for key, point in found.items() if payloads.in_force(point.payload, now)}
            for entry in entries:
                if entry.key in present and present[entry.key].payload["digest"] != entry.digest:
                    raise RequestIdReused(
                        f"request_id {request_id} was used before for another photo or embedding",
                        metadata={"field": "request_id", "request_id": request_id},
                    )
            record = await self._identities.find(tenant, enrolee.identity)
            await self._check_settled(tenant, enrolee.identity, record, present.values(), now)
            mark = uuid.uuid4().hex
            fresh = _fresh(entries, present)
            entering = {entry.key for entry in fresh}
            if fresh:
                record = await self._record(tenant, enrolee)
                points = self._points(tenant, enrolee, fresh, record, mark, now)
                if expired := [key for key in found if key not in present]:
                    await self._engine.delete(tenant.collection, expired)
                findings = await self._look(tenant, enrolee, record, points)
                replaced = await self._make_room(tenant, enrolee, record, points, keys)
                await self._write(tenant, enrolee, record, points, mark, now, request_id)
                if replaced:
                    # The new ones first: a flush that is cut off must not take the old ones alone.
                    await self._engine.commit(tenant.collection)
                    await self._engine.delete(tenant.collection, replaced)
                    findings += [_replaced(enrolee.identity, key) for key in replaced]
                present = await self._engine.get(tenant.collection, keys)
        # Also for a repeat: what it found may not be durable yet.
        await self._engine.commit(tenant.collection, erase=any(one.kind is FindingKind.REPLACED for one in findings))
        return tuple(
            replace(payloads.template_of(present[key], gallery), findings=tuple(findings) if key in entering else ())
            for key in keys
        )

    def _entries(
        self, tenant: Tenant, identity: str, templates: Sequence[NewTemplate], request_id: str
    ) -> list[_Entry]:
        vectors = units_under(tenant.gallery.contract, templates)
        entries = []
        for number, (new, vector) in enumerate(zip(templates, vectors, strict=True)):
            digest = hmac.new(self._secret, new.content or vector.tobytes(), hashlib.sha256).hexdigest()
            named_by = f"{request_id}/{number}" if request_id else digest
            entries.append(_Entry(new, vector, digest, point_id(payloads.TEMPLATE, tenant.uid, identity, named_by)))
        return entries

    def _points(
        self,
        tenant: Tenant,
        enrolee: Enrolee,
        entries: Sequence[_Entry],
        record: Point | None,
        mark: str,
        now: float,
    ) -> list[Point]:
        return [
            payloads.template_point(
                entry.key,
                tenant.uid,
                enrolee.identity,
                entry.vector,
                contract_key=entry.new.contract.key,
                provenance=entry.new.provenance,
                labels=record.payload["labels"] if record else enrolee.labels,
                digest=entry.digest,
                mark=mark,
                now=now,
                expires=payloads.seconds(entry.new.expire_time),
                identity_expires=record.payload.get("expires") if record else None,
            )
            for entry in entries
        ]

    async def _record(self, tenant: Tenant, enrolee: Enrolee) -> Point | None:
        """Return the identity's record; None where it is to be made.

        Raises:
            IdentityNotFound: there is none, and it is not to be made.
            IdentityExpired: its expiry is past.
            ConcurrentUpdate: its templates are being moved to another identity.
        """
        if not enrolee.create_identity:
            record: Point | None = await self._identities.record(tenant, enrolee.identity)
        else:
            record = await self._identities.find(tenant, enrolee.identity)
        if record is not None and record.payload["moving_to"]:
            raise _overtaken(tenant, enrolee.identity)
        if record is not None and not payloads.in_force(record.payload, time.time()):
            raise IdentityExpired(
                f"the identity {enrolee.identity!r} of {tenant.gallery.id!r} has expired; prolong or delete it first",
                metadata={"gallery": tenant.gallery.id, "identity": enrolee.identity},
            )
        return record

    async def _look(
        self, tenant: Tenant, enrolee: Enrolee, record: Point | None, points: Sequence[Point]
    ) -> list[Finding]:
        findings = await self._guards.look(tenant, enrolee.identity, record, points)
        if refused := refusal(findings, tenant.gallery.policy, tenant.gallery.id, enrolee.identity):
            raise refused
        return findings

    async def _make_room(
        self, tenant: Tenant, enrolee: Enrolee, record: Point | None, new: Sequence[Point], kept: Collection[str]
    ) -> list[str]:
        """Return the ids of the templates that give way to new ones; ``kept`` are the call's own, which do not."""
        policy = tenant.gallery.policy
        held: list[Point] = []
        if record is not None:
            where = payloads.of_identity(tenant.uid, enrolee.identity, payloads.TEMPLATE, valid_at=time.time())
            held, _ = await self._engine.scroll(tenant.collection, where, 1000)
        excess = len(held) + len(new) - policy.max_templates
        if excess <= 0:
            return []
        count, held = len(held), [point for point in held if point.id not in kept]
        if policy.when_full is WhenFull.REJECT or excess > len(held):
            raise TemplateLimitReached(
                f"the identity {enrolee.identity!r} has {count} templates and {len(new)} more would exceed the "
                f"limit of {policy.max_templates}; delete some, or let the policy say which give way (when_full)",
                metadata={"identity": enrolee.identity, "templates": count, "limit": policy.max_templates},
            )
        if policy.when_full is WhenFull.REPLACE_MOST_REDUNDANT:
            ids = [point.id for point in held]
            held = list((await self._engine.get(tenant.collection, ids, with_vector=True)).values())
        return to_replace(held, [point.vector for point in new if point.vector is not None], excess, policy.when_full)

    async def _write(
        self,
        tenant: Tenant,
        enrolee: Enrolee,
        record: Point | None,
        points: Sequence[Point],
        mark: str,
        now: float,
        request_id: str,
    ) -> None:
        """Write templates together with their identity's record, which tells concurrent writers apart."""
        payload = (
            payloads.next_revision(record.payload, mark, now)
            if record
            else payloads.identity_payload(
                tenant.uid,
                enrolee.identity,
                display_name=enrolee.display_name,
                labels=enrolee.labels,
                verify_threshold=None,
                mark=mark,
                now=now,
                request_id=request_id,
                consent_reference=enrolee.consent_reference,
                purpose=enrolee.purpose,
            )
        )
        key = payloads.identity_point_id(tenant.uid, enrolee.identity)
        batch = [Point(key, payload), *points]
        if self._engine.exclusive:
            await self._engine.upsert(tenant.collection, batch)
            return
        unchanged = Where({"revision": record.payload["revision"]}) if record else None
        await self._engine.upsert(tenant.collection, batch, insert_only=record is None, only_if=unchanged)
        if not await self._stands(tenant, enrolee, key, points, mark, payload):
            raise _overtaken(tenant, enrolee.identity)

    async def _stands(
        self,
        tenant: Tenant,
        enrolee: Enrolee,
        key: str,
        points: Sequence[Point],
        mark: str,
        payload: Mapping[str, Any],
    ) -> bool:
        """Return whether what was written beside other services stays; takes it back where it does not."""
        stored = (await self._engine.get(tenant.collection, [key])).get(key)
        if not await self._galleries.still_there(tenant):
            await self._engine.delete(tenant.collection, Where({"gallery": tenant.uid}))
            return False
        if stored is not None and mark in stored.payload["marks"]:
            try:
                again = await self._guards.look(tenant, enrolee.identity, stored, points)
            except BaseException:
                # Not looked at again, so not to be found by a repeat.
                await self._engine.delete(tenant.collection, Where({"gallery": tenant.uid, "mark": mark}))
                raise
            if refusal(again, tenant.gallery.policy, tenant.gallery.id, enrolee.identity) is None:
                return True
            if payload["revision"] == 1:
                # The identity goes as well, unless another call has added to it since.
                mine = payloads.of_identity(tenant.uid, enrolee.identity, payloads.IDENTITY)
                unchanged = replace(mine, equals={**mine.equals, "revision": 1})
                await self._engine.delete(tenant.collection, unchanged)
        # Only what this call wrote: a service that handles the same request has written the same ids.
        await self._engine.delete(tenant.collection, Where({"gallery": tenant.uid, "mark": mark}))
        return False

    async def _check_settled(
        self, tenant: Tenant, identity: str, record: Point | None, present: Iterable[Point], now: float
    ) -> None:
        """Refuse to acknowledge a template that another service may be about to take back."""
        if self._engine.exclusive:
            return
        if not all(payloads.settled(point.payload, record.payload if record else None, now) for point in present):
            raise _overtaken(tenant, identity)


def _fresh(entries: Sequence[_Entry], present: Container[str]) -> list[_Entry]:
    """Return the entries that are not stored yet, each once."""
    return list({entry.key: entry for entry in entries if entry.key not in present}.values())


def _check_new(enrolee: Enrolee, templates: Sequence[NewTemplate]) -> None:
    check_id(enrolee.identity, "identity")
    check_labels(enrolee.labels)
    now = datetime.now(UTC)
    for new in templates:
        payloads.check_to_come(new.expire_time, now)


def _replaced(identity: str, template: str) -> Finding:
    return Finding(FindingKind.REPLACED, identity, template)


def _overtaken(tenant: Tenant, identity: str) -> ConcurrentUpdate:
    return ConcurrentUpdate(
        f"the identity {identity!r} or its gallery was changed by another service; repeat the call",
        metadata={"gallery": tenant.gallery.id, "identity": identity},
    )
