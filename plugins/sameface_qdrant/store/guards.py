"""Guards check new templates: against other identities, against the same photo, and against their own identity.

Guards also work with concurrent writers. If this process is the only writer, one lock covers the check and the write.
If several services share a server, each one checks a template, writes it, and checks it again. When two services enrol
one person under two identities at the same moment, the second check of at least one of them finds the other's template.
That service removes its own template and raises ConcurrentUpdate. If the caller repeats, the other template stays and
is found.
"""

import time
from collections.abc import Callable, Mapping, Sequence

from sameface_qdrant.concurrency import nothing, together
from sameface_qdrant.engines.base import Engine, Hit, Point, Where
from sameface_qdrant.store import payloads
from sameface_qdrant.store.filters import gallery_filter
from sameface_qdrant.store.galleries import Tenant
from sameface_qdrant.store.guard_findings import Evidence, Subject, Verdict, verdicts
from sameface_qdrant.values.gallery import GuardAction


class Guards:
    """Checks new templates."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def look_again(self, tenant: Tenant, subjects: Sequence[Subject]) -> list[Verdict]:
        """Return what the policy's guards find about subjects that are stored."""
        return verdicts(tenant.gallery, subjects, await self.evidence(tenant, subjects))

    async def evidence(self, tenant: Tenant, subjects: Sequence[Subject]) -> Evidence:
        """Read what the policy's guards need to decide about subjects."""
        policy, now = tenant.gallery.policy, time.time()
        needs_size = policy.collision_threshold is None and policy.identify_threshold is None
        collision, duplicate, outlier = (
            action is not GuardAction.ALLOW for action in (policy.on_collision, policy.on_duplicate, policy.on_outlier)
        )
        size, others, same, own = await together(
            self._engine,
            self._engine.count(tenant.collection, gallery_filter(tenant.uid, payloads.IDENTITY))
            if collision and needs_size
            else nothing(0),
            self._others(tenant, subjects, now) if collision else nothing({}),
            self._same(tenant, subjects, now) if duplicate else nothing({}),
            self._own(tenant, subjects, now) if outlier else nothing({}),
        )
        return Evidence(size, others, own, same)

    async def _others(self, tenant: Tenant, subjects: Sequence[Subject], now: float) -> Mapping[str, Sequence[Hit]]:
        return await self._nearest(
            tenant,
            subjects,
            lambda subject: Where({"gallery": tenant.uid}, {"identity": subject.identity}, valid_at=now),
            lambda subject: 1,
        )

    async def _own(self, tenant: Tenant, subjects: Sequence[Subject], now: float) -> Mapping[str, Sequence[Hit]]:
        # More than one, because in the second check the nearest templates may be the new ones themselves.
        found = await self._nearest(
            tenant,
            [subject for subject in subjects if subject.record is not None],
            lambda subject: Where({"gallery": tenant.uid, "identity": subject.identity}, valid_at=now),
            lambda subject: 1 + len(subject.points),
        )
        new = _ids(subjects)
        return {key: [hit for hit in hits if hit.id not in new] for key, hits in found.items()}

    async def _nearest(
        self,
        tenant: Tenant,
        subjects: Sequence[Subject],
        where: Callable[[Subject], Where],
        limit: Callable[[Subject], int],
    ) -> Mapping[str, Sequence[Hit]]:
        """Return the nearest stored templates of each new one, by its id."""
        new = [(point, subject) for subject in subjects for point in subject.points if point.vector is not None]
        found = await together(
            self._engine,
            *(
                self._engine.nearest(tenant.collection, point.vector, where(subject), limit(subject))
                for point, subject in new
                if point.vector is not None
            ),
        )
        return {point.id: hits for (point, _), hits in zip(new, found, strict=True)}

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


def _ids(subjects: Sequence[Subject]) -> set[str]:
    return {point.id for subject in subjects for point in subject.points}
