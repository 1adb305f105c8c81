"""Enrols templates for several identities of one gallery with few requests: each step asks for all of them at once.

Every write to an identity also writes the identity's record, in the same batch and as a conditional write
(`sameface_qdrant.store.conditional_write`). A writer that lost removes its templates and raises ConcurrentUpdate. The
same is true for what guards reject, see `sameface_qdrant.store.guards`: templates count only after the guards have
looked again. A repeat does what an interrupted call has left undone.

Each identity fails alone. An error of the store fails all of them.
"""

import asyncio
from collections.abc import Mapping, Sequence

from sameface_qdrant.concurrency import to_end, together
from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import GuardRefusal, SamefaceError
from sameface_qdrant.store import payloads
from sameface_qdrant.store.clock import time_now
from sameface_qdrant.store.conditional_write import (
    PENDING,
    STATE,
    WRITER,
    WRITERS,
    Change,
    apply,
    confirm,
    is_left_over,
    is_pending,
    new_writer,
    overtaken,
    remove,
    take_back,
)
from sameface_qdrant.store.enrolment_item import (
    Item,
    change_for,
    identity_refusal,
    keys_of,
    repeat_refusal,
    replacements,
)
from sameface_qdrant.store.enrolment_request import check_request, entries_of, not_stored, template_points
from sameface_qdrant.store.galleries import Galleries, Tenant
from sameface_qdrant.store.guard_findings import Subject, rejects, verdicts
from sameface_qdrant.store.guards import Guards
from sameface_qdrant.store.migrations.both_contracts import NativeVector
from sameface_qdrant.store.quotas import Admission
from sameface_qdrant.store.template_limit import templates_in_force, templates_to_replace
from sameface_qdrant.values.enrolment import Enrolment


