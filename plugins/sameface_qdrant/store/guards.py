"""Guards check new templates: against other identities, against the same photo, and against their own identity.

Guards also work with concurrent writers. If this process is the only writer, one lock covers the check and the write.
If several services share a server, each one checks a template, writes it, and checks it again. When two services enrol
one person under two identities at the same moment, the second check of at least one of them finds the other's template.
That service removes its own template and raises ConcurrentUpdate. If the caller repeats, the other template stays and
is found.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from sameface_qdrant.concurrency import nothing, together
from sameface_qdrant.engines.base import Engine, Hit, Point, Where
from sameface_qdrant.policy.origins import ORIGINS
from sameface_qdrant.store import payloads
from sameface_qdrant.store.galleries import Galleries, Tenant
from sameface_qdrant.store.guard_findings import Evidence, Subject, Verdict, verdicts
from sameface_qdrant.store.template_origin import ORIGIN, of_origin
from sameface_qdrant.values.gallery import GuardAction
from sameface_qdrant.values.ids import is_protected_uid
from sameface_qdrant.values.vectors import Vector

NO_FIELDS: Mapping[str, tuple[str, ...]] = MappingProxyType({})
SEARCHES_AT_ONCE = 16
"""Searches of one request to a server. Exact searches of a large gallery take long, and a request has a time-out."""


class Guards:
    """Checks new templates."""

    def __init__(self, engine: Engine, galleries: Galleries) -> None:
        self._engine = engine
        self._galleries = galleries

    async def anticipate(self, tenant: Tenant, new: Iterable[tuple[str, Vector]]) -> None:
        """Begin the comparison of new templates, each with its identity, with those of other identities.

        An engine that can makes the next check shorter by it. Elsewhere nothing is done.
        """
        begin = getattr(self._engine, "anticipate", None)
        # In a protected gallery the engine knows the vectors in another form.
        if begin is None or is_protected_uid(tenant.uid) or tenant.gallery.policy.on_collision is GuardAction.ALLOW:
            return
        if tenant.gallery.mapped is not None:
            return  # the searches of the check are other ones
        now, mine = time.time(), _mine(tenant)
        searches = [(vector, _among_others(mine, identity, now)) for identity, vector in new]
        if searches:
            await begin(tenant.collection, searches)

    async def look_again(self, tenant: Tenant, subjects: Sequence[Subject]) -> list[Verdict]:
        """Return what the policy's guards find about subjects that are stored."""
        return verdicts(tenant.gallery, subjects, await self.evidence(tenant, subjects))

    async def evidence(self, tenant: Tenant, subjects: Sequence[Subject]) -> Evidence:
        """Read what the policy's guards need to decide about subjects."""
        policy, now = tenant.gallery.policy, time.time()
        needs_size = policy.collision_threshold is None and policy.identify_threshold is None
        if tenant.gallery.mapped is not None:
            # How far the thresholds of both origins differ may depend on the size.
            needs_size = policy.identify_threshold is None or policy.mapped_identify_threshold is None
        collision, duplicate, outlier = (
            action is not GuardAction.ALLOW for action in (policy.on_collision, policy.on_duplicate, policy.on_outlier)
        )
        size, others, same, own = await together(
            self._engine,
            self._galleries.sizes.of(tenant) if collision and needs_size else nothing(0),
            self._others(tenant, subjects, now) if collision else nothing({}),
            self._same(tenant, subjects, now) if duplicate else nothing({}),
            self._own(tenant, subjects, now) if outlier else nothing({}),
        )
        return Evidence(size, others, own, same)

    async def _others(self, tenant: Tenant, subjects: Sequence[Subject], now: float) -> Mapping[str, Sequence[Hit]]:
        mine = _mine(tenant)
        searches = [
            (point, _among_others(mine, subject.identity, now)) for subject in subjects for point in subject.points
        ]
        return await self._nearest(tenant, searches, 1)

    async def _own(self, tenant: Tenant, subjects: Sequence[Subject], now: float) -> Mapping[str, Sequence[Hit]]:
        known = [subject for subject in subjects if subject.record is not None]
        searches = [
            (point, Where({"gallery": tenant.uid, "identity": subject.identity}, valid_at=now))
            for subject in known
            for point in subject.points
        ]
        # More than one, because in the second check the nearest templates may be the new ones themselves.
        limit = 1 + max((len(subject.points) for subject in known), default=0)
        found = await self._nearest(tenant, searches, limit)
        new = _ids(subjects)
        return {key: [hit for hit in hits if hit.id not in new] for key, hits in found.items()}

    async def _nearest(
        self, tenant: Tenant, searches: Sequence[tuple[Point, Where]], limit: int
    ) -> Mapping[str, Sequence[Hit]]:
        """Return the nearest stored templates of each new one, by its id."""
        found: dict[str, list[Hit]] = {}
        fields: tuple[str, ...] = ("identity",)
        if tenant.gallery.mapped is not None:
            # The nearest of each origin, because each has its own threshold.
            searches = [(point, of_origin(where, origin)) for point, where in searches for origin in ORIGINS]
            fields = ("identity", ORIGIN)
        at_once = len(searches) if self._engine.exclusive else SEARCHES_AT_ONCE
        for start in range(0, len(searches), max(1, at_once)):
            some = searches[start : start + at_once]
            vectors = [(point.vector, where) for point, where in some if point.vector is not None]
            # Exact at any size: who is already enrolled must not be enrolled again because a graph missed them.
            each = await self._engine.nearest_each(tenant.collection, vectors, limit, fields=fields, exact=True)
            for (point, _), hits in zip(some, each, strict=True):
                found.setdefault(point.id, []).extend(hits)
        return found

    async def _same(self, tenant: Tenant, subjects: Sequence[Subject], now: float) -> Mapping[str, Sequence[Point]]:
        """Return some stored templates of the same content, by digest; at least one where there are any."""
        new = _ids(subjects)
        unseen = {point.payload["digest"] for subject in subjects for point in subject.points}
        limit = 2 * len(new) + 1
        found: dict[str, list[Point]] = {}
        while unseen:
            where = Where(
                {"gallery": tenant.uid, "kind": payloads.TEMPLATE},
                among={"digest": tuple(sorted(unseen))},
                valid_at=now,
            )
            points, following = await self._engine.scroll(tenant.collection, where, limit)
            for point in points:
                if point.id not in new:
                    found.setdefault(point.payload["digest"], []).append(point)
            if following is None:
                break
            # Some contents are stored so often that they fill the page. More than half of it is not new.
            unseen -= found.keys()
        return found


def _mine(tenant: Tenant) -> Mapping[str, str]:
    """Return the condition that all searches in a gallery share."""
    return {"gallery": tenant.uid}


def _among_others(mine: Mapping[str, str], identity: str, now: float) -> Where:
    # Empty mappings that all share: each of very many searches would have two of its own.
    return Where(mine, {"identity": identity}, NO_FIELDS, NO_FIELDS, valid_at=now)


def _ids(subjects: Sequence[Subject]) -> set[str]:
    return {point.id for subject in subjects for point in subject.points}
