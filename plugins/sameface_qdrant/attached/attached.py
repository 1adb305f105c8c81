"""A Qdrant collection that another program made, opened by `sameface_qdrant.attach`."""

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from sameface_qdrant import recognition
from sameface_qdrant.attached.calibrating import applied, compared_settings, measured
from sameface_qdrant.attached.counting import Census
from sameface_qdrant.attached.layout import check_writable
from sameface_qdrant.attached.passed_over import PassedOver
from sameface_qdrant.attached.sameness import Witnesses
from sameface_qdrant.attached.scoring import score_many
from sameface_qdrant.attached.search import AttachedSearch
from sameface_qdrant.attached.target import NO_FIELDS, Counts, Id, IdentityScores, Neighbour, given_identity
from sameface_qdrant.attached.templates import compare_templates, read_templates
from sameface_qdrant.calibration.gallery import GalleryCalibration
from sameface_qdrant.calibration.inputs import Cohort
from sameface_qdrant.calibration.requests import CalibrationOptions, SettingChanges
from sameface_qdrant.calibration.what_if import RecordedDecisions, WhatIf
from sameface_qdrant.metrics.comparisons import Comparisons, ComparisonScores
from sameface_qdrant.metrics.cross_comparison import MAX_COMPARISONS
from sameface_qdrant.policy import check_override
from sameface_qdrant.values.argument_types import checks_arguments
from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.decision import Decision, Operation, Scope
from sameface_qdrant.values.gallery import HARD_TEMPLATE_LIMIT, Gallery, OperatingPoint, Policy
from sameface_qdrant.values.vectors import unit, units

if TYPE_CHECKING:
    from sameface_qdrant.attached.queries import AttachedCollection