class EnrolmentBatch:
    """One batch. Its caller holds the locks of the identities, which are all different."""

    def __init__(
        self, engine: Engine, galleries: Galleries, secret: bytes, gallery: str, requests: Sequence[Enrolment]
    ) -> None:
        self._engine = engine
        self._galleries = galleries
        self._guards = Guards(engine, galleries)
        self._secret = secret
        self._gallery = gallery
        self._requests = requests
        self.items = [Item(request) for request in requests]
        self._derived_for: Tenant | None = None

    async def get_ready(self) -> None:
        """Do before `run` what needs no lock: derive ids, and compare with what is stored by now.

        Raises:
            GalleryNotFound: there is no such gallery.
        """
        tenant = await self._galleries.tenant(self._gallery)
        await self._derive(tenant)
        new = [(item.request.identity, entry.vector) for item in self._going_on for entry in item.entries]
        await self._guards.anticipate(tenant, new)

    async def run(self) -> Tenant:
        """Enrol. Afterwards each of ``items`` has its stored templates or its error; the caller commits.

        Raises:
            GalleryNotFound: there is no such gallery.
            StoreUnavailable: unknown what is stored; a repeat finds out.
        """
        # Under the lock. If only this process writes, the gallery then stays; otherwise `_decide` looks again.
        tenant = await self._galleries.tenant(self._gallery)
        now = time_now()
        await self._prepare(tenant, now)
        unfinished = [item for item in self._going_on if any(map(is_pending, item.stored.values()))]
        for item in unfinished:
            await self._settle(tenant, item)
        if unfinished:
            await self._read(tenant, unfinished, now)
        for item in self._going_on:
            item.error = repeat_refusal(tenant, item)
        await self._examine(tenant, now)
        async with self._galleries.quotas.admission() as admission:
            await self._check_quotas(tenant, admission)
            if writing := [item for item in self._going_on if item.points]:
                await self._write(tenant, writing, now)
        await self._write_secondary(tenant)
        enrolled = {item.request.identity for item in self._going_on}
        for item in self.items:
            if item.error is not None and item.because_of - enrolled:
                # It was refused because of another one of the batch, which was not enrolled after all.
                item.error = overtaken(tenant.gallery.id, item.request.identity)
        return tenant

    async def preview(self) -> Tenant:
        """Find out what `run` would refuse, except RequestIdReused, and store nothing.

        Afterwards each of ``items`` has what would be stored in ``points`` and ``findings``, or its error.
        """
        tenant = await self._galleries.tenant(self._gallery)
        now = time_now()
        await self._prepare(tenant, now)
        await self._examine(tenant, now, always=True)
        async with self._galleries.quotas.admission() as admission:
            await self._check_quotas(tenant, admission)
        for item in self._going_on:
            item.findings += replacements(item)
            item.points = template_points(tenant, item.request, item.entries, item.record, now)
        return tenant

    @property
    def _going_on(self) -> list[Item]:
        return [item for item in self.items if item.error is None]

    async def _prepare(self, tenant: Tenant, now: float) -> None:
        """Check requests, derive ids, and read the identities' records and the enrolments' own templates."""
        known = self._derived_for
        if known is None or _derived_by(known) != _derived_by(tenant):
            await self._derive(tenant)
        await self._read(tenant, self._going_on, now)

    async def _derive(self, tenant: Tenant) -> None:
        def derive() -> None:
            for item in self.items:
                item.error = None
                try:
                    check_request(item.request)
                    item.record_id = payloads.identity_point_id(tenant.uid, item.request.identity)
                    item.entries = entries_of(tenant, item.request, self._secret)
                except SamefaceError as error:
                    item.error = error

        # In a thread, because the digest of a large photo takes long.
        await to_end(asyncio.to_thread(derive))
        self._derived_for = tenant

    async def _read(self, tenant: Tenant, items: Sequence[Item], now: float) -> None:
        found = await self._engine.get(tenant.collection, keys_of(items))
        for item in items:
            item.record = found.get(item.record_id)
            own = {entry.key: found[entry.key] for entry in item.entries if entry.key in found}
            item.expired = [key for key, point in own.items() if not payloads.in_force(point.payload, now)]
            item.stored = {key: point for key, point in own.items() if key not in item.expired}

    async def _settle(self, tenant: Tenant, item: Item) -> None:
        """Confirm or remove templates of an earlier call with the same request, which has not finished.

        If its write won, they are confirmed, unless the guards reject them now. Otherwise they are removed once that
        call must have crashed; until then they stay pending.
        """
        pending = [point for point in item.stored.values() if is_pending(point)]
        these = Where({"gallery": tenant.uid, STATE: PENDING}, ids=tuple(point.id for point in pending))
        won = item.record is not None and all(
            point.payload[WRITER] in item.record.payload[WRITERS] for point in pending
        )
        read = await self._engine.get(tenant.collection, these.ids, with_vector=True) if won else {}
        earlier = Subject(item.request.identity, item.record, list(read.values()))
        if won and (await self._look_again(tenant, [earlier]))[0] is None:
            await self._engine.set_payload(tenant.collection, these, {STATE: ""})
        elif all(map(is_left_over, pending)):
            await self._engine.delete(tenant.collection, these)

    async def _examine(self, tenant: Tenant, now: float, *, always: bool = False) -> None:
        """Decide about each enrolment that has something to store; with ``always`` about all of them."""
        for item in self._going_on:
            item.fresh = not_stored(item.entries, item.stored)
            if item.fresh or always:
                item.error = identity_refusal(tenant, item)
            if item.error is None:
                item.points = template_points(tenant, item.request, item.fresh, item.record, now)
        if not (writing := [item for item in self._going_on if item.points]):
            return
        # The templates are read after the record: the write holds only if the record has not changed since, and so the
        # limit of templates holds as well.
        subjects = [item.subject for item in writing]
        evidence, in_force = await together(
            self._engine,
            self._guards.evidence(tenant, subjects),
            templates_in_force(
                self._engine, tenant, [item.request.identity for item in writing if item.record is not None]
            ),
        )
        for item in writing:
            await self._make_room(tenant, item, in_force.get(item.request.identity, []))
        found = verdicts(tenant.gallery, subjects, evidence, {item.request.identity for item in self._going_on})
        for item, verdict in zip(writing, found, strict=True):
            item.findings, item.because_of = list(verdict.findings), verdict.because_of
            item.error = verdict.refusal or item.error

    async def _check_quotas(self, tenant: Tenant, admission: Admission) -> None:
        """Refuse what a quota does not allow."""
        if not self._galleries.quotas.cover(tenant.gallery.id):
            return
        for item in [item for item in self._going_on if item.points]:
            more = max(0, len(item.points) - len(item.replaced) - len(item.expired))
            try:
                await admission.enrolment(tenant, int(item.record is None), more)
            except SamefaceError as error:
                item.error = error

    async def _make_room(self, tenant: Tenant, item: Item, in_force: Sequence[Point]) -> None:
        """Choose the templates that new ones replace, or refuse these; the call's own are never replaced."""
        kept = {entry.key for entry in item.entries}
        try:
            item.replaced = await templates_to_replace(
                self._engine, tenant, item.request.identity, in_force, item.points, kept
            )
        except SamefaceError as error:
            item.error = error

    async def _write(self, tenant: Tenant, items: Sequence[Item], now: float) -> None:
        """Write templates and records, and remove what they replace."""
        if expired := tuple(key for item in items for key in item.expired):
            # With the time, so that a template with a later expiry meanwhile stays.
            await self._engine.delete(tenant.collection, Where({"gallery": tenant.uid}, ids=expired, expired_at=now))
        writer = new_writer()
        changes = [change_for(tenant, item, now, writer) for item in items]
        await apply(self._engine, *changes)
        found: Mapping[str, Point]
        if self._engine.exclusive:
            # Nobody else can have written in between, so they are stored as they were written.
            found = {
                **{key: point for item in items for key, point in item.stored.items()},
                **{point.id: Point(point.id, point.payload) for change in changes for point in change.companions},
            }
        else:
            found = await self._decide(tenant, items, changes)
        replaced = []
        for item in items:
            if item.error is None:
                item.stored = {entry.key: found[entry.key] for entry in item.entries}
                item.findings += replacements(item)
                replaced += item.replaced
        if replaced:
            # Make the new ones durable first: an interrupted flush must not remove only the old ones.
            await self._engine.commit(tenant.collection)
            await self._engine.delete(tenant.collection, replaced)

    async def _write_secondary(self, tenant: Tenant) -> None:
        """Store under the other contract of a migrating gallery what callers gave for it, of repeats too."""
        entries = [entry.key for item in self._going_on for entry in item.entries]
        await self._galleries.contracts.acknowledge(tenant.collection, tenant.uid, entries)
        natives = [
            NativeVector(entry.key, entry.secondary)
            for item in self._going_on
            for entry in item.entries
            if entry.secondary is not None
        ]
        if natives:
            await self._galleries.contracts.add_native(tenant.collection, tenant.uid, natives)

    async def _decide(self, tenant: Tenant, items: Sequence[Item], changes: Sequence[Change]) -> dict[str, Point]:
        """Confirm the templates of those that won, and remove those of the others. Return what is stored."""
        # Where this fails, nothing is known of the write. Its templates stay pending until a repeat or the sweep.
        found, current, objections = await together(
            self._engine,
            self._engine.get(tenant.collection, keys_of(items)),
            self._galleries.is_current(tenant),
            self._look_again(tenant, [item.subject for item in items]),
        )
        if not current:
            await self._engine.delete(tenant.collection, Where({"gallery": tenant.uid}))
            for item in items:
                item.error = overtaken(tenant.gallery.id, item.request.identity)
            return found
        confirmed, lost, new = [], [], []
        for item, change, objection in zip(items, changes, objections, strict=True):
            # Another service may have inserted them for the same request, or have erased some of the identity's.
            own = all(one.id in found and found[one.id].payload[WRITER] == change.writer for one in change.companions)
            whole = all(entry.key in found for entry in item.entries)
            won = change.won(found.get(change.record.id)) and own and whole
            if won and objection is None:
                confirmed.append(change)
            elif won and not isinstance(objection, GuardRefusal):
                # Nobody knows yet whether the guards reject them. A repeat of the call finds out.
                item.error = objection
            else:
                item.error = overtaken(tenant.gallery.id, item.request.identity)
                lost.append(change)
                if won and change.read_revision is None:
                    new.append(change)
        if confirmed:
            await confirm(self._engine, *confirmed)
        for change in new:
            # Remove the new identity too, unless another call has added to it since.
            await remove(self._engine, tenant.collection, change.record)
        if lost:
            await take_back(self._engine, *lost)
        return found

    async def _look_again(self, tenant: Tenant, subjects: Sequence[Subject]) -> list[SamefaceError | None]:
        """Return what a guard rejects now that the templates are written, or why it could not look.

        Another service may have enrolled the same person in between. A guard that only warns need not look again.
        """
        if not rejects(tenant.gallery.policy):
            return [None for _ in subjects]
        try:
            return [verdict.refusal for verdict in await self._guards.look_again(tenant, subjects)]
        except SamefaceError as error:
            return [error for _ in subjects]


def _derived_by(tenant: Tenant) -> tuple[object, ...]:
    """Return what ids and vectors are derived by."""
    return tenant.uid, tenant.gallery.contract, tenant.gallery.migration
