"""The store: galleries, identities and templates; enrol, verify, identify, erase.

Concurrent writers. Every write to an identity also writes the identity's record with the next revision, in the same
batch. Within a process writes take turns; Qdrant Edge admits one process. On a server the record is written on the
condition that its revision is still the one that was read; a writer that finds another's mark on it afterwards removes
its own templates and answers ConcurrentUpdate, so that caps hold once every call has returned.
"""

import asyncio
import hashlib
import hmac
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sameface_qdrant import records
from sameface_qdrant.engines.base import Engine, Hit, Point, Where
from sameface_qdrant.errors import (
    ConcurrentUpdate,
    ContractMismatch,
    GalleryNotEmpty,
    IdentityAlreadyExists,
    IdentityNotEmpty,
    IdentityNotFound,
    InvalidArgument,
    RequestIdReused,
    TemplateLimitReached,
    TemplateNotFound,
)
from sameface_qdrant.galleries import GalleryBook, Tenant, check_etag, parse_token
from sameface_qdrant.ids import check_id, point_id
from sameface_qdrant.policy import (
    check_override,
    decide_identification,
    decide_verification,
    identification_threshold,
    verification_threshold,
)
from sameface_qdrant.values import (
    NO_LABELS,
    Candidate,
    Contract,
    Decision,
    EngineDescription,
    Gallery,
    Identity,
    NewTemplate,
    OperatingPoint,
    Page,
    Policy,
    Probe,
    Scope,
    Template,
    Vector,
)
from sameface_qdrant.vectors import unit


