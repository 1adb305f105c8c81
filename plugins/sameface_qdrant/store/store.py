"""The store: galleries, identities and templates; enrol, verify, identify."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Unpack

from sameface_qdrant import recognition
from sameface_qdrant.calibration.gallery import CalibrationOptions, GalleryCalibration, Operation, SettingChanges
from sameface_qdrant.calibration.what_if import WhatIf
from sameface_qdrant.engines.base import Engine, EngineDescription, Point
from sameface_qdrant.engines.server.options import ServerOptions
from sameface_qdrant.errors import IdentityNotFound, InvalidArgument
from sameface_qdrant.policy import check_override
from sameface_qdrant.store import payloads
from sameface_qdrant.store.calibrate import calibrate_gallery, gallery_what_if
from sameface_qdrant.store.checked_engine import checked
from sameface_qdrant.store.enrolment import Enrolments
from sameface_qdrant.store.enrolment_request import Enrolee
from sameface_qdrant.store.erasure import Erasures
from sameface_qdrant.store.expiry import sweep
from sameface_qdrant.store.filters import search_filter
from sameface_qdrant.store.galleries import Galleries
from sameface_qdrant.store.gallery_search import StoredGallerySearch
from sameface_qdrant.store.identities import Identities
from sameface_qdrant.store.templates import Templates
from sameface_qdrant.store.write_lock import WriteLock
from sameface_qdrant.values.decision import Decision, Probe, Scope
from sameface_qdrant.values.erasure import ErasureReceipt
from sameface_qdrant.values.gallery import Gallery
from sameface_qdrant.values.ids import NO_LABELS
from sameface_qdrant.values.template import FoundTemplate, NewTemplate, Template, TemplateFilter
from sameface_qdrant.values.vectors import Vector, units_under


class Store:
    """Opened by `Store.open`; every method is a coroutine and may be called concurrently."""

    galleries: Galleries
    """Create, get, list, delete; change a policy."""
    identities: Identities
    """Create, get, list, change, move, merge, delete."""
    templates: Templates
    """Get, list, change, delete; `Store.enroll` adds them."""
    erasures: Erasures
    """Get and list the receipts of deletions."""

    def __init__(self, engine: Engine, galleries: Galleries, write_lock: WriteLock, secret: bytes) -> None:
        self._engine = engine
        self._checked = engine = checked(engine)
        self._write_lock = write_lock
        self.galleries = galleries
        self.identities = Identities(engine, galleries, write_lock)
        self.templates = Templates(engine, galleries, self.identities, write_lock)
        self._enrolments = Enrolments(engine, galleries, self.identities, write_lock, secret)
        self.erasures = galleries.erasures
        self.calculating = ThreadPoolExecutor(1, thread_name_prefix="calibration")
        """The thread of calibrations and what-ifs: one calculates at a time, beside the threads that read files."""

    @classmethod
    async def open(cls, url: str, *, api_key: str | None = None, options: ServerOptions | None = None) -> "Store":
        """Open ``edge:///absolute/folder``, ``http(s)://host:port`` of a Qdrant server, or ``:memory:`` for tests.

        The port of a server is its gRPC port, 6334 where none is named. ``api_key`` and ``options`` are a server's.

        Raises:
            StoreLocked: another process holds the folder.
            StoreUnavailable: the server does not answer or refuses the key, or the folder cannot be written.
            StoreTooOld: the server is older than 1.17.
            InvalidArgument: the URL has another form, or the certificate cannot be read.
        """
        engine = await _open_engine(url, api_key, options or ServerOptions())
        try:
            return await cls.over(engine)
        except BaseException:
            await engine.aclose()
            raise

    @classmethod
    async def over(cls, engine: Engine) -> "Store":
        """Open a store over an engine that is open already."""
        write_lock = WriteLock()
        galleries = Galleries(checked(engine), write_lock)
        return cls(engine, galleries, write_lock, await galleries.open())

    @property
    def description(self) -> EngineDescription:
        """What holds the templates."""
        return self._engine.description

    async def aclose(self) -> None:
        """Close the store once every write has finished. Safe to call twice."""
        await self._write_lock.drain()
        await asyncio.to_thread(self.calculating.shutdown, cancel_futures=True)
        await self._engine.aclose()

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
        consent_reference: str = "",
        purpose: str = "",
        validate_only: bool = False,
    ) -> tuple[Template, ...]:
        """Add templates to an identity, all or none; durable once this returns.

        A repeat with the same request id (without one: with the same content) returns what the first call stored.
        What the policy's guards found is in each template's ``findings``. Name, labels, consent and purpose are of the
        identity, where it is made. With ``validate_only`` everything is checked and nothing is stored; the templates
        that come back have no id.

        Raises:
            InvalidEmbedding, ContractMismatch: an embedding does not fit the gallery; nothing is stored.
            GalleryNotFound: there is no such gallery.
            IdentityNotFound: there is no such identity and ``create_identity`` is not set.
            TemplateLimitReached: the identity would hold more than the policy allows.
            IdentityCollision, DuplicateSample, TemplateOutlier: the policy rejects it.
            RequestIdReused: the request id was used with other content.
            ConcurrentUpdate: another service changed the identity at the same moment; repeat.
        """
        enrolee = Enrolee(identity, create_identity, display_name, labels, consent_reference, purpose)
        if validate_only:
            return await self._enrolments.check(gallery, enrolee, templates)
        return await self._enrolments.enroll(gallery, enrolee, templates, request_id=request_id)

    async def verify(
        self,
        gallery: str | Gallery,
        identity: str,
        probe: Probe,
        *,
        scope: Scope | None = None,
        threshold: float | None = None,
        margin: float | None = None,
    ) -> Decision:
        """1:1. Compare a probe with a claimed identity; see `sameface_qdrant.policy` for the table.

        ``scope`` defaults to GALLERY in a gallery of two or more identities, else to CLAIM. A `Gallery` that was read
        from this store saves reading it again.

        Raises:
            GalleryNotFound: there is no such gallery.
            IdentityNotFound: nobody is enrolled under this id, or no template of it is in force.
            ThresholdNotCalibrated: no threshold is known and ``threshold`` brings none.
            InvalidEmbedding, ContractMismatch: the probe does not fit the gallery.
            InvalidArgument: ``threshold`` is outside −1..1, or ``margin`` outside 0..2.
        """
        recognition.check_overrides(threshold, "verify_threshold", margin)
        search, vector = await self._search(gallery, probe)
        try:
            return await recognition.verify(search, identity, vector, scope=scope, threshold=threshold, margin=margin)
        except IdentityNotFound:
            await self._check_current(gallery)
            raise

    async def identify(
        self,
        gallery: str | Gallery,
        probe: Probe,
        *,
        threshold: float | None = None,
        margin: float | None = None,
        limit: int = 5,
    ) -> Decision:
        """1:N. Find the identities that a probe is most like, at most ``limit``, and decide whether the best is it.

        Raises:
            GalleryNotFound: there is no such gallery.
            ThresholdNotCalibrated: no threshold is known and ``threshold`` brings none.
            InvalidEmbedding, ContractMismatch: the probe does not fit the gallery.
            InvalidArgument: ``limit`` is outside 1..1000, ``threshold`` outside −1..1, or ``margin`` outside 0..2.
        """
        recognition.check_overrides(threshold, "identify_threshold", margin)
        recognition.check_limit(limit)
        search, vector = await self._search(gallery, probe)
        decision = await recognition.identify(search, vector, threshold=threshold, margin=margin, limit=limit)
        if not decision.gallery_size:
            await self._check_current(gallery)
        return decision

    async def search(
        self,
        gallery: str | Gallery,
        probe: Probe,
        *,
        where: TemplateFilter = TemplateFilter(),  # noqa: B008  # frozen
        limit: int = 10,
        min_score: float | None = None,
    ) -> tuple[FoundTemplate, ...]:
        """Return the templates in force that are nearest to a probe, best first, without any decision.

        Raises:
            GalleryNotFound: there is no such gallery.
            InvalidEmbedding, ContractMismatch: the probe does not fit the gallery.
            InvalidArgument: ``limit`` is not 1..1000, or a label is malformed.
        """
        check_override(min_score, "min_score", -1.0, 1.0)
        recognition.check_limit(limit)
        tenant = await self.galleries.tenant(gallery)
        (vector,) = units_under(tenant.gallery.contract, [probe])
        looked_at = search_filter(tenant.uid, where, time.time())
        hits = await self._checked.nearest(tenant.collection, vector, looked_at, limit, min_score=min_score)
        if not hits:
            await self._check_current(gallery)
        search = StoredGallerySearch(self._checked, self.identities, tenant)
        names = await search.display_names([hit.payload["identity"] for hit in hits])
        return tuple(
            FoundTemplate(payloads.template_of(Point(hit.id, hit.payload), tenant.gallery.id), hit.score, name)
            for hit, name in zip(hits, names, strict=True)
        )

    async def calibrate(
        self, gallery: str, *, etag: str = "", **options: Unpack[CalibrationOptions]
    ) -> GalleryCalibration:
        """Measure thresholds, and apply them where asked; see `sameface_qdrant.store.calibrate.calibrate_gallery`.

        With ``etag``, the gallery must be the one that has it.
        """
        return await calibrate_gallery(self._checked, self.galleries, self.calculating, gallery, etag=etag, **options)

    async def what_if(self, gallery: str, operation: Operation, **changes: Unpack[SettingChanges]) -> WhatIf:
        """Tell what another setting would change; see `sameface_qdrant.store.calibrate.gallery_what_if`."""
        return await gallery_what_if(self._checked, self.galleries, self.calculating, gallery, operation, **changes)

    async def sweep(self) -> tuple[ErasureReceipt, ...]:
        """Erase what has expired, at most some hundred identities and templates of each gallery; returns the receipts.

        Comparisons ignore what has expired whether or not it was swept.
        """
        return tuple(await sweep(self._checked, self.galleries, self.identities, self.templates))

    async def _check_current(self, gallery: str | Gallery) -> None:
        """Raise GalleryNotFound where a gallery that was read before is not stored any more."""
        if isinstance(gallery, Gallery) and not await self.galleries.is_current(await self.galleries.tenant(gallery)):
            raise self.galleries.not_found(gallery.id)

    async def _search(self, gallery: str | Gallery, probe: Probe) -> tuple[StoredGallerySearch, Vector]:
        tenant = await self.galleries.tenant(gallery)
        (vector,) = units_under(tenant.gallery.contract, [probe])
        return StoredGallerySearch(self._checked, self.identities, tenant), vector


async def _open_engine(url: str, api_key: str | None, options: ServerOptions) -> Engine:
    # Imported here: whoever embeds Edge need not load the client of the server, and the other way round.
    if url.startswith("edge://"):
        from sameface_qdrant.engines.edge.engine import EdgeEngine

        return await EdgeEngine.open(Path(url.removeprefix("edge://")))
    if url == ":memory:" or url.startswith(("http://", "https://")):
        from sameface_qdrant.engines.server.engine import ServerEngine

        return await ServerEngine.open(url, api_key=api_key, options=options)
    raise InvalidArgument(
        f"{url!r} is no store; expected edge:///folder, http(s)://host:port or :memory:", metadata={"field": "url"}
    )
