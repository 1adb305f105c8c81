"""The store: galleries, identities and templates; enrol, verify, identify."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

from numpy.typing import ArrayLike

from sameface_qdrant.calibration.gallery import GalleryCalibration
from sameface_qdrant.calibration.inputs import Cohort
from sameface_qdrant.calibration.requests import CalibrationOptions, SettingChanges
from sameface_qdrant.calibration.what_if import RecordedDecisions, WhatIf
from sameface_qdrant.engines.base import Engine, EngineDescription
from sameface_qdrant.engines.edge.options import EdgeOptions
from sameface_qdrant.engines.server.options import ServerOptions
from sameface_qdrant.metrics.comparisons import Comparisons
from sameface_qdrant.metrics.cross_comparison import MAX_COMPARISONS
from sameface_qdrant.store.calibrate import calibrate_gallery, gallery_what_if
from sameface_qdrant.store.checked_engine import checked
from sameface_qdrant.store.decisions import Decisions
from sameface_qdrant.store.enrolment import Enrolments
from sameface_qdrant.store.erasure import Erasures
from sameface_qdrant.store.expiry import sweep
from sameface_qdrant.store.galleries import Galleries
from sameface_qdrant.store.gallery_memory import GALLERY_MAX_AGE_S, SIZE_MAX_AGE_S
from sameface_qdrant.store.health import check_reads, check_writes
from sameface_qdrant.store.identities import Identities
from sameface_qdrant.store.migrations.migrations import Migrations
from sameface_qdrant.store.opening import open_engine
from sameface_qdrant.store.protection.engine import ProtectedEngine
from sameface_qdrant.store.protection.keys import ProtectionKeys
from sameface_qdrant.store.protection.rekey import Progress, Rekeyed
from sameface_qdrant.store.protection.state import Protections
from sameface_qdrant.store.quotas import Quotas
from sameface_qdrant.store.remembered_vectors import remembering
from sameface_qdrant.store.renewal import Renewals
from sameface_qdrant.store.secret import open_meta
from sameface_qdrant.store.templates import Templates
from sameface_qdrant.store.write_lock import WriteLock
from sameface_qdrant.values.argument_types import check_type, checks_arguments
from sameface_qdrant.values.decision import Decision, Operation, Probe, Renewal, Scope
from sameface_qdrant.values.enrolment import Enrolment, EnrolmentResult
from sameface_qdrant.values.erasure import ErasureReceipt
from sameface_qdrant.values.gallery import Gallery
from sameface_qdrant.values.ids import NO_LABELS
from sameface_qdrant.values.origin import EmbeddingOrigin
from sameface_qdrant.values.quota import Quota
from sameface_qdrant.values.template import FoundTemplate, NewTemplate, Template, TemplateFilter


def unchanged(engine: Engine) -> Engine:
    """Return the engine itself."""
    return engine


@checks_arguments
class Store:
    """Open it with `Store.open`. Every method is a coroutine, and calls may run concurrently."""

    galleries: Galleries
    """Create, get, list, delete; change a policy."""
    identities: Identities
    """Create, get, list, change, move, merge, delete."""
    templates: Templates
    """Get, list, change, delete; `Store.enroll` adds them."""
    erasures: Erasures
    """Get and list the receipts of deletions."""
    migrations: Migrations
    """Change the embedding contract of a gallery without photos."""

    def __init__(
        self, engine: Engine, protected: ProtectedEngine, galleries: Galleries, write_lock: WriteLock, secret: bytes
    ) -> None:
        self._engine = self._remembering = engine
        self._checked = engine = galleries.engine
        self.protections = protected.protections
        strict = ProtectedEngine(protected.stored, protected.protections, strict=True)
        self._strict = galleries.sizes.watching(cast(Engine, strict))
        self._write_lock = write_lock
        self.galleries = galleries
        self.identities = Identities(engine, galleries, write_lock)
        self.templates = Templates(engine, galleries, self.identities, write_lock)
        self._enrolments = Enrolments(engine, galleries, write_lock, secret)
        self._renewals = Renewals(engine, galleries, write_lock, secret)
        self._decisions = Decisions(engine, galleries, self.identities)
        self.erasures = galleries.erasures
        self.migrations = Migrations(galleries, write_lock)
        write_lock.gate = self.migrations.gate
        self.calculating = ThreadPoolExecutor(1, thread_name_prefix="calibration")
        """The thread of calibrations and what-ifs. They run one after another; the engine uses other threads."""

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        api_key: str | None = None,
        options: ServerOptions | None = None,
        edge: EdgeOptions | None = None,
        keys: ProtectionKeys | None = None,
        protects_new: bool | None = None,
        around: Callable[[Engine], Engine] = unchanged,
    ) -> "Store":
        """Open ``edge:///absolute/folder``, ``http(s)://host:port`` of a Qdrant server, or ``:memory:`` for tests.

        The port of a server is its gRPC port, by default 6334. ``api_key`` and ``options`` are for a server, ``edge``
        for an embedded store. ``keys`` are those of protected galleries; new galleries are protected if there are keys,
        unless ``protects_new`` is False. ``around`` returns what the store uses in place of its engine, for instance an
        engine that measures requests and passes them on.

        Raises:
            StoreLocked: another process uses the folder.
            StoreUnavailable: the server does not answer or refuses the key, or the folder cannot be written.
            StoreTooOld: the server is older than 1.17.
            ProtectionKeyRefused: a key of a protected gallery is missing, or is another one. Nothing was written.
            InvalidArgument: the URL has another form, or the certificate or the keys cannot be read.
        """
        options = options or ServerOptions()
        engine = around(await open_engine(url, api_key, options, edge or EdgeOptions()))
        try:
            return await cls.over(
                engine,
                gallery_max_age_s=options.gallery_max_age_s,
                size_max_age_s=options.size_max_age_s,
                keys=keys,
                protects_new=protects_new,
            )
        except BaseException:
            await engine.aclose()
            raise

    @classmethod
    async def over(
        cls,
        engine: Engine,
        *,
        gallery_max_age_s: float = GALLERY_MAX_AGE_S,
        size_max_age_s: float = SIZE_MAX_AGE_S,
        keys: ProtectionKeys | None = None,
        protects_new: bool | None = None,
    ) -> "Store":
        """Open a store on an engine that is already open. For the two bounds see `ServerOptions`."""
        kept = remembering(engine)
        write_lock = WriteLock(engine)
        protected = ProtectedEngine(checked(kept), Protections(checked(kept), keys))
        galleries = Galleries(
            protected,
            write_lock,
            protects_new=keys is not None if protects_new is None else protects_new,
            gallery_max_age_s=gallery_max_age_s,
            size_max_age_s=size_max_age_s,
        )
        secret = await open_meta(checked(kept), protected.records.check_keys)
        store = cls(engine, protected, galleries, write_lock, secret)
        store._remembering = kept
        if engine.exclusive:
            # On a server the sweep does it, and services may start without it.
            store.erasures.resume()
            store.migrations.wake()
        return store

    @property
    def description(self) -> EngineDescription:
        """Which engine holds the templates."""
        return self._engine.description

    @property
    def engine(self) -> Engine:
        """The engine, which refuses to read what this release would misread; for `sameface_qdrant.transfer`.

        It leaves nothing out for which a key is missing.
        """
        return self._strict

    async def check_reads(self) -> None:
        """Raise the error that reads would raise at the moment, such as StoreUnavailable; cheap."""
        await check_reads(self._engine)

    async def check_writes(self) -> None:
        """Raise the error that writes would raise at the moment, such as StoreFull; cheap, and changes nothing."""
        await check_writes(self._engine)

    def use_secret(self, secret: bytes) -> None:
        """Use another secret from now on; an import into an empty store takes over that of its file."""
        self._enrolments = Enrolments(self._checked, self.galleries, self._write_lock, secret)
        self._renewals = Renewals(self._checked, self.galleries, self._write_lock, secret)

    def use_quotas(self, quotas: Sequence[Quota]) -> None:
        """Hold the galleries to these quotas from now on. Where several services share the store, each needs them."""
        self.galleries.quotas = Quotas(self._checked, quotas)

    async def aclose(self) -> None:
        """Close the store once every write has finished. Safe to call twice."""
        await self.migrations.aclose()
        await self._write_lock.drain()
        await self.erasures.aclose()
        await self.galleries.sizes.aclose()
        await asyncio.to_thread(self.calculating.shutdown, cancel_futures=True)
        await self._remembering.aclose()

    async def enroll(
        self,
        gallery: str,
        identity: str,
        templates: Sequence[NewTemplate] | NewTemplate,
        *,
        request_id: str = "",
        create_identity: bool = True,
        display_name: str = "",
        labels: Mapping[str, str] = NO_LABELS,
        consent_reference: str = "",
        purpose: str = "",
        validate_only: bool = False,
        renew: bool = False,
    ) -> tuple[Template, ...]:
        """Add one template or several to an identity, all or none. They are durable when this returns.

        A repeat with the same request id returns what the first call stored; without a request id, a repeat with the
        same content does. Each new template's ``findings`` say what the policy's guards found. Display name, labels,
        consent reference and purpose are stored only if the identity is new. ``validate_only`` checks everything and
        stores nothing; the templates that it returns have no id. With ``renew``, a repeat with the same content also
        replaces mapped embeddings by those that are given. The templates keep their ids, times and expiry.

        Raises:
            InvalidEmbedding, ContractMismatch: an embedding does not fit the gallery; nothing is stored.
            GalleryNotFound: there is no such gallery.
            IdentityNotFound: there is no such identity and ``create_identity`` is not set.
            IdentityExpired: the identity has expired.
            TemplateLimitReached: the identity would have more templates than the policy allows.
            IdentityCollision, DuplicateSample, TemplateOutlier: the policy rejects a template.
            RequestIdReused: the request id was used with other content.
            QuotaExceeded: a quota allows no more identities or templates.
            ConcurrentUpdate: another service changed the identity at the same moment; repeat the call.
        """
        several = (templates,) if isinstance(templates, NewTemplate) else tuple(templates)
        for number, one in enumerate(several):
            check_type(one, NewTemplate, f"templates[{number}]")
        request = Enrolment(
            identity, several, request_id, create_identity, display_name, labels, consent_reference, purpose
        )
        if renew and not validate_only:
            await self._renewals.renew_same(gallery, request)
        return await (self._enrolments.check if validate_only else self._enrolments.enroll)(gallery, request)

    async def renew(
        self,
        gallery: str,
        identity: str,
        template: str,
        new: NewTemplate,
        *,
        operation: Operation = Operation.VERIFICATION,
    ) -> Renewal:
        """Replace a mapped embedding by that of a probe which matched, see `sameface_qdrant.store.renewal`.

        The template keeps its id, its times and its expiry. ``Decision.renewal`` tells which template it may be. A
        renewal that the score, a guard or an expired identity forbids is returned as REFUSED, with its reason.

        Args:
            gallery: its id.
            identity: the one that matched.
            template: the id of its mapped template.
            new: the embedding of the probe, under the gallery's contract; its ``expire_time`` is ignored.
            operation: what matched; an identification needs a higher score.

        Raises:
            GalleryNotFound, IdentityNotFound, TemplateNotFound: one of them does not exist.
            ThresholdNotCalibrated: the gallery has no threshold for mapped templates.
            InvalidEmbedding, ContractMismatch: the embedding does not fit the gallery.
            StoreUnavailable: unknown whether it was replaced; a repeat finds out.
        """
        return await self._renewals.renew(gallery, identity, template, new, operation=operation)

    def enroll_many(
        self,
        gallery: str,
        enrolments: Iterable[Enrolment] | AsyncIterable[Enrolment],
        *,
        batch_size: int = 256,
    ) -> AsyncGenerator[EnrolmentResult, None]:
        """Enrol very many identities, and yield what became of each one, in their order.

        It writes batches of up to ``batch_size`` identities, 1..1000. Results are yielded once their batch is durable.
        The next batch is read and made ready meanwhile. The guards compare each one with the gallery and with those
        before it. What is refused does not stop the others. Where this process is the only writer, the guards keep the
        gallery's vectors in memory, up to 256 MiB, until a minute after the last batch; see docs/plugin.md.
        To go on after an interruption, pass the same enrolments again: what is stored already is found, by its
        request id or its content, and returned.

        Raises:
            GalleryNotFound: there is no such gallery.
            StoreUnavailable, StoreFull: a batch could not be written. Pass the same enrolments again.
            InvalidArgument: ``batch_size`` is out of range.
        """
        return self._enrolments.enroll_many(gallery, enrolments, batch_size)

    async def verify(
        self,
        gallery: str | Gallery,
        identity: str,
        probe: Probe | ArrayLike,
        *,
        scope: Scope | None = None,
        threshold: float | None = None,
        margin: float | None = None,
    ) -> Decision:
        """1:1. Compare a probe with a claimed identity; see `sameface_qdrant.policy` for the table.

        ``scope`` defaults to GALLERY in a gallery of two or more identities, else to CLAIM. Pass a `Gallery` of this
        store instead of its id to save a read. A bare vector in place of a `Probe` counts as one under the gallery's
        contract; the caller must know that it is.

        Raises:
            GalleryNotFound: there is no such gallery.
            IdentityNotFound: there is no such identity, or none of its templates is in force.
            ThresholdNotCalibrated: no threshold is known and ``threshold`` is not given.
            InvalidEmbedding, ContractMismatch: the probe does not fit the gallery.
            InvalidArgument: ``threshold`` is outside −1..1, or ``margin`` outside 0..2.
        """
        return await self._decisions.verify(gallery, identity, probe, scope=scope, threshold=threshold, margin=margin)

    async def identify(
        self,
        gallery: str | Gallery,
        probe: Probe | ArrayLike,
        *,
        threshold: float | None = None,
        margin: float | None = None,
        limit: int = 5,
    ) -> Decision:
        """1:N. Find the identities most similar to a probe, at most ``limit``; decide whether the best one matches.

        Raises:
            GalleryNotFound: there is no such gallery.
            ThresholdNotCalibrated: no threshold is known and ``threshold`` is not given.
            InvalidEmbedding, ContractMismatch: the probe does not fit the gallery.
            InvalidArgument: ``limit`` is outside 1..1000, ``threshold`` outside −1..1, or ``margin`` outside 0..2.
        """
        return await self._decisions.identify(gallery, probe, threshold=threshold, margin=margin, limit=limit)

    async def search(
        self,
        gallery: str | Gallery,
        probe: Probe | ArrayLike,
        *,
        where: TemplateFilter = TemplateFilter(),  # noqa: B008  # frozen
        limit: int = 10,
        min_score: float | None = None,
    ) -> tuple[FoundTemplate, ...]:
        """Return the templates in force that are nearest to a probe, best first, without a decision.

        Raises:
            GalleryNotFound: there is no such gallery.
            InvalidEmbedding, ContractMismatch: the probe does not fit the gallery.
            InvalidArgument: ``limit`` is not 1..1000, or a label is malformed.
        """
        return await self._decisions.search(gallery, probe, where=where, limit=limit, min_score=min_score)

    async def calibrate(
        self,
        gallery: str,
        *,
        apply: bool = False,
        accept_supported: bool = False,
        operation: Operation | None = None,
        comparisons: Comparisons | None = None,
        cohort: Cohort | None = None,
        author: str = "",
        max_comparisons: int = MAX_COMPARISONS,
        seed: int = 0,
        etag: str = "",
        origin: EmbeddingOrigin | None = None,
    ) -> GalleryCalibration:
        """Measure the thresholds and the runner-up margin for the targets of the gallery's policy.

        The answer also says what calls will answer with them. It compares the gallery's templates, unless scores or a
        cohort are given.

        Args:
            gallery: its id.
            apply: write thresholds and margin into the policy as a new revision; else only measure.
            accept_supported: if a target is not supported, apply the threshold for the lowest supported rate, if that
                is 5 % at most.
            operation: apply only the threshold for this operation; None applies both.
            comparisons: labelled scores, from `read_scores` or `labelled_scores`.
            cohort: people who are not enrolled, to compare the gallery with.
            author: stored with the policy's new revision.
            max_comparisons: most non-mated comparisons; more are sampled.
            seed: of sampling and bootstrap.
            etag: if given, the gallery must still have it.
            origin: the templates whose thresholds are measured. MAPPED compares native templates, as probes, with
                mapped ones, and leaves the margin as it is. None measures those of native templates, and beside them
                those of mapped ones as far as the templates support it; the caveats tell.

        Raises:
            GalleryNotFound: there is no such gallery.
            NotEnoughData: there is nothing to compare, or ``apply`` is set and a target is not supported.
            ConcurrentUpdate: the gallery was changed meanwhile, or ``etag`` is not its present one.
            InvalidArgument, InvalidEmbedding, ContractMismatch: the scores or the cohort are malformed.
        """
        options = CalibrationOptions(
            apply,
            accept_supported,
            operation,
            comparisons,
            cohort,
            author,
            max_comparisons,
            seed,
            origin or EmbeddingOrigin.NATIVE,
        )
        return await calibrate_gallery(
            self._checked, self.galleries, self.calculating, gallery, options, etag=etag, both=origin is None
        )

    async def what_if(
        self,
        gallery: str,
        operation: Operation,
        *,
        threshold: float | None = None,
        margin: float | None = None,
        scope: Scope | None = None,
        decisions: RecordedDecisions | None = None,
    ) -> WhatIf:
        """Return what another threshold or margin would change, for the gallery's templates or for given decisions.

        Args:
            gallery: its id.
            operation: which decisions to repeat.
            threshold: −1 to 1; None keeps the present one.
            margin: 0 to 2; None keeps the present one.
            scope: of verifications; None is GALLERY.
            decisions: decisions to decide again, from `recorded_decisions`; None compares the gallery's templates.

        Raises:
            GalleryNotFound: there is no such gallery.
            NotEnoughData: it has fewer than two identities with templates.
            ThresholdNotCalibrated: the policy and the model card have no threshold to compare with.
            InvalidArgument: the threshold is outside −1..1, or the margin outside 0..2.
        """
        changes = SettingChanges(threshold, margin, scope, decisions)
        return await gallery_what_if(self._checked, self.galleries, self.calculating, gallery, operation, changes)

    async def rekey(self, gallery: str, *, progress: Progress | None = None) -> Rekeyed:
        """Write the templates and records of a protected gallery again under the current key, without photos.

        Scores and decisions stay as they are, and calls go on meanwhile. A repeat finishes what was interrupted.
        Where several services write, it takes at least twelve seconds.

        Raises:
            GalleryNotFound: there is no such gallery, or it was deleted meanwhile.
            InvalidArgument: it is not protected.
            ProtectionKeyRefused: its present key or the current one is missing.
            ConcurrentUpdate: another call re-keys it at the moment.
        """
        return await self.galleries.rekeying.run(gallery, progress or (lambda done, total: None))

    async def sweep(self) -> tuple[ErasureReceipt, ...]:
        """Erase expired identities and templates, and return the receipts. Earlier erasures go on in the background.

        One call erases at most 200 identities of each gallery. Comparisons ignore what has expired even before that.
        """
        receipts = await sweep(self._checked, self.galleries, self.identities, self.templates)
        self.erasures.resume()
        self.migrations.wake()
        await self.migrations.sweep()
        return tuple(receipts)
