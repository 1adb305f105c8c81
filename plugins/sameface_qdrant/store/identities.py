"""Identities: one record each, beside their templates in the collection of the gallery's contract."""

import asyncio
import dataclasses
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

from sameface_qdrant.concurrency import together
from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import (
    ConcurrentUpdate,
    IdentityAlreadyExists,
    IdentityNotFound,
    InvalidArgument,
    TemplateLimitReached,
)
from sameface_qdrant.policy import check_override
from sameface_qdrant.store import payloads
from sameface_qdrant.store.clock import time_now
from sameface_qdrant.store.conditional_write import (
    ATTEMPTS,
    CLOSED,
    STATE,
    change_of,
    is_closed,
    overtaken,
    repeated,
    write,
)
from sameface_qdrant.store.filters import gallery_filter, identity_filter
from sameface_qdrant.store.galleries import Galleries, Tenant
from sameface_qdrant.store.identity_erasure import IdentityErasure
from sameface_qdrant.store.identity_records import NO_FIELDS, find_record, not_found, template_count, touch
from sameface_qdrant.store.move import move
from sameface_qdrant.store.payloads import check_etag
from sameface_qdrant.store.write_lock import WriteLock, runs_to_completion
from sameface_qdrant.values.argument_types import checks_arguments
from sameface_qdrant.values.erasure import ErasureReceipt
from sameface_qdrant.values.identity import Identity, IdentityChanges
from sameface_qdrant.values.ids import NO_LABELS, check_identity_id, check_labels
from sameface_qdrant.values.paging import Page, check_page, continued
from sameface_qdrant.values.settings import check_fields

Records: TypeAlias = tuple[list[Point], str | None]


