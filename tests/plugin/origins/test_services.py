"""Several services on one Qdrant renew templates at the same moment, or erase them."""

import asyncio
from contextlib import suppress

import numpy as np

from sameface_qdrant import EmbeddingOrigin, NewTemplate, PolicyChanges, Store
from sameface_qdrant.errors import IdentityNotFound, TemplateNotFound
from sameface_qdrant.values.decision import RenewalState
from tests.plugin.conftest import CONTRACT
from tests.plugin.migration.test_services import services as services
from tests.plugin.migration.test_services import short_leases as short_leases
from tests.plugin.migration.test_services import until_done
from tests.plugin.migration.worlds import NEW, filled, mapped, points_of, the_map, unit


async def test_a_template_is_renewed_once_and_never_after_it_is_erased(
    services: list[Store],
) -> None:
    first, *_ = services
    vectors = await filled(first, people=3, per_person=1)
    migration = await mapped(first)
    policy = PolicyChanges(mapped_verify_threshold=0.5, mapped_identify_threshold=0.5, on_collision="reject")
    await until_done(lambda: first.migrations.promote("g", migration, policy=policy))
    made = dict(zip(vectors, the_map().applied(np.stack(list(vectors.values()))), strict=True))
    templates = list(made)
    rng = np.random.default_rng(1)
    probes = [unit(made[templates[0]] + 0.1 * rng.normal(size=8)) for _ in services]
    done = await asyncio.gather(
        *(
            store.renew("g", "p0", templates[0], NewTemplate(probe, NEW))
            for store, probe in zip(services, probes, strict=True)
        )
    )
    winners = [probe for one, probe in zip(done, probes, strict=True) if one.state is RenewalState.RENEWED]
    assert len(winners) == 1
    assert {one.reason for one in done} <= {"", "CONCURRENT_UPDATE", "NOT_MAPPED"}
    stored = await first.templates.get("g", "p0", templates[0], with_vector=True)
    assert stored.embedding_origin is EmbeddingOrigin.NATIVE
    assert np.allclose(np.asarray(stored.vector), winners[0], atol=1e-6)

    async def renewed() -> None:
        with suppress(IdentityNotFound, TemplateNotFound):
            await services[1].renew("g", "p1", templates[1], NewTemplate(made[templates[1]], NEW))

    await asyncio.gather(renewed(), until_done(lambda: services[2].identities.delete("g", "p1", force=True)))
    for contract in (CONTRACT, NEW):
        assert {point.payload["identity"] for point in (await points_of(first, contract)).values()} == {"p0", "p2"}
