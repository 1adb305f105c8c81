"""The limit of templates per identity: refuses new templates, or chooses those that they replace."""

import time
from collections.abc import Container, Mapping, Sequence

import numpy as np

from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import TemplateLimitReached
from sameface_qdrant.store.conditional_write import overtaken
from sameface_qdrant.store.galleries import Tenant
from sameface_qdrant.store.payloads import TEMPLATE
from sameface_qdrant.values.display import counted
from sameface_qdrant.values.gallery import WhenFull
from sameface_qdrant.values.vectors import Vector


async def templates_in_force(
    engine: Engine, tenant: Tenant, identities: Sequence[str]
) -> Mapping[str, Sequence[Point]]:
    """Return the templates in force of some identities, by identity."""
    found: dict[str, list[Point]] = {}
    if not identities:
        return found
    where = Where(
        {"gallery": tenant.uid, "kind": TEMPLATE}, among={"identity": tuple(identities)}, valid_at=time.time()
    )
    start: str | None = None
    while True:
        points, start = await engine.scroll(tenant.collection, where, 1000, start)
        for point in points:
            found.setdefault(point.payload["identity"], []).append(point)
        if start is None:
            return found


async def templates_to_replace(
    engine: Engine,
    tenant: Tenant,
    identity: str,
    in_force: Sequence[Point],
    new: Sequence[Point],
    kept: Container[str],
) -> list[str]:
    """Return the ids of the templates that new ones replace, by the policy's ``when_full``.

    Args:
        engine: reads vectors if the policy compares them.
        tenant: the gallery.
        identity: the id of the identity.
        in_force: the identity's templates in force.
        new: the new templates as points.
        kept: ids that are never replaced.

    Raises:
        ConcurrentUpdate: another service has erased the templates that would be compared.
        TemplateLimitReached: the policy replaces no template, or there are too few to replace.
    """
    policy = tenant.gallery.policy
    excess = len(in_force) + len(new) - policy.max_templates
    if excess <= 0:
        return []
    held = [point for point in in_force if point.id not in kept]
    if policy.when_full is WhenFull.REJECT or excess > len(held):
        raise TemplateLimitReached(
            f"the identity {identity!r} has {counted(len(in_force), 'template')} and {len(new)} more would exceed the "
            f"limit of {policy.max_templates}; delete some, or set when_full in the policy to replace some",
            metadata={"identity": identity, "templates": len(in_force), "limit": policy.max_templates},
        )
    if policy.when_full is WhenFull.REPLACE_MOST_REDUNDANT:
        ids = [point.id for point in held]
        held = list((await engine.get(tenant.collection, ids, with_vector=True)).values())
        if len(held) < excess:
            # Another service has erased some in between.
            raise overtaken(tenant.gallery.id, identity)
    vectors = [point.vector for point in new if point.vector is not None]
    return replaceable(held, vectors, excess, policy.when_full)


def replaceable(held: Sequence[Point], new: Sequence[Vector], count: int, how: WhenFull) -> list[str]:
    """Return the ids of the ``count`` held templates that are replaced; none for `WhenFull.REJECT`.

    Args:
        held: the identity's templates in force, with vectors for `WhenFull.REPLACE_MOST_REDUNDANT`.
        new: unit vectors of the new templates; these are never replaced.
        count: at most ``len(held)``.
        how: oldest; lowest quality (its weakest component, a template without quality first); most redundant (nearest
            to another one, new or held, one after another). Among equals the oldest is replaced.
    """
    by_age = sorted(held, key=lambda point: (float(point.payload["created"]), point.id))
    if how is WhenFull.REPLACE_OLDEST:
        return [point.id for point in by_age[:count]]
    if how is WhenFull.REPLACE_LOWEST_QUALITY:
        weakest = sorted(by_age, key=lambda point: min(point.payload["quality"].values(), default=0.0))
        return [point.id for point in weakest[:count]]
    if how is WhenFull.REPLACE_MOST_REDUNDANT:
        return _most_redundant(by_age, new, count)
    return []


def _most_redundant(by_age: Sequence[Point], new: Sequence[Vector], count: int) -> list[str]:
    vectors = np.stack([point.vector for point in by_age if point.vector is not None] + list(new)).astype(np.float64)
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    chosen: list[int] = []
    for _ in range(count):
        # argmax takes the first of equals, which is the oldest.
        most_redundant = int(scores[: len(by_age)].max(axis=1).argmax())
        chosen.append(most_redundant)
        scores[most_redundant, :] = scores[:, most_redundant] = -np.inf
    return [by_age[number].id for number in chosen]
