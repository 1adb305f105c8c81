"""Galleries and their policies: the records of the small meta collection."""

import asyncio
import dataclasses
import secrets
import uuid
from datetime import UTC, datetime

from sameface_qdrant import records
from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import ConcurrentUpdate, GalleryAlreadyExists, GalleryNotFound, InvalidArgument
from sameface_qdrant.ids import check_id, point_id
from sameface_qdrant.policy import check_policy
from sameface_qdrant.values import Contract, Gallery, OperatingPoint, Page, Policy

META = "meta"
_SECRET_ID = point_id(records.SECRET)


@dataclasses.dataclass(frozen=True, slots=True)
class Tenant:
    """A gallery with the key under which its points are kept."""

    uid: str
    gallery: Gallery


class GalleryBook:
    """Reads and writes gallery records. Where this process is the only writer they are remembered."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writing = asyncio.Lock()
        self._remembered: dict[str, Tenant] = {}

    async def open(self) -> bytes:
        """Make the meta collection and return the store's secret, the key of its digests."""
        await self._engine.ensure(META, 1)
        fresh = Point(
            _SECRET_ID, {"kind": records.SECRET, "gallery": "", "identity": "", "secret": secrets.token_hex(32)}
        )
        # Insert-only: of several services that start at once, one secret wins and all read it back.
        await self._engine.upsert(META, [fresh], insert_only=True)
        await self._engine.commit(META)
        stored = (await self._engine.get(META, [_SECRET_ID]))[_SECRET_ID]
        return bytes.fromhex(stored.payload["secret"])

    async def tenant(self, gallery: str) -> Tenant:
        """Return a gallery with its key.

        Raises:
            GalleryNotFound: there is none with this id.
        """
        if remembered := self._remembered.get(gallery):
            return remembered
        point = await self._find(gallery)
        if point is None:
            raise GalleryNotFound(f"there is no gallery {gallery!r}; create it first", metadata={"gallery": gallery})
        return self._remember(Tenant(point.payload["gallery"], records.gallery_of(point.payload)))

    async def create(
        self,
        gallery: str,
        contract: Contract,
        *,
        display_name: str,
        policy: Policy,
        operating_points: tuple[OperatingPoint, ...],
        request_id: str,
    ) -> Gallery:
        """Make a gallery; a repeat with the same request id returns the one that the first call made."""
        check_id(gallery, "gallery_id")
        now = datetime.now(UTC)
        first = dataclasses.replace(check_policy(policy), revision=1, create_time=now)
        new = Gallery(gallery, contract, first, display_name, operating_points, create_time=now, update_time=now)
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
        return self._remember(Tenant(present.payload["gallery"], records.gallery_of(present.payload))).gallery

    async def list(self, page_size: int, page_token: str) -> Page[Gallery]:
        """Return one page of galleries, in a stable order."""
        points, following = await self._engine.scroll(
            META, Where({"kind": records.GALLERY}), page_size, parse_token(page_token)
        )
        return Page(tuple(records.gallery_of(point.payload) for point in points), following or "")

    async def update_policy(self, gallery: str, policy: Policy, *, author: str, etag: str) -> Gallery:
        """Write a new revision of the policy; the revisions before it stay.

        Raises:
            ConcurrentUpdate: ``etag`` is given and not the present one, or another writer was faster.
        """
        check_policy(policy)
        async with self._writing:
            point = await self._find(gallery)
            if point is None:
                self._remembered.pop(gallery, None)
                await self.tenant(gallery)
                raise AssertionError("unreachable")
            present = records.gallery_of(point.payload)
            uid = point.payload["gallery"]
            check_etag(etag, present.etag, gallery)
            now = datetime.now(UTC)
            revision = present.policy.revision + 1
            renewed = dataclasses.replace(policy, revision=revision, author=author, create_time=now)
            changed = dataclasses.replace(present, policy=renewed, update_time=now)
            unchanged = Where({"revision": present.policy.revision})
            # The revision's own record is insert-only in effect: its id holds the number, and only one writer wins it.
            await self._engine.upsert(META, [records.policy_point(uid, renewed)], insert_only=True)
            await self._engine.upsert(
                META, [records.gallery_point(changed, uid, point.payload["request_id"])], only_if=unchanged
            )
            written = await self._find(gallery)
            self._remembered.pop(gallery, None)
        await self._engine.commit(META)
        if written is None or records.gallery_of(written.payload).policy != renewed:
            raise ConcurrentUpdate(
                f"the gallery {gallery!r} was changed by another writer; read it again and repeat",
                metadata={"gallery": gallery},
            )
        return records.gallery_of(written.payload)

    async def revisions(self, gallery: str) -> tuple[Policy, ...]:
        """Return every revision of a gallery's policy, oldest first."""
        tenant = await self.tenant(gallery)
        found: list[Policy] = []
        start = None
        while True:
            points, start = await self._engine.scroll(META, records.of_gallery(tenant.uid, records.POLICY), 256, start)
            found += [records.policy_of(point.payload) for point in points]
            if start is None:
                return tuple(sorted(found, key=lambda policy: policy.revision))

    async def remove(self, tenant: Tenant) -> None:
        """Erase a gallery's record and its policies. Its identities are gone by then."""
        async with self._writing:
            self._remembered.pop(tenant.gallery.id, None)
            await self._engine.delete(META, Where({"gallery": tenant.uid}))
        await self._engine.commit(META, erase=True)

    async def _find(self, gallery: str) -> Point | None:
        key = records.gallery_point_id(gallery)
        return (await self._engine.get(META, [key])).get(key)

    def _remember(self, tenant: Tenant) -> Tenant:
        if self._engine.exclusive:
            self._remembered[tenant.gallery.id] = tenant
        return tenant


def parse_token(page_token: str) -> str | None:
    """Return the point to go on with, None for the first page.

    Raises:
        InvalidArgument: the token was not given out by a list call.
    """
    if not page_token:
        return None
    try:
        return str(uuid.UUID(page_token))
    except ValueError:
        raise InvalidArgument(
            f"page_token is {page_token[:64]!r}; expected next_page_token of the page before",
            metadata={"field": "page_token"},
        ) from None


def check_etag(given: str, present: str, what: str) -> None:
    """Raise ConcurrentUpdate where an etag is given and is not the present one."""
    if given and given != present:
        raise ConcurrentUpdate(
            f"{what!r} has etag {present}, {given[:64]!r} was given; read it again and repeat",
            metadata={"etag": present},
        )
