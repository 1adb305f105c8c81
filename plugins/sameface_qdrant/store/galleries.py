"""Galleries and their policies: the records of the small meta collection."""

import asyncio
import dataclasses
import math
import secrets
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

from sameface_qdrant.concurrency import together
from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import (
    ConcurrentUpdate,
    GalleryAlreadyExists,
    GalleryNotEmpty,
    GalleryNotFound,
    InvalidArgument,
)
from sameface_qdrant.policy import check_operating_points, check_policy
from sameface_qdrant.store import payloads
from sameface_qdrant.store.conditional_write import ATTEMPTS, change_of, write
from sameface_qdrant.store.erasure import Erasures, Removal
from sameface_qdrant.store.filters import gallery_filter
from sameface_qdrant.store.gallery_changes import changed_gallery
from sameface_qdrant.store.gallery_memory import (
    GALLERY_MAX_AGE_S,
    SIZE_MAX_AGE_S,
    GalleryMemory,
    GallerySizes,
    LargeSearches,
)
from sameface_qdrant.store.migrations.both_contracts import BothContracts
from sameface_qdrant.store.migrations.copies import exchanged
from sameface_qdrant.store.payloads import META, check_etag
from sameface_qdrant.store.protection.engine import ProtectedEngine, not_read
from sameface_qdrant.store.protection.rekey import Rekeying
from sameface_qdrant.store.protection.rotation import check_dimension
from sameface_qdrant.store.quotas import Quotas
from sameface_qdrant.store.tenant import Tenant as Tenant
from sameface_qdrant.store.write_lock import WriteLock, runs_to_completion
from sameface_qdrant.values.argument_types import checks_arguments
from sameface_qdrant.values.contract import Contract, check_contract
from sameface_qdrant.values.display import counted
from sameface_qdrant.values.erasure import ErasedResource, ErasureReceipt
from sameface_qdrant.values.gallery import Gallery, OperatingPoint, Policy, PolicyChanges
from sameface_qdrant.values.ids import PROTECTED_UID, check_id
from sameface_qdrant.values.paging import Page, check_page, continued
from sameface_qdrant.values.protection import Generation, Protection, protection_payload
from sameface_qdrant.values.schema import check_writable, schema_of


