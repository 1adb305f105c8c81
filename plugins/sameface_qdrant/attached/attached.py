"""A Qdrant collection that another program made, opened by `sameface_qdrant.attach`."""

import asyncio
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sameface_qdrant import recognition
from sameface_qdrant.attached.search import AttachedSearch
from sameface_qdrant.attached.target import NO_FIELDS, Counts, Neighbour, identity_of
from sameface_qdrant.attached.templates import read_templates
from sameface_qdrant.calibration.gallery import (
    MAX_TEMPLATES,
    CalibrationOptions,
    GalleryCalibration,
    GalleryTemplates,
    SettingChanges,
    compare_settings,
    measure,
    policy_changes,
    settings,
)
from sameface_qdrant.calibration.inputs import Cohort
from sameface_qdrant.calibration.what_if import RecordedDecisions, WhatIf, what_if
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.metrics.comparisons import Comparisons, ComparisonScores
from sameface_qdrant.metrics.cross_comparison import MAX_COMPARISONS, compare_gallery
from sameface_qdrant.policy import changed_policy, check_override
from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.decision import Decision, Operation, Scope
from sameface_qdrant.values.gallery import HARD_TEMPLATE_LIMIT, Gallery, OperatingPoint, Policy, PolicyChanges
from sameface_qdrant.values.ids import point_id
from sameface_qdrant.values.vectors import Vector, unit

if TYPE_CHECKING:
    from sameface_qdrant.attached.queries import AttachedCollection


