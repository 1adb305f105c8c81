"""Guards check a new template: against other identities, against the same photo, and against its own identity.

Guards also work with concurrent writers. If this process is the only writer, one lock covers the check and the write.
If several services share a server, each one checks a template, writes it, and checks it again. When two services enrol
one person under two identities at the same moment, the second check of at least one of them finds the other's template.
That service removes its own template and raises ConcurrentUpdate. If the caller repeats, the other template stays and
is found.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from sameface_qdrant.concurrency import nothing, together
from sameface_qdrant.engines.base import Engine, Hit, Point, Where
from sameface_qdrant.errors import (
    DuplicateSample,
    GuardRefusal,
    IdentityCollision,
    TemplateOutlier,
    ThresholdNotCalibrated,
)
from sameface_qdrant.policy import identification_threshold, verification_threshold
from sameface_qdrant.store import payloads
from sameface_qdrant.store.filters import gallery_filter
from sameface_qdrant.store.galleries import Tenant
from sameface_qdrant.values.finding import Finding, FindingKind
from sameface_qdrant.values.gallery import GuardAction, Policy
from sameface_qdrant.values.identity import Identity
from sameface_qdrant.values.vectors import Vector

REJECTIONS: dict[FindingKind, tuple[type[GuardRefusal], str]] = {
    FindingKind.COLLISION: (IdentityCollision, "is too similar to another identity of the gallery"),
    FindingKind.DUPLICATE: (DuplicateSample, "was made from a photo or embedding that is enrolled already"),
    FindingKind.OUTLIER: (TemplateOutlier, "is too different from the identity's other templates"),
}


def action_of(policy: Policy, kind: FindingKind) -> GuardAction:
    """Return what a policy does about a kind of finding."""
    return {
        FindingKind.COLLISION: policy.on_collision,
        FindingKind.DUPLICATE: policy.on_duplicate,
        FindingKind.OUTLIER: policy.on_outlier,
    }.get(kind, GuardAction.WARN)


def rejects(policy: Policy) -> bool:
    """Return whether any guard of a policy rejects."""
    return any(action_of(policy, kind) is GuardAction.REJECT for kind in REJECTIONS)


def rejection(findings: Sequence[Finding], policy: Policy, gallery: str, identity: str) -> GuardRefusal | None:
    """Return the error of the first finding that the policy rejects; None if it rejects none.

    Message and metadata do not contain the other identity and its score, because not every caller may know them.
    ``GuardRefusal.finding`` contains both.
    """
    for finding in findings:
        if action_of(policy, finding.kind) is GuardAction.REJECT and finding.kind in REJECTIONS:
            kind, what = REJECTIONS[finding.kind]
            return kind(
                f"a template for {identity!r} {what}; check who it shows, or let the policy of {gallery!r} allow it",
                metadata={"gallery": gallery, "identity": identity},
                finding=finding,
            )
    return None


class Guards:
    """Checks new templates."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def look(self, tenant: Tenant, identity: str, record: Point | None, new: Sequence[Point]) -> list[Finding]:
        """Return what the policy's guards find about templates (points with vectors). Stores nothing."""
        policy, now = tenant.gallery.policy, datetime.now(UTC).timestamp()
        owner = payloads.identity_of(record.payload, tenant.gallery.id, 0) if record else None
        jobs = []
        if policy.on_collision is not GuardAction.ALLOW:
            jobs.append(self._collisions(tenant, identity, new, now))
        if policy.on_duplicate is not GuardAction.ALLOW:
            jobs.append(self._duplicates(tenant, new, now))
        if policy.on_outlier is not GuardAction.ALLOW:
            jobs.append(self._outliers(tenant, identity, owner, new, now))
        found = [finding for findings in await together(self._engine, *jobs) for finding in findings]
        return list(dict.fromkeys(found))

    async def _collisions(self, tenant: Tenant, identity: str, new: Sequence[Point], now: float) -> list[Finding]:
        # Without a collision threshold the one for identification applies, which depends on the gallery's size.
        policy = tenant.gallery.policy
        others = Where({"gallery": tenant.uid}, {"identity": identity}, valid_at=now)
        size, nearest = await together(
            self._engine,
            self._engine.count(tenant.collection, gallery_filter(tenant.uid, payloads.IDENTITY))
            if policy.collision_threshold is None
            else nothing(0),
            self._nearest(tenant, new, others),
        )
        threshold = policy.collision_threshold
        if threshold is None:
            try:
                threshold = identification_threshold(tenant.gallery, size, None).value
            except ThresholdNotCalibrated:
                return _unchecked(FindingKind.COLLISION, policy)
        return [
            Finding(FindingKind.COLLISION, hit.payload["identity"], hit.id, hit.score, threshold)
            for hits in nearest
            for hit in hits
            if hit.score >= threshold
        ]

    async def _duplicates(self, tenant: Tenant, new: Sequence[Point], now: float) -> list[Finding]:
        new_ids = {point.id for point in new}
        digests = tuple({point.payload["digest"] for point in new})
        has_repeats = len(digests) < len(new)
        same = Where({"gallery": tenant.uid, "kind": payloads.TEMPLATE}, among={"digest": digests}, valid_at=now)
        points, _ = await self._engine.scroll(tenant.collection, same, 2 * len(new) + 1)
        found = [
            Finding(FindingKind.DUPLICATE, point.payload["identity"], point.id)
            for point in points
            if point.id not in new_ids
        ]
        return found + ([Finding(FindingKind.DUPLICATE, new[0].payload["identity"], "")] if has_repeats else [])

    async def _outliers(
        self, tenant: Tenant, identity: str, owner: Identity | None, new: Sequence[Point], now: float
    ) -> list[Finding]:
        policy = tenant.gallery.policy
        threshold = policy.outlier_threshold
        if threshold is None:
            try:
                threshold = verification_threshold(tenant.gallery, owner, None).value
            except ThresholdNotCalibrated:
                return _unchecked(FindingKind.OUTLIER, policy)
        own_templates = Where({"gallery": tenant.uid, "identity": identity}, valid_at=now)
        # More than one, because in the second check the nearest templates may be the new ones themselves.
        found = await self._nearest(tenant, new, own_templates, 1 + len(new)) if owner else [[] for _ in new]
        vectors = np.stack([_vector(point) for point in new])
        among_new = vectors @ vectors.T
        np.fill_diagonal(among_new, -np.inf)
        findings = []
        for number, hits in enumerate(found):
            # In the second check the new ones are stored already.
            earlier = [hit.score for hit in hits if hit.id not in {point.id for point in new}]
            best = max([*earlier, float(among_new[number].max())])
            if -np.inf < best < threshold:
                findings.append(Finding(FindingKind.OUTLIER, identity, "", best, threshold))
        return findings

    async def _nearest(self, tenant: Tenant, new: Sequence[Point], where: Where, limit: int = 1) -> Sequence[list[Hit]]:
        return await together(
            self._engine,
            *(self._engine.nearest(tenant.collection, _vector(point), where, limit) for point in new),
        )


def _unchecked(kind: FindingKind, policy: Policy) -> list[Finding]:
    """Return the finding that no threshold is known; raise if the policy rejects this kind of finding."""
    if action_of(policy, kind) is GuardAction.REJECT:
        raise ThresholdNotCalibrated(
            f"the policy's on_{kind.value.lower()} is REJECT and no threshold is known; set a threshold in the policy"
        )
    return [Finding(FindingKind.NOT_CHECKED, "", "")]


def _vector(point: Point) -> Vector:
    assert point.vector is not None
    return point.vector