@checks_arguments
class Galleries:
    """Reached as ``store.galleries``. Remembers records, see `sameface_qdrant.store.gallery_memory`."""

    def __init__(
        self,
        engine: ProtectedEngine,
        write_lock: WriteLock,
        *,
        protects_new: bool = False,
        gallery_max_age_s: float = GALLERY_MAX_AGE_S,
        size_max_age_s: float = SIZE_MAX_AGE_S,
    ) -> None:
        self.contracts = BothContracts(cast(Engine, engine))
        """The engine below, which keeps migrating galleries under both of their contracts."""
        reading = cast(Engine, self.contracts)
        self.sizes = GallerySizes(reading, size_max_age_s)
        self._engine = self.sizes.watching(reading)
        self._protected = engine
        self._write_lock = write_lock
        self.protects_new = protects_new
        """Whether a gallery is protected if its creation does not say."""
        self.erasures = Erasures(reading, write_lock)
        # Where only this process writes, a record stays as it was read until this process changes it.
        self._memory = GalleryMemory(math.inf if engine.exclusive else gallery_max_age_s)
        self.large_searches = LargeSearches()
        self.rekeying = Rekeying(engine, self._memory, write_lock)
        self.quotas = Quotas(engine)

    @property
    def memory(self) -> GalleryMemory:
        """The records that decisions use."""
        return self._memory

    @property
    def engine(self) -> Engine:
        """The engine that all of the store uses."""
        return self._engine

    @runs_to_completion
    async def create(
        self,
        gallery: str,
        contract: Contract,
        *,
        display_name: str = "",
        policy: Policy = Policy(),  # noqa: B008  # frozen
        operating_points: Sequence[OperatingPoint] = (),
        request_id: str = "",
        protected: bool | None = None,
        exist_ok: bool = False,
    ) -> Gallery:
        """Create a gallery under one contract. A repeat with the same request id returns the first call's gallery.

        ``protected`` says whether its templates are rotated and its names encrypted under a key, for good. The default
        is what `Store.open` was told. With ``exist_ok``, a gallery that exists under this contract is returned as it
        is: the other options change nothing in it.

        Raises:
            GalleryAlreadyExists: another request made a gallery with this id, or, with ``exist_ok``, it has another
                contract.
            QuotaExceeded: a quota allows no more galleries.
            InvalidArgument: the id, the contract or the policy is malformed, or the dimension is too high to protect.
            ProtectionKeyRefused: it is to be protected, and the store was opened without keys.
        """
        check_id(gallery, "gallery_id")
        contract, points = check_contract(contract), check_operating_points(operating_points)
        now = datetime.now(UTC)
        first = dataclasses.replace(check_policy(policy), revision=1, create_time=now)
        new = Gallery(gallery, contract, first, display_name, points, create_time=now, update_time=now)
        protects = self.protects_new if protected is None else protected
        protection = await self.new_protection(contract) if protects else None
        uid = uuid.uuid4().hex if protection is None else PROTECTED_UID + uuid.uuid4().hex
        stored_protection = {} if protection is None else {"protection": protection_payload(protection)}
        async with self._write_lock.of_store(), self.quotas.admission() as admission:
            if self.quotas.cover(gallery) and await self._find(gallery) is None:
                await admission.gallery(gallery)
            await self._engine.ensure(contract.key, contract.dimension)
            record = Point(payloads.gallery_point_id(gallery), {})
            payload = {**payloads.gallery_payload(new, uid), **stored_protection, "request_id": request_id}
            form = payloads.gallery_form(first, protection is not None)
            written = await write(self._engine, change_of(META, record, payload, new=True, form=form))
            present = written or await self._record(gallery)
        await self._engine.commit(META)
        same_request = bool(request_id) and present.payload["request_id"] == request_id
        found = payloads.gallery_of(present.payload)
        if written is None and not same_request and not (exist_ok and found.contract.accepts(contract)):
            under = f" under the contract {found.contract.key}" if exist_ok else ""
            raise GalleryAlreadyExists(
                f"the gallery {gallery!r} exists already{under}; choose another id", metadata={"gallery": gallery}
            )
        return found

    async def new_protection(self, contract: Contract, generation: int = 1) -> Protection:
        """Return the protection of a gallery that is to be written, under the current key.

        Raises:
            InvalidArgument: embeddings of its dimension cannot be protected.
            ProtectionKeyRefused: the store was opened without keys.
        """
        check_dimension(contract.dimension)
        key = await self._protected.protections.current_key()
        await self._protected.records.activate(key)
        return Protection(Generation.new(key, generation))

    async def get(self, gallery: str) -> Gallery:
        """Return a gallery, or raise GalleryNotFound."""
        return (await self.tenant(gallery)).gallery

    async def recent(self, gallery: str) -> Gallery:
        """Return a gallery as it was when it was last read, at most some seconds ago.

        `ServerOptions.gallery_max_age_s` bounds its age. Changes through this store are in it.

        Raises:
            GalleryNotFound: there is none with this id.
        """
        return (await self.recent_tenant(gallery)).gallery

    @continued
    async def list(self, *, page_size: int = 100, page_token: str = "") -> Page[Gallery]:
        """Return one page of galleries, in a stable order."""
        start = check_page(page_size, page_token)
        points, following = await self._engine.scroll(META, Where({"kind": payloads.GALLERY}), page_size, start)
        return Page(tuple(payloads.gallery_of(point.payload) for point in points), following or "")

    @runs_to_completion
    async def update(
        self,
        gallery: str,
        *,
        policy: PolicyChanges | None = None,
        display_name: str | None = None,
        author: str = "",
        etag: str = "",
    ) -> Gallery:
        """Change the given fields. A changed policy becomes a new revision, and the earlier revisions stay.

        Raises:
            GalleryNotFound: there is no such gallery.
            InvalidArgument: the policy is malformed.
            ConcurrentUpdate: ``etag`` is given and not the present one, or other services were faster at every attempt.
        """
        for attempt in range(1 if etag else ATTEMPTS):
            async with self._write_lock.of_store():
                point = await self._record(gallery)
                present = payloads.gallery_of(point.payload)
                check_etag(etag, present.etag, gallery)
                changed = changed_gallery(present, policy or {}, display_name, author, datetime.now(UTC))
                written = present if changed is present else await self._replace(point, changed)
            if written is not None:
                await self._engine.commit(META)
                return written
            await asyncio.sleep(0.01 * 2**attempt * secrets.SystemRandom().random())
        raise ConcurrentUpdate(
            f"the gallery {gallery!r} was changed by another service; read it again and repeat",
            metadata={"gallery": gallery},
        )

    async def _replace(self, point: Point, changed: Gallery) -> Gallery | None:
        """Replace a gallery's record, and return the gallery; None if another service was faster."""
        uid, before = point.payload["gallery"], payloads.gallery_of(point.payload)
        stored, fields = point.payload, payloads.gallery_payload(changed, uid)
        # What a newer release added to policy and contract stays.
        kept = {name: {**stored[name], **fields[name]} for name in ("policy", "contract")}
        migrating = changed.migration is not None or changed.mapped is not None
        form = payloads.gallery_form(changed.policy, changed.protection is not None, migrating)
        change = change_of(META, point, {**fields, **kept}, form=form)
        if changed.policy != before.policy:
            # Store the old revision in the history first, so that a crash loses no revision.
            await self._engine.upsert(META, [payloads.policy_point(uid, stored)], insert_only=True)
            # Make it durable first: an interrupted flush may keep a replaced record and lose a new one.
            await self._engine.commit(META)
        try:
            written = await write(self._engine, change)
        finally:
            # Also after a lost answer, and also what is being read at this moment.
            self._memory.forget(changed.id)
        return None if written is None else payloads.gallery_of(written.payload)

    async def revisions(self, gallery: str) -> tuple[Policy, ...]:
        """Return every revision of a gallery's policy, oldest first; the last one is in force."""
        tenant = await self.tenant(gallery)
        where = gallery_filter(tenant.uid, payloads.POLICY)
        found: dict[int, Policy] = {}
        start = None
        while True:
            points, start = await self._engine.scroll(META, where, 256, start)
            found |= {point.payload["revision"]: payloads.policy_of(point.payload) for point in points}
            if start is None:
                break
        found[tenant.gallery.policy.revision] = tenant.gallery.policy
        return tuple(found[revision] for revision in sorted(found))

    @runs_to_completion
    async def delete(self, gallery: str, *, force: bool = False, etag: str = "") -> ErasureReceipt:
        """Erase a gallery and its policies. With ``force``, also erase its identities.

        Raises:
            GalleryNotFound: there is no such gallery.
            GalleryNotEmpty: it holds identities and ``force`` is not set.
            ConcurrentUpdate: ``etag`` is given and not the present one.
        """

        async def find() -> Removal:
            return await self._removal(gallery, force, etag)

        async def remove_policies(removal: Removal) -> None:
            # The identities are removed already. If this is interrupted, the gallery can be deleted again.
            assert isinstance(removal.points, Where)
            uid = removal.points.equals["gallery"]
            try:
                await self._engine.delete(META, removal.points)
            finally:
                self._memory.forget(gallery)
            if not self._engine.exclusive:
                # Another service may have found the gallery, and enrolled, between the two deletions.
                await self.contracts.wait_for_late_copies(uid)
                await self._engine.delete(removal.collection, removal.points)

        receipt = await self.erasures.erase(find, afterwards=remove_policies)
        assert receipt is not None
        return receipt

    async def _removal(self, gallery: str, force: bool, etag: str) -> Removal:
        record = await self._record(gallery)
        check_writable(schema_of(record.payload), f"the gallery {gallery!r}")
        tenant = await self.tenant(gallery)
        check_etag(etag, tenant.gallery.etag, gallery)
        everything = Where({"gallery": tenant.uid})
        identities, templates, policies = await together(
            self._engine,
            self._engine.count(tenant.collection, gallery_filter(tenant.uid, payloads.IDENTITY)),
            self._engine.count(tenant.collection, gallery_filter(tenant.uid, payloads.TEMPLATE)),
            self._engine.count(META, everything),
        )
        if identities and not force:
            raise GalleryNotEmpty(
                f"the gallery {gallery!r} holds {counted(identities, 'identity', 'identities')}; delete them first, or "
                "set force",
                metadata={"gallery": gallery, "identities": identities},
            )
        return Removal(
            tenant.collection,
            tenant.gallery.contract.dimension,
            everything,
            ErasedResource.GALLERY,
            gallery,
            templates=templates,
            records=identities + policies,
        )

    # For identities and templates.

    async def tenant(self, gallery: str | Gallery) -> Tenant:
        """Return a gallery with its key as it is now, and open its collection.

        A `Gallery` of this store is not read again.

        Raises:
            GalleryNotFound: there is none with this id.
        """
        if isinstance(gallery, Gallery):
            if not gallery.uid:
                raise InvalidArgument(
                    f"the gallery {gallery.id!r} was not read from a store; give its id, or read it first",
                    metadata={"field": "gallery"},
                )
            if gallery.protection is not None and self._protected.protections.find(gallery.uid) is None:
                raise not_read()
            tenant = Tenant(gallery.uid, gallery)
            await self._engine.ensure(tenant.collection, gallery.contract.dimension)
            return tenant
        if self._engine.exclusive and (known := self._memory.find(gallery)):
            return known
        moment = self._memory.moment
        point = await self._record(gallery)
        tenant = Tenant(point.payload["gallery"], payloads.gallery_of(point.payload))
        await self._engine.ensure(tenant.collection, tenant.gallery.contract.dimension)
        self._memory.keep(tenant, moment)
        return tenant

    async def recent_tenant(self, gallery: str | Gallery) -> Tenant:
        """Return a gallery for a decision: as `tenant` does, or as it was read a short time ago. Never write by it.

        Under the key of a gallery that another service has deleted nothing is found: then read it with `tenant`.

        Raises:
            GalleryNotFound: there is none with this id.
        """
        known = self._memory.find(gallery) if isinstance(gallery, str) else None
        return known or await self.tenant(gallery)

    async def is_current(self, tenant: Tenant) -> bool:
        """Return whether the gallery still exists. A later gallery with the same id does not count."""
        point = await self._find(tenant.gallery.id)
        current = point is not None and point.payload["gallery"] == tenant.uid
        if not current:
            self._memory.drop(tenant.gallery.id)
        return current

    def is_exchanged(self, tenant: Tenant) -> bool:
        """Return whether a gallery has another contract by now, as its record was read last."""
        link = self.contracts.known.find(tenant.uid)
        return link is not None and link.primary != tenant.collection

    async def check_present(self, tenant: Tenant) -> None:
        """Check that what is missing in a gallery's collection is not missing because the contract was exchanged.

        Raises:
            ConcurrentUpdate: it was exchanged since the gallery was read.
        """
        if not self._engine.exclusive:
            await self.contracts.read_link(tenant.gallery.id)
        if self.is_exchanged(tenant):
            self._memory.drop(tenant.gallery.id)
            raise exchanged(tenant.gallery.id)

    async def _record(self, gallery: str) -> Point:
        point = await self._find(gallery)
        if point is None:
            self._memory.drop(gallery)
            raise self.not_found(gallery)
        return point

    def not_found(self, gallery: str) -> GalleryNotFound:
        """Return the error for a gallery that does not exist."""
        return GalleryNotFound(f"there is no gallery {gallery!r}; create it first", metadata={"gallery": gallery})

    async def _find(self, gallery: str) -> Point | None:
        key = payloads.gallery_point_id(gallery)
        return (await self._engine.get(META, [key])).get(key)
