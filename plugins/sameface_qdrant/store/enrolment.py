"""Enrolment adds the templates of one call to an identity, all or none.

Every write to an identity also writes the identity's record, in the same batch and as a conditional write
(`sameface_qdrant.store.conditional_write`). A writer that lost removes its templates and raises ConcurrentUpdate.
Writes of one process run one after another, and Qdrant Edge allows only one process. So limits hold once every call has
returned. The same is true for what guards reject, see `sameface_qdrant.store.guards`: templates count only after the
guards have looked again. A repeat does what an interrupted call has left undone.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sameface_qdrant.concurrency import nothing, to_end, together
from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import GuardRefusal, IdentityExpired, RequestIdReused, SamefaceError
from sameface_qdrant.store import payloads
from sameface_qdrant.store.conditional_write import (
    PENDING,
    STATE,
    WRITER,
    WRITERS,
    Change,
    change_of,
    is_closed,
    is_left_over,
    is_pending,
    overtaken,
    remove,
)
from sameface_qdrant.store.enrolment_request import (
    Enrolee,
    Entry,
    check_request,
    entries_of,
    not_stored,
    template_points,
)
from sameface_qdrant.store.filters import identity_filter
from sameface_qdrant.store.galleries import Galleries, Tenant
from sameface_qdrant.store.guards import Guards, rejection, rejects
from sameface_qdrant.store.identities import Identities
from sameface_qdrant.store.template_limit import templates_to_replace
from sameface_qdrant.store.write_lock import WriteLock, runs_to_completion
from sameface_qdrant.values.finding import Finding, FindingKind
from sameface_qdrant.values.template import NewTemplate, Template


@dataclass(frozen=True, slots=True)
class _Stored:
    """The stored points that concern an enrolment."""

    record: Point | None
    """The identity's record."""
    entries: Mapping[str, Point]
    """Points with the ids of the call's own templates."""
    expired: Sequence[str]
    """Ids among ``entries`` of templates that have expired. The enrolment replaces these."""

    @property
    def present(self) -> dict[str, Point]:
        """The call's own templates that are stored and in force."""
        return {key: point for key, point in self.entries.items() if key not in self.expired}