class Attached:
    """Opened by `attach`. Every method is a coroutine, and calls may run concurrently.

    Search is exact and misses no identity. (Qdrant's group queries are approximate: they may miss a group.)

    Every call raises ContractMismatch if the name leads to a collection of another size or distance by now, or to none.
    Every answer is compared with the vectors that come with it, so a score is never taken for that of another distance.
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
        self._counts = Counts(0, 0, 0)
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

    async def count(self) -> Counts:
        """Count identities and templates. Decisions report the last count as their ``gallery_size``.

        `attach`, `calibrate`, `enroll` and `delete` also count. Call this to count the writes of other programs.
        """
        await self._collection.check_unchanged()
        without_identity = await self._collection.count_without_identity()
        indexed = await self._collection.counts_by_index()
        if indexed is not None:
            self._counts = Counts(len(indexed), sum(indexed.values()), without_identity)
            return self._counts
        points, ignored = await self._collection.points_by_identity()
        self._counts = Counts(len(points), sum(map(len, points.values())), without_identity + ignored)
        return self._counts

    async def verify(
        self,
        identity: str | int,
        embedding: Vector,
        *,
        scope: Scope | None = None,
        threshold: float | None = None,
        margin: float | None = None,
    ) -> Decision:
        """1:1. Compare an embedding, shape [dimension] and of any norm but zero, with a claimed identity.

        See `sameface_qdrant.policy` for the table. ``scope`` defaults to GALLERY if two or more identities were
        counted, else to CLAIM.

        Raises:
            IdentityNotFound: no point has this identity.
            ThresholdNotCalibrated: ``threshold`` is not given, and policy and operating points have none.
            InvalidEmbedding: the embedding has another dimension, a value that is not finite, or zero norm.
            InvalidArgument: ``threshold`` is outside −1..1, or ``margin`` outside 0..2.
        """
        _check_identity(identity)
        vector = unit(embedding, self._collection.dimension)
        return await recognition.verify(
            self._search(), identity, vector, scope=scope, threshold=threshold, margin=margin
        )

    async def identify(
        self, embedding: Vector, *, threshold: float | None = None, margin: float | None = None, limit: int = 5
    ) -> Decision:
        """1:N. Find the identities most similar to an embedding, at most ``limit``; decide whether the best matches.

        Raises:
            ThresholdNotCalibrated: ``threshold`` is not given, and policy and operating points have none.
            InvalidEmbedding: the embedding has another dimension, a value that is not finite, or zero norm.
            InvalidArgument: ``limit`` is outside 1..1000, ``threshold`` outside −1..1, or ``margin`` outside 0..2.
        """
        vector = unit(embedding, self._collection.dimension)
        return await recognition.identify(self._search(), vector, threshold=threshold, margin=margin, limit=limit)

    async def search(
        self, embedding: Vector, *, limit: int = 10, min_score: float | None = None
    ) -> tuple[Neighbour, ...]:
        """Return the nearest points that have an identity, best first, without a decision.

        Raises:
            InvalidEmbedding: the embedding has another dimension, a value that is not finite, or zero norm.
            InvalidArgument: ``limit`` is outside 1..1000, or ``min_score`` outside −1..1.
        """
        check_override(min_score, "min_score", -1.0, 1.0)
        recognition.check_limit(limit)
        vector = unit(embedding, self._collection.dimension)
        return tuple(await self._collection.nearest(vector, limit, min_score=min_score))

    async def scores(
        self, *, max_templates: int = 4_000, templates_per_identity: int = HARD_TEMPLATE_LIMIT, seed: int = 0
    ) -> ComparisonScores:
        """Compare every template with every identity by the identity's best template, as decisions do.

        Mated: a template with the other templates of its identity. Non-mated: a template with another identity. See
        `sameface_qdrant.metrics.cross_comparison`. Every id is read; embeddings only of a seeded sample.

        Raises:
            NotEnoughData: the templates are of fewer than two identities.
        """
        templates = await self._templates(max_templates, templates_per_identity, seed)
        compared = await asyncio.to_thread(compare_gallery, templates.vectors, templates.identities, seed=seed)
        return ComparisonScores(
            compared.mated,
            compared.non_mated,
            len(compared.names),
            len(templates.identities),
            templates.growth == 1.0 and compared.non_mated.size == compared.possible_comparisons,
        )

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
        evidence = await self._all_templates(seed) if comparisons is None else comparisons
        found = await asyncio.to_thread(measure, self._gallery, size, evidence, options)
        if not apply:
            return found
        self._revise(policy_changes(found, size, options), author)
        return dataclasses.replace(found, gallery=self._gallery, applied=True)

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
        before, after = settings(self._gallery, operation, self._counts.identities, changes)
        if decisions is not None:
            return await asyncio.to_thread(what_if, decisions, before, after)
        templates = await self._all_templates(seed=0)
        return await asyncio.to_thread(compare_settings, templates, operation, before, after, scope)

    async def enroll(
        self, identity: str | int, embeddings: Sequence[Vector], *, payload: Mapping[str, Any] = NO_FIELDS
    ) -> tuple[str, ...]:
        """Add one point per embedding and return their ids. A repeat with the same content adds nothing.

        Each point has ``payload``, the fields of ``where`` and the identity. Embeddings are stored with unit norm.

        Raises:
            InvalidArgument: attached without ``writable``, or a field to write is nested.
            InvalidEmbedding: an embedding is malformed, see `verify`; nothing is stored.
            StoreUnavailable: the API key may not write.
        """
        self._check_writable()
        _check_identity(identity)
        target = self._collection.target
        fields: dict[str, Any] = {**target.where, target.identity_key: identity}
        if nested := [field for field in fields if "." in field or "[" in field]:
            raise InvalidArgument(
                f"{nested[0]!r} is a nested field, and enroll writes top-level fields only; write with your own client",
                metadata={"field": nested[0]},
            )
        vectors = [unit(embedding, self._collection.dimension) for embedding in embeddings]
        scope = (target.collection, target.vector_name, repr(sorted(target.where.items())), repr(identity))
        ids = [point_id("attached", *scope, hashlib.sha256(vector.tobytes()).hexdigest()) for vector in vectors]
        if ids:
            await self._collection.check_unchanged()
            points = [(point, vector, {**payload, **fields}) for point, vector in zip(ids, vectors, strict=True)]
            await self._collection.insert(points)
            await self.count()
        return tuple(ids)

    async def delete(self, identity: str | int) -> int:
        """Remove every point of an identity under ``where``, including points of other writers; return how many.

        Raises:
            InvalidArgument: attached without ``writable``.
        """
        self._check_writable()
        _check_identity(identity)
        await self._collection.check_unchanged()
        found, _ = await self._collection.points_by_identity(only=identity)
        removed = 0
        while points := found.get(identity, []):
            await self._collection.delete(points)
            removed += len(points)
            if not self._collection.sharded_by_key:
                break
            # Shards of different keys may each hold a point of the same id, and one read finds one of them.
            found, _ = await self._collection.points_by_identity(only=identity)
        if removed:
            await self.count()
        return removed

    def _search(self) -> AttachedSearch:
        return AttachedSearch(self._collection, self._gallery, self._counts.identities)

    async def _all_templates(self, seed: int) -> GalleryTemplates:
        return await self._templates(MAX_TEMPLATES, HARD_TEMPLATE_LIMIT, seed)

    async def _templates(self, most: int, per_identity: int, seed: int) -> GalleryTemplates:
        return await read_templates(self._collection, max_templates=most, per_identity=per_identity, seed=seed)

    def _revise(self, changes: PolicyChanges, author: str) -> None:
        """Put a new revision of the policy in force, unless nothing changes."""
        before = self._gallery.policy
        policy = changed_policy(before, changes)
        if policy != before:
            policy = dataclasses.replace(
                policy, revision=before.revision + 1, author=author, create_time=datetime.now(UTC)
            )
            self._gallery = dataclasses.replace(self._gallery, policy=policy)

    def _check_writable(self) -> None:
        if not self._writable:
            raise InvalidArgument(
                f"{self._gallery.id!r} was attached for reading; attach with writable=True to write to it",
                metadata={"field": "writable"},
            )


def _check_identity(identity: str | int) -> None:
    if identity_of(identity) is None or identity == "":
        raise InvalidArgument(
            f"identity is {str(identity)[:80]!r}; expected a text or a whole number", metadata={"field": "identity"}
        )