@checks_arguments
class Identities:
    """Reached as ``store.identities``."""

    def __init__(self, engine: Engine, galleries: Galleries, write_lock: WriteLock) -> None:
        self._engine = engine
        self._galleries = galleries
        self._write_lock = write_lock

    @runs_to_completion
    async def create(
        self,
        gallery: str,
        identity: str,
        *,
        display_name: str = "",
        labels: Mapping[str, str] = NO_LABELS,
        verify_threshold: float | None = None,
        consent_reference: str = "",
        purpose: str = "",
        expire_time: datetime | None = None,
        request_id: str = "",
        exist_ok: bool = False,
    ) -> Identity:
        """Create an identity without templates. A repeat with the same request id returns the first call's identity.

        With ``exist_ok``, an identity that exists is returned as it is: the other options change nothing in it.

        Raises:
            GalleryNotFound: there is no such gallery.
            IdentityAlreadyExists: another request made an identity with this id.
            QuotaExceeded: a quota allows no more identities.
            InvalidArgument: the id, a label, the threshold or the expiry is malformed.
        """
        check_identity_id(identity, "identity_id")
        check_labels(labels)
        verify_threshold = check_override(verify_threshold, "verify_threshold", -1.0, 1.0)
        payloads.check_future(expire_time, datetime.now(UTC))
        async with self._write_lock.of(gallery, identity), self._galleries.quotas.admission() as admission:
            tenant = await self._galleries.tenant(gallery)
            if self._galleries.quotas.cover(gallery) and await self.find(tenant, identity) is None:
                await admission.enrolment(tenant, 1, 0)
            key = payloads.identity_point_id(tenant.uid, identity)
            payload = payloads.identity_payload(
                tenant.uid,
                identity,
                display_name=display_name,
                labels=labels,
                verify_threshold=verify_threshold,
                now=time_now(),
                request_id=request_id,
                consent_reference=consent_reference,
                purpose=purpose,
                expires=payloads.seconds(expire_time),
            )
            written = await write(self._engine, change_of(tenant.collection, Point(key, {}), payload, new=True))
            present = written or await self.find(tenant, identity)
            if present is None or is_closed(present):
                raise overtaken(gallery, identity)
            stored = present.payload
            if not self._engine.exclusive and not await self._galleries.is_current(tenant):
                await self._engine.delete(tenant.collection, Where({"gallery": tenant.uid}))
                raise self._galleries.not_found(gallery)
        await self._engine.commit(tenant.collection)
        if written is None and not exist_ok and not (request_id and stored["request_id"] == request_id):
            raise IdentityAlreadyExists(
                f"the identity {identity!r} exists already in {gallery!r}; choose another id",
                metadata={"gallery": gallery, "identity": identity},
            )
        return payloads.identity_of(stored, gallery, await self.template_count(tenant, identity))

    async def get(self, gallery: str, identity: str) -> Identity:
        """Return an identity, or raise GalleryNotFound or IdentityNotFound."""
        tenant = await self._galleries.tenant(gallery)
        reads = self.record(tenant, identity), self.template_count(tenant, identity)
        record, count = await together(self._engine, *reads)
        return payloads.identity_of(record.payload, gallery, count)

    @continued
    async def list(
        self, gallery: str, *, labels: Mapping[str, str] = NO_LABELS, page_size: int = 100, page_token: str = ""
    ) -> Page[Identity]:
        """Return one page of identities, those with all of ``labels``, in a stable order."""
        check_labels(labels)
        start = check_page(page_size, page_token)
        tenant = await self._galleries.tenant(gallery)
        points, following = await self._records(tenant, labels, page_size, start)
        stored = [point.payload for point in points]
        counts = await together(self._engine, *(self.template_count(tenant, payload["identity"]) for payload in stored))
        items = (payloads.identity_of(payload, gallery, count) for payload, count in zip(stored, counts, strict=True))
        return Page(tuple(items), following or "")

    @continued
    async def ids(self, gallery: str, *, page_size: int = 1000, page_token: str = "") -> Page[str]:
        """Return one page of the ids of all identities, in a stable order: quicker than `list`, which counts templates.

        Raises:
            GalleryNotFound: there is no such gallery.
        """
        start = check_page(page_size, page_token)
        tenant = await self._galleries.tenant(gallery)
        points, following = await self._records(tenant, NO_LABELS, page_size, start)
        return Page(tuple(point.payload["identity"] for point in points), following or "")

    async def _records(self, tenant: Tenant, labels: Mapping[str, str], page_size: int, start: str | None) -> Records:
        """Return a page of the records of identities that are not being erased, and where the next one starts."""
        where = gallery_filter(tenant.uid, payloads.IDENTITY, labels)
        if not self._engine.exclusive:
            where = dataclasses.replace(where, excludes={STATE: CLOSED})
        return await self._engine.scroll(tenant.collection, where, page_size, start)

    @runs_to_completion
    async def update(self, gallery: str, identity: str, changes: IdentityChanges, *, etag: str = "") -> Identity:
        """Change the fields in ``changes``; the others stay.

        Raises:
            GalleryNotFound, IdentityNotFound: there is no such gallery or identity.
            InvalidArgument: a value is malformed.
            TemplateLimitReached: a later expiry would bring back more templates than the policy allows.
            ConcurrentUpdate: ``etag`` is given and not the present one, or other services were faster at every attempt.
        """
        check_fields(changes, IdentityChanges.__annotations__, "an identity")
        check_override(changes.get("verify_threshold"), "verify_threshold", -1.0, 1.0)
        check_labels(changes.get("labels", NO_LABELS))
        payloads.check_future(changes.get("expire_time"), datetime.now(UTC))
        for attempt in range(1 if etag else ATTEMPTS):
            async with self._write_lock.of(gallery, identity):
                tenant = await self._galleries.tenant(gallery)
                record = await self.record(tenant, identity)
                check_etag(etag, payloads.identity_of(record.payload, gallery, 0).etag, identity)
                written = await self._change(tenant, record, changes)
            if written is not None:
                await self._engine.commit(tenant.collection)
                return payloads.identity_of(written.payload, gallery, await self.template_count(tenant, identity))
            await asyncio.sleep(0.01 * 2**attempt * secrets.SystemRandom().random())
        raise ConcurrentUpdate(
            f"the identity {identity!r} was changed by another service; read it again and repeat",
            metadata={"gallery": gallery, "identity": identity},
        )

    async def _change(self, tenant: Tenant, record: Point, changes: IdentityChanges) -> Point | None:
        """Write an identity's changed record; return None if another service was faster."""
        written: Point | None = record
        fields = payloads.identity_fields(changes)
        if "expires" in fields:
            points, _ = await self._engine.scroll(tenant.collection, templates_of(tenant, record), 1000)
            renewed = [(p, payloads.earliest(p.payload.get("own_expires"), fields["expires"])) for p in points]
            await self.check_renewal(tenant, record.payload["identity"], renewed)
        if {**record.payload, **fields} != record.payload:
            fields = {**fields, "updated": time_now()}
            written = await write(self._engine, change_of(tenant.collection, record, fields))
        # Update the templates even if the record has the values already: an earlier call may have been interrupted.
        templates = templates_of(tenant, record)
        if written is not None and "labels" in fields:
            await self._engine.set_payload(tenant.collection, templates, {"labels": fields["labels"]})
        if written is not None and "expires" in fields:
            points, _ = await self._engine.scroll(tenant.collection, templates, 1000)
            for point in points:
                effective = payloads.earliest(point.payload.get("own_expires"), fields["expires"])
                this = dataclasses.replace(templates, ids=(point.id,))
                await self._engine.set_payload(tenant.collection, this, {"expires": effective})
        return written

    @runs_to_completion
    async def move(self, gallery: str, source: str, target: str, *, merge: bool = False) -> Identity:
        """Give an identity another id, or merge it into another identity; return the result.

        Templates keep all their fields except their ids. A merged identity has the target's name, labels, threshold and
        expiry. A repeat finishes a move that was interrupted.

        Raises:
            GalleryNotFound, IdentityNotFound: there is no such gallery or source.
            IdentityAlreadyExists: the target exists, and ``merge`` is not set.
            TemplateLimitReached: together they would have more templates than the policy allows.
            InvalidArgument: the target is the source, or malformed.
            ConcurrentUpdate: another service changed one of them at the same moment; repeat the call.
        """
        check_identity_id(target, "target")
        if source == target:
            raise InvalidArgument(
                f"target is {target!r}, the id of the source; expected another id", metadata={"field": "target"}
            )
        async with self._write_lock.of(gallery, source, target):
            tenant = await self._galleries.tenant(gallery)
            written = await move(self._engine, tenant, await self.record(tenant, source), target, merge=merge)
        await self._engine.commit(tenant.collection, erase=True)
        return payloads.identity_of(written.payload, gallery, await self.template_count(tenant, target))

    @runs_to_completion
    async def delete(self, gallery: str, identity: str, *, force: bool = False, etag: str = "") -> ErasureReceipt:
        """Erase an identity. With ``force``, also erase its templates.

        Raises:
            GalleryNotFound, IdentityNotFound: there is no such gallery or identity.
            IdentityNotEmpty: it has templates and ``force`` is not set.
            ConcurrentUpdate: ``etag`` is given and not the present one, or other services were faster at every attempt.
        """
        attempt = IdentityErasure(self._engine, self._galleries, gallery, identity, force, etag)
        return await repeated(attempt.run, 1 if etag else ATTEMPTS)

    # For templates and decisions.

    async def touch(self, tenant: Tenant, record: Point, fields: Mapping[str, Any] = NO_FIELDS) -> Point | None:
        """Write an identity's next revision, and return it; None if another service was faster."""
        return await touch(self._engine, tenant, record, fields)

    async def check_renewal(
        self, tenant: Tenant, identity: str, templates: Sequence[tuple[Point, float | None]]
    ) -> None:
        """Check the template limit before templates get a new expiry, which is given with each.

        Raises:
            TemplateLimitReached: some have expired and would be in force again, and then too many would be.
        """
        now = time_now()
        renewed = [
            point.id
            for point, expires in templates
            if not payloads.in_force(point.payload, now) and (expires is None or expires > now)
        ]
        in_force = await self.template_count(tenant, identity, valid_at=now)
        limit = tenant.gallery.policy.max_templates
        if renewed and in_force + len(renewed) > limit:
            raise TemplateLimitReached(
                f"the identity {identity!r} has {in_force} templates in force and {len(renewed)} more would exceed "
                f"the limit of {limit}; delete some first",
                metadata={"identity": identity, "templates": in_force, "limit": limit},
            )

    async def find(self, tenant: Tenant, identity: str) -> Point | None:
        """Return an identity's record, also one that is being erased; None if there is none."""
        return await find_record(self._engine, tenant, identity)

    async def record(self, tenant: Tenant, identity: str) -> Point:
        """Return an identity's record, or raise IdentityNotFound; an identity that is being erased is not found."""
        record = await self.find(tenant, identity)
        if record is None or is_closed(record):
            await self._galleries.check_present(tenant)
            raise self.not_found(tenant, identity)
        return record

    def not_found(self, tenant: Tenant, identity: str) -> IdentityNotFound:
        """Return the error for an identity that does not exist."""
        return not_found(tenant, identity)

    async def template_count(self, tenant: Tenant, identity: str, *, valid_at: float | None = None) -> int:
        """Return how many templates an identity has, or how many of them are in force at a moment."""
        return await template_count(self._engine, tenant, identity, valid_at=valid_at)


def templates_of(tenant: Tenant, record: Point) -> Where:
    """Return the filter on the templates of an identity's record."""
    return identity_filter(tenant.uid, record.payload["identity"], payloads.TEMPLATE)