@checks_arguments
class Attached:
    """Opened by `attach`. Every method is a coroutine, and calls may run concurrently.

    Search is exact and misses no identity. (Qdrant's group queries are approximate: they may miss a group.)

    Every call raises ContractMismatch if the name leads to a collection of another size or distance by now, or to none.
    Every answer is compared with the vectors that come with it, so a score is never taken for that of another distance.
    Another collection of the same layout is noticed within some seconds, see `sameface_qdrant.attached.sameness`.

    A point whose embedding is not finite or has zero norm is never compared with anything. `count` counts such points.
    Once another program has mended one, it is compared after the next `count`, or within half a minute.

    An embedding is an array of any type of real numbers, a list, a tuple, or a tensor that numpy can read; its shape is
    [dimension], and its norm anything but zero.
    """

    def __init__(
        self,
        collection: "AttachedCollection",
        policy: Policy,
        operating_points: tuple[OperatingPoint, ...],
        *,
        writable: bool,
        closes_client: bool,
    ) -> None:
        self._collection = collection
        self._writable = writable
        self._closes_client = closes_client
        self._passed_over = PassedOver(collection)
        self._census = Census(collection, self._passed_over)
        self._witnesses = Witnesses(collection)
        # Decisions read policy and operating points from a gallery. The contract of these embeddings is unknown.
        unknown = Contract(collection.target.collection, 1, "0" * 64, collection.dimension, "unknown")
        self._gallery = Gallery(collection.target.collection, unknown, policy, operating_points=operating_points)

    async def __aenter__(self) -> "Attached":
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection that a URL opened. Safe to call twice."""
        if self._closes_client:
            await self._collection.client.close()

    @property
    def policy(self) -> Policy:
        """The policy in force: the one given to `attach`, with the thresholds that `calibrate` applied since."""
        return self._gallery.policy

    @property
    def _counts(self) -> Counts:
        return self._census.counts

    async def count(self, *, embeddings: bool | None = None) -> Counts:
        """Count identities and templates. Decisions report the last count as their ``gallery_size``.

        `attach`, `calibrate`, `enroll` and `delete` also count. Call this to count the writes of other programs.
        ``embeddings`` says whether to read every embedding, to count the broken ones; by default they are read in a
        collection of up to 10,000 templates.
        """
        counts = await self._census.take(embeddings)
        await self._witnesses.check()
        return counts

    async def verify(
        self,
        identity: Id,
        embedding: ArrayLike,
        *,
        scope: Scope | None = None,
        threshold: float | None = None,
        margin: float | None = None,
    ) -> Decision[Id]:
        """1:1. Compare an embedding with a claimed identity.

        See `sameface_qdrant.policy` for the table. ``scope`` defaults to GALLERY if two or more identities were
        counted, else to CLAIM.

        Raises:
            IdentityNotFound: no point with a usable embedding has this identity.
            ThresholdNotCalibrated: ``threshold`` is not given, and policy and operating points have none.
            InvalidEmbedding: the embedding has another dimension, a value that is not finite, or zero norm.
            InvalidArgument: ``threshold`` is outside −1..1, or ``margin`` outside 0..2.
        """
        claimed = given_identity(identity)
        vector = unit(embedding, self._collection.dimension)
        await self._check_soon()
        return await recognition.verify(
            self._search(), claimed, vector, scope=scope, threshold=threshold, margin=margin
        )

    async def identify(
        self, embedding: ArrayLike, *, threshold: float | None = None, margin: float | None = None, limit: int = 5
    ) -> Decision[Id]:
        """1:N. Find the identities most similar to an embedding, at most ``limit``; decide whether the best matches.

        Raises:
            ThresholdNotCalibrated: ``threshold`` is not given, and policy and operating points have none.
            InvalidEmbedding: the embedding has another dimension, a value that is not finite, or zero norm.
            InvalidArgument: ``limit`` is outside 1..1000, ``threshold`` outside −1..1, or ``margin`` outside 0..2.
        """
        vector = unit(embedding, self._collection.dimension)
        await self._check_soon()
        return await recognition.identify(self._search(), vector, threshold=threshold, margin=margin, limit=limit)

    async def search(
        self, embedding: ArrayLike, *, limit: int = 10, min_score: float | None = None
    ) -> tuple[Neighbour, ...]:
        """Return the nearest points that have an identity, best first, without a decision.

        Raises:
            InvalidEmbedding: the embedding has another dimension, a value that is not finite, or zero norm.
            InvalidArgument: ``limit`` is outside 1..1000, or ``min_score`` outside −1..1.
        """
        check_override(min_score, "min_score", -1.0, 1.0)
        recognition.check_limit(limit)
        vector = unit(embedding, self._collection.dimension)
        await self._check_soon()
        return tuple(await self._collection.nearest(vector, limit, min_score=min_score, passed_over=self._passed_over))

    async def score_many(
        self, embeddings: ArrayLike | Sequence[ArrayLike], *, limit: int | None = None
    ) -> IdentityScores:
        """Score embeddings, [probes, dimension] or a sequence of them, with every identity. Exact, without a decision.

        With ``limit``, 1..1000, only the best identities of each probe are returned. The collection is read once, in
        pages of 1 MB. Memory: the result, two copies of the embeddings as float32, and some 30 MB.

        Raises:
            InvalidEmbedding: one of them is malformed, see `verify`; ``metadata["number"]`` says which.
            InvalidArgument: ``limit`` is out of range.
        """
        if limit is not None:
            recognition.check_limit(limit)
        vectors = units(embeddings, self._collection.dimension)
        await self._collection.check_unchanged()
        await self._witnesses.check_soon()
        return await score_many(self._collection, vectors, limit, expected=self._counts.identities)

    async def scores(
        self, *, max_templates: int = 4_000, templates_per_identity: int = HARD_TEMPLATE_LIMIT, seed: int = 0
    ) -> ComparisonScores:
        """Compare every template with every identity by the identity's best template, as decisions do.

        Mated: a template with the other templates of its identity. Non-mated: a template with another identity. See
        `sameface_qdrant.metrics.cross_comparison`. Every id is read; embeddings only of a seeded sample of identities.
        Non-mated scores with an identity that has more than ``templates_per_identity`` templates are too low.

        Raises:
            NotEnoughData: the templates are of fewer than two identities.
            InvalidArgument: ``max_templates`` is below 2, ``templates_per_identity`` below 1, or ``seed`` below 0.
        """
        templates = await read_templates(self._collection, max_templates, templates_per_identity, seed)
        return await asyncio.to_thread(compare_templates, templates, seed)

    async def calibrate(
        self,
        *,
        apply: bool = False,
        accept_supported: bool = False,
        operation: Operation | None = None,
        comparisons: Comparisons | None = None,
        cohort: Cohort | None = None,
        author: str = "",
        max_comparisons: int = MAX_COMPARISONS,
        seed: int = 0,
    ) -> GalleryCalibration:
        """Measure thresholds and margin for the policy's targets; with ``apply`` this object decides by them then.

        The arguments are those of `sameface_qdrant.Store.calibrate`. It compares the collection's templates, or uses
        the scores or the cohort. It writes nothing to the collection: to use the result again, pass `policy` to
        `attach`. The contract of a cohort is not checked, because the collection's is unknown.

        Raises:
            NotEnoughData: there is nothing to compare, or ``apply`` is set and a target is not supported.
            InvalidArgument, InvalidEmbedding: the scores or the cohort are malformed.
        """
        if cohort is not None:
            cohort = dataclasses.replace(cohort, contract=None)
        options = CalibrationOptions(
            apply, accept_supported, operation, comparisons, cohort, author, max_comparisons, seed
        )
        size = (await self.count()).identities
        found = await measured(self._collection, self._gallery, size, options)
        if apply:
            # From the gallery as it is now: another call may have changed it meanwhile.
            found = applied(found, self._gallery, size, options)
            self._gallery = found.gallery
        return found

    async def what_if(
        self,
        operation: Operation,
        *,
        threshold: float | None = None,
        margin: float | None = None,
        scope: Scope | None = None,
        decisions: RecordedDecisions | None = None,
    ) -> WhatIf:
        """Return what another threshold or margin would change, for the collection's templates or for given decisions.

        The arguments are those of `sameface_qdrant.Store.what_if`.

        Raises:
            NotEnoughData: the templates are of fewer than two identities.
            ThresholdNotCalibrated: policy and operating points have no threshold to compare with.
            InvalidArgument: the threshold is outside −1..1, or the margin outside 0..2.
        """
        changes = SettingChanges(threshold, margin, scope, decisions)
        return await compared_settings(self._collection, self._gallery, self._counts.identities, operation, changes)

    async def enroll(
        self, identity: Id, embeddings: ArrayLike | Sequence[ArrayLike], *, payload: Mapping[str, Any] = NO_FIELDS
    ) -> tuple[str, ...]:
        """Add one point per embedding and return their ids. A repeat with the same content adds nothing.

        ``embeddings`` is a sequence of embeddings, [n, dimension], or a single one, [dimension]. Each point has
        ``payload``, the fields of ``where`` and the identity. Embeddings are stored with unit norm.

        Raises:
            InvalidArgument: attached without ``writable``, a field to write is nested, or the payload is no JSON.
            InvalidEmbedding: an embedding is malformed, see `verify`; nothing is stored.
            StoreUnavailable: the API key may not write.
        """
        # Imported here, so that users of Edge do not load qdrant-client.
        from sameface_qdrant.attached import writes

        check_writable(self._collection.target, self._writable)
        identity = given_identity(identity)
        vectors = units(embeddings, self._collection.dimension)
        await self._collection.check_unchanged()
        await self._witnesses.check_soon()
        ids = await writes.enroll(self._collection, identity, vectors, payload)
        if ids:
            await self._census.update()
        return ids

    async def delete(self, identity: Id) -> int:
        """Remove every point of an identity under ``where``, including points of other writers; return how many.

        Raises:
            InvalidArgument: attached without ``writable``.
        """
        from sameface_qdrant.attached import writes

        check_writable(self._collection.target, self._writable)
        identity = given_identity(identity)
        await self._collection.check_unchanged()
        await self._witnesses.check_soon()
        removed = await writes.delete(self._collection, identity, self._witnesses)
        if removed:
            await self._witnesses.refill()
            await self._census.update(removed)
        return len(removed)

    async def _check_soon(self) -> None:
        """Notice what other programs changed, if nobody looked for some time."""
        await self._witnesses.check_soon()
        await self._passed_over.read_soon()

    def _search(self) -> AttachedSearch:
        return AttachedSearch(self._collection, self._passed_over, self._gallery, self._counts.identities)