class Store:
    """Opened by `Store.open`; every method is a coroutine and may be called concurrently."""

    def __init__(self, engine: Engine, book: GalleryBook, secret: bytes) -> None:
        self._engine = engine
        self._book = book
        self._secret = secret
        self._writing = asyncio.Lock()

    @classmethod
    async def open(cls, url: str, *, api_key: str | None = None, timeout_s: float = 5.0) -> "Store":
        """Open ``edge:///absolute/folder``, ``http(s)://host:port`` of a Qdrant server, or ``:memory:`` for tests.

        Raises:
            StoreLocked: another process holds the folder.
            StoreUnavailable: the server does not answer, or the folder cannot be written.
        """
        engine: Engine
        if url.startswith("edge://"):
            from sameface_qdrant.engines.edge import EdgeEngine

            engine = await EdgeEngine.open(Path(url.removeprefix("edge://")))
        elif url == ":memory:" or url.startswith(("http://", "https://")):
            from sameface_qdrant.engines.server import ServerEngine

            engine = await ServerEngine.open(url, api_key=api_key, timeout_s=timeout_s)
        else:
            raise InvalidArgument(
                f"{url!r} is no store; expected edge:///folder, http(s)://host:port or :memory:",
                metadata={"field": "url"},
            )
        book = GalleryBook(engine)
        try:
            return cls(engine, book, await book.open())
        except BaseException:
            await engine.aclose()
            raise

    @property
    def description(self) -> EngineDescription:
        """What holds the templates."""
        return self._engine.description

    async def aclose(self) -> None:
        """Close the store. Safe to call twice."""
        await self._engine.aclose()

    # Galleries

    async def create_gallery(
        self,
        gallery: str,
        contract: Contract,
        *,
        display_name: str = "",
        policy: Policy = Policy(),  # noqa: B008  # frozen
        operating_points: Sequence[OperatingPoint] = (),
        request_id: str = "",
    ) -> Gallery:
        """Make a gallery bound to one contract.

        Raises:
            GalleryAlreadyExists: another request made a gallery with this id.
            InvalidArgument: the id or the policy is malformed.
        """
        return await self._book.create(
            gallery,
            contract,
            display_name=display_name,
            policy=policy,
            operating_points=tuple(operating_points),
            request_id=request_id,
        )

    async def get_gallery(self, gallery: str) -> Gallery:
        """Return a gallery, or raise GalleryNotFound."""
        return (await self._book.tenant(gallery)).gallery

    async def list_galleries(self, *, page_size: int = 100, page_token: str = "") -> Page[Gallery]:
        """Return one page of galleries, in a stable order."""
        return await self._book.list(page_size, page_token)

    async def update_policy(self, gallery: str, policy: Policy, *, author: str = "", etag: str = "") -> Gallery:
        """Write a new revision of the policy; raises ConcurrentUpdate where ``etag`` is not the present one."""
        return await self._book.update_policy(gallery, policy, author=author, etag=etag)

    async def policy_revisions(self, gallery: str) -> tuple[Policy, ...]:
        """Return every revision of a gallery's policy, oldest first."""
        return await self._book.revisions(gallery)

    async def delete_gallery(self, gallery: str, *, force: bool = False, etag: str = "") -> None:
        """Erase a gallery; one with identities only with ``force``.

        Raises:
            GalleryNotEmpty: it holds identities and ``force`` is not set.
        """
        tenant = await self._book.tenant(gallery)
        check_etag(etag, tenant.gallery.etag, gallery)
        collection = await self._collection(tenant)
        async with self._writing:
            size = await self._size(tenant)
            if size and not force:
                raise GalleryNotEmpty(
                    f"the gallery {gallery!r} holds {size} identities; delete them first, or set force",
                    metadata={"gallery": gallery, "identities": size},
                )
            if size:
                await self._engine.delete(collection, Where({"gallery": tenant.uid}))
        if size:
            await self._engine.commit(collection, erase=True)
        await self._book.remove(tenant)

    # Identities

    async def create_identity(
        self,
        gallery: str,
        identity: str,
        *,
        display_name: str = "",
        labels: Mapping[str, str] = NO_LABELS,
        verify_threshold: float | None = None,
        request_id: str = "",
    ) -> Identity:
        """Make an identity without templates.

        Raises:
            IdentityAlreadyExists: another request made an identity with this id.
        """
        check_id(identity, "identity_id")
        check_override(verify_threshold, "verify_threshold", -1.0, 1.0)
        tenant = await self._book.tenant(gallery)
        collection = await self._collection(tenant)
        mark = uuid.uuid4().hex
        payload = records.identity_payload(
            tenant.uid,
            identity,
            display_name=display_name,
            labels=labels,
            verify_threshold=verify_threshold,
            now=time.time(),
            request_id=request_id,
        )
        key = records.identity_point_id(tenant.uid, identity)
        async with self._writing:
            await self._engine.upsert(collection, [Point(key, {**payload, "mark": mark})], insert_only=True)
            stored = (await self._engine.get(collection, [key]))[key].payload
        await self._engine.commit(collection)
        same_request = bool(request_id) and stored["request_id"] == request_id
        if stored["mark"] != mark and not same_request:
            raise IdentityAlreadyExists(
                f"the identity {identity!r} exists already in {gallery!r}",
                metadata={"gallery": gallery, "identity": identity},
            )
        return await self.get_identity(gallery, identity)

    async def get_identity(self, gallery: str, identity: str) -> Identity:
        """Return an identity, or raise IdentityNotFound."""
        tenant = await self._book.tenant(gallery)
        record = await self._identity(tenant, identity)
        return records.identity_of(record.payload, gallery, await self._template_count(tenant, identity))

    async def list_identities(self, gallery: str, *, page_size: int = 100, page_token: str = "") -> Page[Identity]:
        """Return one page of identities, in a stable order."""
        tenant = await self._book.tenant(gallery)
        points, following = await self._engine.scroll(
            await self._collection(tenant),
            records.of_gallery(tenant.uid, records.IDENTITY),
            page_size,
            parse_token(page_token),
        )
        counts = [await self._template_count(tenant, point.payload["identity"]) for point in points]
        return Page(
            tuple(
                records.identity_of(point.payload, gallery, count) for point, count in zip(points, counts, strict=True)
            ),
            following or "",
        )

    async def delete_identity(self, gallery: str, identity: str, *, force: bool = False, etag: str = "") -> None:
        """Erase an identity; one with templates only with ``force``.

        Raises:
            IdentityNotEmpty: it has templates and ``force`` is not set.
        """
        tenant = await self._book.tenant(gallery)
        collection = await self._collection(tenant)
        async with self._writing:
            record = await self._identity(tenant, identity)
            count = await self._template_count(tenant, identity)
            check_etag(etag, records.identity_of(record.payload, gallery, count).etag, identity)
            if count and not force:
                raise IdentityNotEmpty(
                    f"the identity {identity!r} has {count} templates; delete them first, or set force",
                    metadata={"gallery": gallery, "identity": identity, "templates": count},
                )
            await self._engine.delete(collection, Where({"gallery": tenant.uid, "identity": identity}))
        await self._engine.commit(collection, erase=True)

    # Templates

    async def check_enrollment(
        self, gallery: str, identity: str, templates: Sequence[NewTemplate], *, create_identity: bool = True
    ) -> None:
        """Raise what `enroll` would raise, and store nothing."""
        tenant = await self._book.tenant(gallery)
        check_id(identity, "identity")
        _unit_vectors(tenant, templates)
        record = await self._find_identity(tenant, identity)
        await self._check_room(tenant, identity, record, len(templates), create_identity)

    async def enroll(
        self,
        gallery: str,
        identity: str,
        templates: Sequence[NewTemplate],
        *,
        request_id: str = "",
        create_identity: bool = True,
        display_name: str = "",
        labels: Mapping[str, str] = NO_LABELS,
    ) -> tuple[Template, ...]:
        """Add templates to an identity, all or none; durable once this returns.

        A repeat with the same request id (without one: with the same content) returns what the first call stored.

        Raises:
            InvalidEmbedding, ContractMismatch: an embedding does not fit the gallery; nothing is stored.
            IdentityNotFound: there is no such identity and ``create_identity`` is not set.
            TemplateLimitReached: the identity would hold more than the policy allows.
            RequestIdReused: the request id was used with other content.
            ConcurrentUpdate: another service changed the identity at the same moment; repeat.
        """
        tenant = await self._book.tenant(gallery)
        check_id(identity, "identity")
        vectors = _unit_vectors(tenant, templates)
        digests = [
            self._digest(new.content or vector.tobytes()) for new, vector in zip(templates, vectors, strict=True)
        ]
        keys = [
            point_id(records.TEMPLATE, tenant.uid, identity, f"{request_id}/{number}" if request_id else digest)
            for number, digest in enumerate(digests)
        ]
        collection = await self._collection(tenant)
        async with self._writing:
            present = await self._engine.get(collection, keys)
            for key, digest in zip(keys, digests, strict=True):
                if key in present and present[key].payload["digest"] != digest:
                    raise RequestIdReused(
                        f"request_id {request_id} was used before for another photo or embedding",
                        metadata={"field": "request_id", "request_id": request_id},
                    )
            missing = [number for number, key in enumerate(keys) if key not in present]
            if missing:
                record = await self._find_identity(tenant, identity)
                await self._check_room(tenant, identity, record, len(missing), create_identity)
                now = time.time()
                points = [
                    records.template_point(
                        keys[number],
                        tenant.uid,
                        identity,
                        vectors[number],
                        contract_key=templates[number].contract.key,
                        provenance=templates[number].provenance,
                        digest=digests[number],
                        now=now,
                        expires=records.seconds(templates[number].expire_time),
                    )
                    for number in missing
                ]
                payload: dict[str, Any] = (
                    {**record.payload, "revision": record.payload["revision"] + 1, "updated": now}
                    if record
                    else records.identity_payload(
                        tenant.uid,
                        identity,
                        display_name=display_name,
                        labels=labels,
                        verify_threshold=None,
                        now=now,
                        request_id=request_id,
                    )
                )
                await self._write_with_identity(collection, tenant, identity, payload, record, points)
                present = await self._engine.get(collection, keys)
        # Also for a repeat: what it found may not be durable yet.
        await self._engine.commit(collection)
        return tuple(records.template_of(present[key], gallery) for key in keys)

    async def get_template(self, gallery: str, identity: str, template: str, *, with_vector: bool = False) -> Template:
        """Return a template, or raise IdentityNotFound or TemplateNotFound."""
        tenant = await self._book.tenant(gallery)
        await self._identity(tenant, identity)
        point = await self._template(tenant, identity, template, with_vector=with_vector)
        return records.template_of(point, gallery)

    async def list_templates(
        self, gallery: str, identity: str, *, page_size: int = 100, page_token: str = ""
    ) -> Page[Template]:
        """Return one page of an identity's templates, in a stable order."""
        tenant = await self._book.tenant(gallery)
        await self._identity(tenant, identity)
        points, following = await self._engine.scroll(
            await self._collection(tenant),
            records.of_identity(tenant.uid, identity, records.TEMPLATE),
            page_size,
            parse_token(page_token),
        )
        return Page(tuple(records.template_of(point, gallery) for point in points), following or "")

    async def delete_template(self, gallery: str, identity: str, template: str) -> None:
        """Erase one template, or raise IdentityNotFound or TemplateNotFound."""
        tenant = await self._book.tenant(gallery)
        collection = await self._collection(tenant)
        async with self._writing:
            record = await self._identity(tenant, identity)
            point = await self._template(tenant, identity, template)
            await self._engine.delete(collection, [point.id])
            changed = {**record.payload, "revision": record.payload["revision"] + 1, "updated": time.time()}
            await self._engine.upsert(collection, [Point(record.id, changed)])
        await self._engine.commit(collection, erase=True)

    # Decisions

    async def verify(
        self,
        gallery: str,
        identity: str,
        probe: Probe,
        *,
        scope: Scope | None = None,
        threshold: float | None = None,
        margin: float | None = None,
    ) -> Decision:
        """1:1. Compare a probe with a claimed identity; see `sameface_qdrant.policy` for the table.

        Raises:
            IdentityNotFound: nobody is enrolled under this id, or no template of it is in force.
            ThresholdNotCalibrated: no threshold is known and ``threshold`` brings none.
            InvalidEmbedding, ContractMismatch: the probe does not fit the gallery.
        """
        check_override(threshold, "verify_threshold", -1.0, 1.0)
        check_override(margin, "runner_up_margin", 0.0, 2.0)
        tenant = await self._book.tenant(gallery)
        (vector,) = _unit_vectors(tenant, [probe])
        collection = await self._collection(tenant)
        now = time.time()
        record, size = await asyncio.gather(self._identity(tenant, identity), self._size(tenant))
        chosen = scope or (Scope.GALLERY if size >= 2 else Scope.CLAIM)
        mine = Where({"gallery": tenant.uid, "identity": identity}, valid_at=now)
        others = Where({"gallery": tenant.uid}, {"identity": identity}, valid_at=now)
        claims, rivals = await asyncio.gather(
            self._engine.nearest(collection, vector, mine, 1),
            self._engine.nearest(collection, vector, others, 1) if chosen is Scope.GALLERY else _nothing(),
        )
        if not claims:
            raise IdentityNotFound(
                f"the identity {identity!r} of {gallery!r} has no template in force; enrol one first",
                metadata={"gallery": gallery, "identity": identity},
            )
        named = await self._candidates(tenant, [*claims, *rivals])
        return decide_verification(
            named[0],
            named[1] if rivals else None,
            scope=chosen,
            threshold=verification_threshold(
                tenant.gallery, records.identity_of(record.payload, gallery, 0), threshold
            ),
            margin=tenant.gallery.policy.runner_up_margin if margin is None else margin,
            policy_revision=tenant.gallery.policy.revision,
            gallery_size=size,
        )

    async def identify(
        self,
        gallery: str,
        probe: Probe,
        *,
        threshold: float | None = None,
        margin: float | None = None,
        limit: int = 5,
    ) -> Decision:
        """1:N. Find the identities that a probe is most like, at most ``limit``, and decide whether the best is it.

        Raises:
            ThresholdNotCalibrated: no threshold is known and ``threshold`` brings none.
            InvalidEmbedding, ContractMismatch: the probe does not fit the gallery.
        """
        check_override(threshold, "identify_threshold", -1.0, 1.0)
        check_override(margin, "runner_up_margin", 0.0, 2.0)
        if limit < 1:
            raise InvalidArgument(f"limit is {limit}; expected at least 1", metadata={"field": "limit"})
        tenant = await self._book.tenant(gallery)
        (vector,) = _unit_vectors(tenant, [probe])
        size, best = await asyncio.gather(
            self._size(tenant), self._best_identities(tenant, vector, wanted=max(2, limit))
        )
        return decide_identification(
            await self._candidates(tenant, best),
            threshold=identification_threshold(tenant.gallery, size, threshold),
            margin=tenant.gallery.policy.runner_up_margin if margin is None else margin,
            policy_revision=tenant.gallery.policy.revision,
            gallery_size=size,
        )

    async def _best_identities(self, tenant: Tenant, vector: Vector, wanted: int) -> list[Hit]:
        """Return the best hit of each of the ``wanted`` nearest identities (maximum fusion), exactly.

        Neighbours come best first, so the first ``wanted`` different identities among them are the right ones as soon
        as there are that many; identities with many templates only make the query longer.
        """
        collection = await self._collection(tenant)
        where = Where({"gallery": tenant.uid}, valid_at=time.time())
        limit = 4 * wanted
        while True:
            hits = await self._engine.nearest(collection, vector, where, limit)
            best: dict[str, Hit] = {}
            for hit in hits:
                best.setdefault(hit.payload["identity"], hit)
            if len(best) >= wanted or len(hits) < limit:
                return list(best.values())[:wanted]
            limit *= 4

    async def _candidates(self, tenant: Tenant, hits: Sequence[Hit]) -> list[Candidate]:
        keys = [records.identity_point_id(tenant.uid, hit.payload["identity"]) for hit in hits]
        named = await self._engine.get(await self._collection(tenant), keys)
        return [
            Candidate(
                identity=hit.payload["identity"],
                score=hit.score,
                template=hit.id,
                display_name=named[key].payload["display_name"] if key in named else "",
            )
            for hit, key in zip(hits, keys, strict=True)
        ]

    # Shared steps

    async def _collection(self, tenant: Tenant) -> str:
        contract = tenant.gallery.contract
        await self._engine.ensure(contract.key, contract.dimension)
        return contract.key

    async def _size(self, tenant: Tenant) -> int:
        return await self._engine.count(
            await self._collection(tenant), records.of_gallery(tenant.uid, records.IDENTITY)
        )

    async def _template_count(self, tenant: Tenant, identity: str) -> int:
        where = records.of_identity(tenant.uid, identity, records.TEMPLATE)
        return await self._engine.count(await self._collection(tenant), where)

    async def _find_identity(self, tenant: Tenant, identity: str) -> Point | None:
        key = records.identity_point_id(tenant.uid, identity)
        return (await self._engine.get(await self._collection(tenant), [key])).get(key)

    async def _identity(self, tenant: Tenant, identity: str) -> Point:
        record = await self._find_identity(tenant, identity)
        if record is None:
            gallery = tenant.gallery.id
            raise IdentityNotFound(
                f"nobody is enrolled in {gallery!r} under {identity!r}",
                metadata={"gallery": gallery, "identity": identity},
            )
        return record

    async def _template(self, tenant: Tenant, identity: str, template: str, *, with_vector: bool = False) -> Point:
        try:
            key = str(uuid.UUID(template))
        except ValueError:
            key = ""
        found = await self._engine.get(await self._collection(tenant), [key] if key else [], with_vector=with_vector)
        point = found.get(key)
        owner = (records.TEMPLATE, tenant.uid, identity)
        if point is None or tuple(point.payload[name] for name in ("kind", "gallery", "identity")) != owner:
            raise TemplateNotFound(
                f"the identity {identity!r} of {tenant.gallery.id!r} has no template {template!r}",
                metadata={"gallery": tenant.gallery.id, "identity": identity, "template": template},
            )
        return point

    async def _check_room(
        self, tenant: Tenant, identity: str, record: Point | None, more: int, create_identity: bool
    ) -> None:
        if record is None and not create_identity:
            await self._identity(tenant, identity)
        held = await self._template_count(tenant, identity) if record else 0
        limit = tenant.gallery.policy.max_templates
        if held + more > limit:
            raise TemplateLimitReached(
                f"the identity {identity!r} has {held} templates and {more} more would exceed the limit of {limit}",
                metadata={"identity": identity, "templates": held, "limit": limit},
            )

    async def _write_with_identity(
        self,
        collection: str,
        tenant: Tenant,
        identity: str,
        payload: dict[str, Any],
        record: Point | None,
        points: Sequence[Point],
    ) -> None:
        """Write templates together with their identity's record, which tells concurrent writers apart."""
        key = records.identity_point_id(tenant.uid, identity)
        mark = uuid.uuid4().hex
        batch = [Point(key, {**payload, "mark": mark}), *points]
        if self._engine.exclusive:
            await self._engine.upsert(collection, batch)
            return
        unchanged = Where({"revision": record.payload["revision"]}) if record else None
        await self._engine.upsert(collection, batch, insert_only=record is None, only_if=unchanged)
        stored = (await self._engine.get(collection, [key])).get(key)
        if stored is None or stored.payload["mark"] != mark:
            await self._engine.delete(collection, [point.id for point in points])
            raise ConcurrentUpdate(
                f"the identity {identity!r} was changed by another service; repeat the call",
                metadata={"gallery": tenant.gallery.id, "identity": identity},
            )

    def _digest(self, content: bytes) -> str:
        return hmac.new(self._secret, content, hashlib.sha256).hexdigest()


async def _nothing() -> list[Hit]:
    return []


def _unit_vectors(tenant: Tenant, embeddings: Sequence[NewTemplate | Probe]) -> list[Vector]:
    contract = tenant.gallery.contract
    vectors = []
    for embedding in embeddings:
        vectors.append(unit(embedding.vector, contract.dimension))
        if not contract.accepts(embedding.contract):
            given = embedding.contract
            raise ContractMismatch(
                f"the embedding was made under {given.key}; the gallery {tenant.gallery.id!r} is bound to "
                f"{contract.key}",
                metadata={"given": given.key, "expected": contract.key},
            )
    return vectors
