"""Galleries and their policies: the records of the small meta collection."""

import asyncio
import builtins
import dataclasses
import secrets
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

from sameface_qdrant import records
from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import ConcurrentUpdate, GalleryAlreadyExists, GalleryNotEmpty, GalleryNotFound
from sameface_qdrant.ids import check_id, point_id
from sameface_qdrant.paging import check_page
from sameface_qdrant.policy import check_policy
from sameface_qdrant.records import check_etag
from sameface_qdrant.values import Contract, Gallery, OperatingPoint, Page, Policy

META = "meta"
_SECRET_ID = point_id(records.SECRET)


@dataclasses.dataclass(frozen=True, slots=True)
class Tenant:
    """A gallery with the key under which its points are kept; the key is new with every gallery."""

    uid: str
    gallery: Gallery

    @property
    def collection(self) -> str:
        """Name of the collection that holds its identities and templates: one for each contract."""
        return self.gallery.contract.key


class Galleries:
    """Reached as ``store.galleries``. Where this process is the only writer, records are remembered."""

    def __init__(self, engine: Engine, writing: asyncio.Lock) -> None:
        self._engine = engine
        self._writing = writing
        self._remembered: dict[str, Tenant] = {}

    async def create(
        self,
        gallery: str,
        contract: Contract,
        *,
        display_name: str = "",
        policy: Policy = Policy(),  # noqa: B008  # frozen
        operating_points: Sequence[OperatingPoint] = (),
        request_id: str = "",
    ) -> Gallery:
        """Make a gallery bound to one contract; a repeat with the same request id returns the first call's.

        Raises:
            GalleryAlreadyExists: another request made a gallery with this id.
            InvalidArgument: the id or the policy is malformed.
        """
        check_id(gallery, "gallery_id")
        now = datetime.now(UTC)
        first = dataclasses.replace(check_policy(policy), revision=1, create_time=now)
        new = Gallery(gallery, contract, first, display_name, tuple(operating_points), create_time=now, update_time=now)
        uid = uuid.uuid4().hex
        async with self._writing:
            present = await self._find(gallery)
            if present is None:
                points = [records.gallery_point(new, uid, request_id), records.policy_point(uid, first)]
                await self._engine.upsert(META, points, insert_only=True)
                present = await self._find(gallery)
                assert present is not None
        await self._engine.commit(META)
        same_request = bool(request_id) and present.payload["request_id"] == request_id
        if present.payload["gallery"] != uid and not same_request:
            raise GalleryAlreadyExists(f"the gallery {gallery!r} exists already", metadata={"gallery": gallery})
        return (await self._open_tenant(present)).gallery

    async def get(self, gallery: str) -> Gallery:
        """Return a gallery, or raise GalleryNotFound."""
        return (await self.tenant(gallery)).gallery

    async def list(self, *, page_size: int = 100, page_token: str = "") -> Page[Gallery]:
        """Return one page of galleries, in a stable order."""
        start = check_page(page_size, page_token)
        points, following = await self._engine.scroll(META, Where({"kind": records.GALLERY}), page_size, start)
        return Page(tuple(records.gallery_of(point.payload) for point in points), following or "")

    async def update_policy(self, gallery: str, policy: Policy, *, author: str = "", etag: str = "") -> Gallery:
        """Write a new revision of the policy; the revisions before it stay.

        Raises:
            GalleryNotFound: there is no such gallery.
            InvalidArgument: the policy is malformed.
            ConcurrentUpdate: ``etag`` is given and not the present one, or another writer was faster.
        """
        check_policy(policy)
        async with self._writing:
            point = await self._record(gallery)
            present = records.gallery_of(point.payload)
            uid = point.payload["gallery"]
            check_etag(etag, present.etag, gallery)
            now = datetime.now(UTC)
            revision = present.policy.revision + 1
            renewed = dataclasses.replace(policy, revision=revision, author=author, create_time=now)
            changed = dataclasses.replace(present, policy=renewed, update_time=now)
            # The revision's own record is written by one writer alone: its id holds the number, and it is insert-only.
            await self._engine.upsert(META, [records.policy_point(uid, renewed)], insert_only=True)
            await self._engine.upsert(
                META,
                [records.gallery_point(changed, uid, point.payload["request_id"])],
                only_if=Where({"revision": present.policy.revision}),
            )
            written = await self._record(gallery)
            self._remembered.pop(gallery, None)
        await self._engine.commit(META)
        if records.gallery_of(written.payload).policy != renewed:
            raise ConcurrentUpdate(
                f"the gallery {gallery!r} was changed by another writer; read it again and repeat",
                metadata={"gallery": gallery},
            )
        return records.gallery_of(written.payload)

    async def revisions(self, gallery: str) -> tuple[Policy, ...]:
        """Return every revision of a gallery's policy, oldest first."""
        tenant = await self.tenant(gallery)
        where = records.of_gallery(tenant.uid, records.POLICY)
        found: builtins.list[Policy] = []
        start = None
        while True:
            points, start = await self._engine.scroll(META, where, 256, start)
            found += [records.policy_of(point.payload) for point in points]
            if start is None:
                return tuple(sorted(found, key=lambda policy: policy.revision))

    async def delete(self, gallery: str, *, force: bool = False, etag: str = "") -> None:
        """Erase a gallery and its policies; one with identities only with ``force``, together with them.

        Raises:
            GalleryNotFound: there is no such gallery.
            GalleryNotEmpty: it holds identities and ``force`` is not set.
            ConcurrentUpdate: ``etag`` is given and not the present one.
        """
        async with self._writing:
            tenant = await self.tenant(gallery)
            check_etag(etag, tenant.gallery.etag, gallery)
            size = await self._engine.count(tenant.collection, records.of_gallery(tenant.uid, records.IDENTITY))
            if size and not force:
                raise GalleryNotEmpty(
                    f"the gallery {gallery!r} holds {size} identities; delete them first, or set force",
                    metadata={"gallery": gallery, "identities": size},
                )
            everything = Where({"gallery": tenant.uid})
            # Identities first: should this be cut off, the gallery is still there to be deleted again.
            await self._engine.delete(tenant.collection, everything)
            await self._engine.delete(META, everything)
            self._remembered.pop(gallery, None)
        await self._engine.commit(tenant.collection, erase=True)
        await self._engine.commit(META, erase=True)

    # What identities and templates need of galleries.

    async def open(self) -> bytes:
        """Make the meta collection and return the store's secret, the key of its digests."""
        await self._engine.ensure(META, 1)
        payload = {"kind": records.SECRET, "gallery": "", "identity": "", "secret": secrets.token_hex(32)}
        # Insert-only: of several services that start at once, one secret wins and all read it back.
        await self._engine.upsert(META, [Point(_SECRET_ID, payload)], insert_only=True)
        await self._engine.commit(META)
        stored = (await self._engine.get(META, [_SECRET_ID]))[_SECRET_ID]
        return bytes.fromhex(stored.payload["secret"])

    async def tenant(self, gallery: str) -> Tenant:
        """Return a gallery with its key, its collection opened.

        Raises:
            GalleryNotFound: there is none with this id.
        """
        return self._remembered.get(gallery) or await self._open_tenant(await self._record(gallery))

    async def still_there(self, tenant: Tenant) -> bool:
        """Return whether the gallery is stored, and is not another one made later under the same id."""
        point = await self._find(tenant.gallery.id)
        return point is not None and point.payload["gallery"] == tenant.uid

    async def _open_tenant(self, point: Point) -> Tenant:
        tenant = Tenant(point.payload["gallery"], records.gallery_of(point.payload))
        await self._engine.ensure(tenant.collection, tenant.gallery.contract.dimension)
        if self._engine.exclusive:
            self._remembered[tenant.gallery.id] = tenant
        return tenant

    async def _record(self, gallery: str) -> Point:
        point = await self._find(gallery)
        if point is None:
            raise GalleryNotFound(f"there is no gallery {gallery!r}; create it first", metadata={"gallery": gallery})
        return point

    async def _find(self, gallery: str) -> Point | None:
        key = records.gallery_point_id(gallery)
        return (await self._engine.get(META, [key])).get(key)
