"""Guards: what is checked before a template enters. Other identities like it, the same photo, its own identity.

Guards hold under concurrent writers. Where this process is the only writer, one lock covers the look and the write.
Between services on one server a template is looked at, written, and looked at again. When two services enrol one person
under two identities at the same moment, at least one of them finds the other's template the second time. It takes its
own back and answers ConcurrentUpdate; its repeat then finds a template that stays.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from sameface_qdrant.engines.base import Engine, Hit, Point, Where
from sameface_qdrant.errors import (
    DuplicateSample,
    GuardRefusal,
    IdentityCollision,
    TemplateOutlier,
    ThresholdNotCalibrated,
)
from sameface_qdrant.policy import identification_threshold, verification_threshold
from sameface_qdrant.round_trips import nothing, together
from sameface_qdrant.store import payloads
from sameface_qdrant.store.filters import gallery_filter
from sameface_qdrant.store.galleries import Tenant
from sameface_qdrant.values.finding import Finding, FindingKind
from sameface_qdrant.values.gallery import GuardAction, Policy
from sameface_qdrant.values.identity import Identity
from sameface_qdrant.values.vectors import Vector

REJECTIONS: dict[FindingKind, tuple[type[GuardRefusal], str]] = {
    FindingKind.COLLISION: (IdentityCollision, "is too much like another identity of the gallery"),
    FindingKind.DUPLICATE: (DuplicateSample, "was made from a photo or embedding that is enrolled already"),
    FindingKind.OUTLIER: (TemplateOutlier, "is too unlike the identity's other templates"),
}


def action_of(policy: Policy, kind: FindingKind) -> GuardAction:
    """Return what a policy says about a kind of finding."""
    return {
        FindingKind.COLLISION: policy.on_collision,
        FindingKind.DUPLICATE: policy.on_duplicate,
        FindingKind.OUTLIER: policy.on_outlier,
    }.get(kind, GuardAction.WARN)


def rejects(policy: Policy) -> bool:
    """Return whether any guard of a policy rejects."""
    return any(action_of(policy, kind) is GuardAction.REJECT for kind in REJECTIONS)


def rejection(findings: Sequence[Finding], policy: Policy, gallery: str, identity: str) -> GuardRefusal | None:
    """Return the error of the first finding that the policy rejects, None where it rejects none.

    The message and metadata name neither the other identity nor its score: whose face is alike is not for everybody.
    ``GuardRefusal.finding`` has both, for callers that may know.
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
    """Looks at templates about to enter."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def look(self, tenant: Tenant, identity: str, record: Point | None, new: Sequence[Point]) -> list[Finding]:
        """Return what speaks against templates (points with vectors), or is worth a warning; stores nothing."""
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
        # Without a threshold of its own it takes the one for identification, which depends on the gallery's size.
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
        mine = {point.id for point in new}
        digests = tuple({point.payload["digest"] for point in new})
        twice = len(digests) < len(new)
        same = Where({"gallery": tenant.uid, "kind": payloads.TEMPLATE}, among={"digest": digests}, valid_at=now)
        points, _ = await self._engine.scroll(tenant.collection, same, 2 * len(new) + 1)
        found = [
            Finding(FindingKind.DUPLICATE, point.payload["identity"], point.id)
            for point in points
            if point.id not in mine
        ]
        return found + ([Finding(FindingKind.DUPLICATE, new[0].payload["identity"], "")] if twice else [])

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
        mine = Where({"gallery": tenant.uid, "identity": identity}, valid_at=now)
        # More than one: where this is the second look, the nearest are the new ones themselves.
        found = await self._nearest(tenant, new, mine, 1 + len(new)) if owner else [[] for _ in new]
        vectors = np.stack([_vector(point) for point in new])
        among_new = vectors @ vectors.T
        np.fill_diagonal(among_new, -np.inf)
        findings = []
        for number, hits in enumerate(found):
            # Written already where this is the second look.
            held = [hit.score for hit in hits if hit.id not in {point.id for point in new}]
            best = max([*held, float(among_new[number].max())])
            if -np.inf < best < threshold:
                findings.append(Finding(FindingKind.OUTLIER, identity, "", best, threshold))
        return findings

    async def _nearest(self, tenant: Tenant, new: Sequence[Point], where: Where, limit: int = 1) -> Sequence[list[Hit]]:
        return await together(
            self._engine,
            *(self._engine.nearest(tenant.collection, _vector(point), where, limit) for point in new),
        )


def _unchecked(kind: FindingKind, policy: Policy) -> list[Finding]:
    """Without any threshold there is nothing to compare with: refused where the policy rejects, else told."""
    if action_of(policy, kind) is GuardAction.REJECT:
        raise ThresholdNotCalibrated(
            f"the policy rejects {kind.value.lower()} templates and no threshold is known; set one in the policy"
        )
    return [Finding(FindingKind.NOT_CHECKED, "", "")]


def _vector(point: Point) -> Vector:
    assert point.vector is not None
    return point.vector
