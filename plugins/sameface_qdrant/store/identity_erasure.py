"""Erases one identity.

Where several services write, its record is closed first: of a deletion and another change at the same moment one fails,
and whatever is written afterwards finds the record closed. Then the templates are removed, and at last the record. A
deletion that was interrupted is finished by the next one, or by the sweep.
"""

from dataclasses import dataclass

from sameface_qdrant.concurrency import together
from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import IdentityAlreadyExists, IdentityNotEmpty, TemplateLimitReached
from sameface_qdrant.store import payloads
from sameface_qdrant.store.conditional_write import CLOSED, REVISION, STATE, is_closed, is_left_over, overtaken, remove
from sameface_qdrant.store.erasure import Removal
from sameface_qdrant.store.filters import identity_filter
from sameface_qdrant.store.galleries import Galleries, Tenant
from sameface_qdrant.store.identity_records import find_record, not_found, template_count, touch
from sameface_qdrant.store.move import finish_arrival, move
from sameface_qdrant.store.payloads import check_etag
from sameface_qdrant.values.display import counted
from sameface_qdrant.values.erasure import ErasedResource, ErasureReceipt


@dataclass(slots=True)
class IdentityErasure:
    """One attempt."""

    engine: Engine
    galleries: Galleries
    gallery: str
    identity: str
    force: bool
    etag: str
    _found: tuple[Tenant, Point] | None = None

    async def run(self) -> ErasureReceipt:
        """Erase the identity; `Identities.delete` lists the errors."""
        shared = not self.engine.exclusive
        receipt = await self.galleries.erasures.erase(
            self._find, before=self._close, afterwards=self._remove_record if shared else None
        )
        assert receipt is not None
        return receipt

    async def _find(self) -> Removal:
        tenant = await self.galleries.tenant(self.gallery)
        record, count = await together(
            self.engine,
            find_record(self.engine, tenant, self.identity),
            template_count(self.engine, tenant, self.identity),
        )
        if record is None:
            raise not_found(tenant, self.identity)
        if self._is_busy(record):
            raise overtaken(self.gallery, self.identity)
        self._found = tenant, record
        check_etag(self.etag, payloads.identity_of(record.payload, self.gallery, count).etag, self.identity)
        if count and not self.force:
            raise IdentityNotEmpty(
                f"the identity {self.identity!r} has {counted(count, 'template')}; delete them first, or set force",
                metadata={"gallery": self.gallery, "identity": self.identity, "templates": count},
            )
        everything = Where({"gallery": tenant.uid, "identity": self.identity})
        templates = identity_filter(tenant.uid, self.identity, payloads.TEMPLATE)
        return Removal(
            tenant.collection,
            tenant.gallery.contract.dimension,
            everything if self.engine.exclusive else templates,
            ErasedResource.IDENTITY,
            self.gallery,
            templates=count,
            records=1,
            identity=self.identity,
        )

    async def _close(self, removal: Removal) -> None:
        assert self._found is not None
        tenant, record = self._found
        if record.payload["moving_to"]:
            await self._finish_move(tenant, record)
            raise not_found(tenant, self.identity)
        if not is_closed(record) and await finish_arrival(self.engine, tenant, record):
            raise overtaken(self.gallery, self.identity)
        if self.engine.exclusive:
            return
        closed = await touch(self.engine, tenant, record, {STATE: CLOSED})
        if closed is None:
            raise overtaken(self.gallery, self.identity)
        self._found = tenant, closed

    async def _remove_record(self, removal: Removal) -> None:
        assert self._found is not None
        tenant, closed = self._found
        await remove(self.engine, tenant.collection, closed)
        left = await find_record(self.engine, tenant, self.identity)
        if left is not None and left.payload[REVISION] == closed.payload[REVISION]:
            raise overtaken(self.gallery, self.identity)

    async def _finish_move(self, tenant: Tenant, source: Point) -> None:
        """Finish a move that was interrupted: some templates may be under the target's id already."""
        target, merge = source.payload["moving_to"], source.payload.get("merging", False)
        try:
            await move(self.engine, tenant, source, target, merge=merge)
        except (IdentityAlreadyExists, TemplateLimitReached):
            # Nothing was copied, and nothing can be any more.
            await touch(self.engine, tenant, source, {"moving_to": "", "move": ""})
            raise overtaken(self.gallery, self.identity) from None

    def _is_busy(self, record: Point) -> bool:
        """Return whether another service moves or erases the identity at the moment."""
        unfinished = bool(record.payload["moving_to"]) or is_closed(record)
        return not self.engine.exclusive and unfinished and not is_left_over(record)