class Enrolments:
    """Reached as ``store.enroll``."""

    def __init__(
        self, engine: Engine, galleries: Galleries, identities: Identities, write_lock: WriteLock, secret: bytes
    ) -> None:
        self._engine = engine
        self._galleries = galleries
        self._identities = identities
        self._write_lock = write_lock
        self._guards = Guards(engine)
        self._secret = secret

    async def check(self, gallery: str, enrolee: Enrolee, templates: Sequence[NewTemplate]) -> tuple[Template, ...]:
        """Raise what `enroll` would raise, except RequestIdReused, and store nothing.

        Return the templates as they would be stored, without ids.
        """
        check_request(enrolee, templates)
        tenant = await self._galleries.tenant(gallery)
        now = time.time()
        entries = await self._entries(tenant, enrolee, templates, "")
        stored = await self._read(tenant, enrolee, entries, now)
        self._check_identity(tenant, enrolee, stored.record)
        points = template_points(tenant, enrolee, not_stored(entries, stored.present), stored.record, now)
        findings: list[Finding] = []
        replaced: list[str] = []
        if points:
            findings, in_force = await self._look(tenant, enrolee, stored.record, points)
            replaced = await self._replaced(tenant, enrolee, in_force, points, entries)
        findings += [Finding(FindingKind.REPLACED, enrolee.identity, key) for key in replaced]
        previews = template_points(tenant, enrolee, entries, stored.record, now)
        return tuple(
            replace(
                payloads.template_of(point, gallery), id="", create_time=None, vector=None, findings=tuple(findings)
            )
            for point in previews
        )

    @runs_to_completion
    async def enroll(
        self, gallery: str, enrolee: Enrolee, templates: Sequence[NewTemplate], *, request_id: str
    ) -> tuple[Template, ...]:
        """See `sameface_qdrant.Store.enroll`."""
        check_request(enrolee, templates)
        findings: list[Finding] = []
        async with self._write_lock:
            # Read under the lock, so that a gallery that is being erased receives no templates afterwards.
            tenant = await self._galleries.tenant(gallery)
            now = time.time()
            entries = await self._entries(tenant, enrolee, templates, request_id)
            stored = await self._read(tenant, enrolee, entries, now)
            if pending := [point for point in stored.present.values() if is_pending(point)]:
                await self._settle(tenant, enrolee, stored.record, pending)
                stored = await self._read(tenant, enrolee, entries, now)
            self._check_repeat(tenant, enrolee, entries, stored, request_id)
            fresh = not_stored(entries, stored.present)
            present: Mapping[str, Point] = stored.present
            if fresh:
                self._check_identity(tenant, enrolee, stored.record)
                points = template_points(tenant, enrolee, fresh, stored.record, now)
                findings, in_force = await self._look(tenant, enrolee, stored.record, points)
                # With the time, so that a template with a later expiry meanwhile stays.
                expired = Where({"gallery": tenant.uid}, ids=tuple(stored.expired), expired_at=now)
                replaced, _ = await together(
                    self._engine,
                    self._replaced(tenant, enrolee, in_force, points, entries),
                    self._engine.delete(tenant.collection, expired) if stored.expired else nothing(None),
                )
                change = self._change(tenant, enrolee, stored.record, points, now, request_id)
                present = await self._write(tenant, enrolee, change, entries)
                if replaced:
                    # Make the new ones durable first: an interrupted flush must not remove only the old ones.
                    await self._engine.commit(tenant.collection)
                    await self._engine.delete(tenant.collection, replaced)
                    findings += [Finding(FindingKind.REPLACED, enrolee.identity, key) for key in replaced]
        # Also for a repeat: what it found may not be durable yet.
        await self._engine.commit(tenant.collection, erase=any(one.kind is FindingKind.REPLACED for one in findings))
        entered = {entry.key for entry in fresh}
        return tuple(
            replace(
                payloads.template_of(present[entry.key], gallery),
                findings=tuple(findings) if entry.key in entered else (),
            )
            for entry in entries
        )

    async def _read(self, tenant: Tenant, enrolee: Enrolee, entries: Sequence[Entry], now: float) -> _Stored:
        """Read the identity's record and the call's own templates."""
        record, found = await together(
            self._engine,
            self._identities.find(tenant, enrolee.identity),
            self._engine.get(tenant.collection, [entry.key for entry in entries]),
        )
        expired = [key for key, point in found.items() if not payloads.in_force(point.payload, now)]
        return _Stored(record, found, expired)

    def _check_repeat(
        self, tenant: Tenant, enrolee: Enrolee, entries: Sequence[Entry], stored: _Stored, request_id: str
    ) -> None:
        """Refuse a request id that was used for other content, and a template that another service may remove."""
        present = stored.present
        for entry in entries:
            if entry.key in present and present[entry.key].payload["digest"] != entry.digest:
                raise RequestIdReused(
                    f"request_id {request_id} was used before for another photo or embedding; send a new request_id",
                    metadata={"field": "request_id", "request_id": request_id},
                )
        if any(map(is_pending, present.values())):
            raise overtaken(tenant.gallery.id, enrolee.identity)

    async def _settle(self, tenant: Tenant, enrolee: Enrolee, record: Point | None, pending: Sequence[Point]) -> None:
        """Confirm or remove templates of an earlier call with the same request, which has not finished.

        If its write won, they are confirmed, unless the guards reject them now. Otherwise they are removed once that
        call must have crashed; until then they stay pending.
        """
        these = Where({"gallery": tenant.uid, STATE: PENDING}, ids=tuple(point.id for point in pending))
        won = record is not None and all(point.payload[WRITER] in record.payload[WRITERS] for point in pending)
        read = await self._engine.get(tenant.collection, these.ids, with_vector=True) if won else {}
        if won and not await self._look_again(tenant, enrolee, record, list(read.values())):
            await self._engine.set_payload(tenant.collection, these, {STATE: ""})
        elif all(map(is_left_over, pending)):
            await self._engine.delete(tenant.collection, these)

    def _check_identity(self, tenant: Tenant, enrolee: Enrolee, record: Point | None) -> None:
        """Check that templates may be enrolled for the identity.

        Raises:
            IdentityNotFound: it does not exist, and the call must not create it.
            IdentityExpired: it has expired.
            ConcurrentUpdate: its templates are being moved to another identity, or it is being erased.
        """
        if record is None:
            if not enrolee.create_identity:
                raise self._identities.not_found(tenant, enrolee.identity)
            return
        if record.payload["moving_to"] or is_closed(record):
            raise overtaken(tenant.gallery.id, enrolee.identity)
        if not payloads.in_force(record.payload, time.time()):
            raise IdentityExpired(
                f"the identity {enrolee.identity!r} of {tenant.gallery.id!r} has expired; set a later expire_time or "
                "delete it first",
                metadata={"gallery": tenant.gallery.id, "identity": enrolee.identity},
            )

    async def _entries(
        self, tenant: Tenant, enrolee: Enrolee, templates: Sequence[NewTemplate], request_id: str
    ) -> list[Entry]:
        # In a thread, because the digest of a large photo takes long.
        work = asyncio.to_thread(entries_of, tenant, enrolee.identity, templates, request_id, self._secret)
        return await to_end(work)

    async def _look(
        self, tenant: Tenant, enrolee: Enrolee, record: Point | None, points: Sequence[Point]
    ) -> tuple[list[Finding], list[Point]]:
        """Return what the guards find, and the identity's templates in force.

        These are read after the record: the write holds only if the record has not changed since, and so the limit of
        templates holds as well.

        Raises:
            IdentityCollision, DuplicateSample, TemplateOutlier: the policy rejects what was found.
        """
        where = identity_filter(tenant.uid, enrolee.identity, payloads.TEMPLATE, valid_at=time.time())
        findings, (in_force, _) = await together(
            self._engine,
            self._guards.look(tenant, enrolee.identity, record, points),
            self._engine.scroll(tenant.collection, where, 1000),
        )
        if rejected := rejection(findings, tenant.gallery.policy, tenant.gallery.id, enrolee.identity):
            raise rejected
        return findings, in_force

    async def _replaced(
        self, tenant: Tenant, enrolee: Enrolee, in_force: Sequence[Point], new: Sequence[Point], kept: Sequence[Entry]
    ) -> list[str]:
        """Return the ids of the templates that new ones replace; the call's own are never replaced."""
        return await templates_to_replace(
            self._engine, tenant, enrolee.identity, in_force, new, {entry.key for entry in kept}
        )

    def _change(
        self,
        tenant: Tenant,
        enrolee: Enrolee,
        record: Point | None,
        points: Sequence[Point],
        now: float,
        request_id: str,
    ) -> Change:
        """Return the write of templates together with their identity's record."""
        if record is not None:
            return change_of(tenant.collection, record, {"updated": now}, points)
        payload = payloads.identity_payload(
            tenant.uid,
            enrolee.identity,
            display_name=enrolee.display_name,
            labels=enrolee.labels,
            verify_threshold=None,
            now=now,
            request_id=request_id,
            consent_reference=enrolee.consent_reference,
            purpose=enrolee.purpose,
        )
        new = Point(payloads.identity_point_id(tenant.uid, enrolee.identity), {})
        return change_of(tenant.collection, new, payload, points, new=True)

    async def _write(
        self, tenant: Tenant, enrolee: Enrolee, change: Change, entries: Sequence[Entry]
    ) -> Mapping[str, Point]:
        """Apply a change, and return the call's stored templates.

        Raises:
            ConcurrentUpdate: another service was faster, or enrolled a template because of which the policy rejects
                these.
        """
        await change.apply(self._engine)
        written = [point.id for point in change.companions]
        keys = [change.record.id, *(entry.key for entry in entries)]
        if self._engine.exclusive:
            found = await self._engine.get(tenant.collection, keys)
            found.pop(change.record.id)
            return found
        # Where this fails, nothing is known of the write. Its templates stay pending until a repeat or the sweep.
        found, current, objections = await together(
            self._engine,
            self._engine.get(tenant.collection, keys),
            self._galleries.is_current(tenant),
            self._look_again(tenant, enrolee, change.record, change.companions),
        )
        stored = found.pop(change.record.id, None)
        if not current:
            await self._engine.delete(tenant.collection, Where({"gallery": tenant.uid}))
            raise overtaken(tenant.gallery.id, enrolee.identity)
        # Another service may have inserted them for the same request, or have erased them with the identity.
        own = all(key in found and found[key].payload[WRITER] == change.writer for key in written)
        won = change.won(stored) and own
        if won and not objections:
            await change.confirm(self._engine)
            return found
        rejected = any(isinstance(objection, GuardRefusal) for objection in objections)
        if won and not rejected:
            # Nobody knows yet whether the guards reject them. A repeat of the call finds out.
            raise objections[0]
        if won and change.read_revision is None:
            # Remove the new identity too, unless another call has added to it since.
            await remove(self._engine, tenant.collection, change.record)
        await change.take_back(self._engine)
        raise overtaken(tenant.gallery.id, enrolee.identity)

    async def _look_again(
        self, tenant: Tenant, enrolee: Enrolee, record: Point | None, points: Sequence[Point]
    ) -> list[SamefaceError]:
        """Return what a guard rejects now that the templates are written, or why it could not look.

        Another service may have enrolled the same person in between. A guard that only warns need not look again.
        """
        if not rejects(tenant.gallery.policy):
            return []
        try:
            findings = await self._guards.look(tenant, enrolee.identity, record, points)
        except SamefaceError as error:
            return [error]
        rejected = rejection(findings, tenant.gallery.policy, tenant.gallery.id, enrolee.identity)
        return [] if rejected is None else [rejected]
