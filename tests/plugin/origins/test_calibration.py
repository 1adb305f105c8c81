"""Thresholds are measured for each origin on its own."""

import numpy as np
import pytest

from sameface_qdrant import EmbeddingOrigin, NewTemplate, Store
from sameface_qdrant.calibration.by_origin import mapped_comparisons
from sameface_qdrant.errors import NotEnoughData
from tests.plugin.migration.worlds import NEW, filled, mapped, new_model, the_map
from tests.plugin.simulated import people


def test_each_native_embedding_is_compared_with_the_best_mapped_template_of_everybody() -> None:
    rng = np.random.default_rng(1)
    probes, shown = people(rng, 7, 2)
    templates, owners = people(rng, 5, 3)
    found = mapped_comparisons(probes, shown, templates, owners, max_comparisons=10**6)
    mated, non_mated = list[float](), list[float]()
    for probe, who in zip(probes, shown, strict=True):
        for name in sorted(set(owners)):
            best = max(float(probe @ one) for one, owner in zip(templates, owners, strict=True) if owner == name)
            (mated if name == who else non_mated).append(best)
    assert np.sort(found.mated) == pytest.approx(np.sort(mated), abs=1e-6)
    assert np.sort(found.non_mated) == pytest.approx(np.sort(non_mated), abs=1e-6)
    fewer = mapped_comparisons(probes, shown, templates, owners, max_comparisons=20, seed=3)
    assert np.array_equal(np.sort(fewer.mated), np.sort(found.mated))
    assert 0 < fewer.non_mated.size < found.non_mated.size
    with pytest.raises(NotEnoughData, match="template map apply"):
        mapped_comparisons(probes[:0], [], templates, owners, max_comparisons=10)


async def test_a_calibration_of_one_origin_does_not_see_the_other() -> None:
    store = await Store.open(":memory:")
    vectors = await filled(store, people=40, per_person=1)
    await store.migrations.promote("g", await mapped(store), policy={"on_collision": "allow", "on_outlier": "allow"})
    made = the_map().applied(np.stack(list(vectors.values())))
    policy = {"target_fmr": 0.05, "target_fpir": 0.9, "mapped_verify_threshold": 0.5, "mapped_identify_threshold": 0.5}
    await store.galleries.update("g", policy=policy)  # type: ignore[arg-type]
    with pytest.raises(NotEnoughData):
        await store.calibrate("g")
    with pytest.raises(NotEnoughData):
        await store.calibrate("g", origin=EmbeddingOrigin.MAPPED)
    native = {}
    for number, vector in enumerate(list(vectors.values())[:30]):
        native[f"p{number}"] = new_model(vector, seed=number)
        await store.enroll("g", f"p{number}", [NewTemplate(native[f"p{number}"], NEW)])
    probes = np.stack(list(native.values()))
    between = (probes @ probes.T)[~np.eye(30, dtype=bool)]
    across = (probes @ made.T)[~np.eye(30, 40, dtype=bool)]
    for origin, expected in ((EmbeddingOrigin.NATIVE, between), (EmbeddingOrigin.MAPPED, across)):
        found = await store.calibrate("g", apply=True, accept_supported=True, origin=origin)
        assert np.sort(found.comparisons.non_mated) == pytest.approx(np.sort(expected), abs=1e-6)
        threshold = found.calibration.verify.threshold
        policy_now = (await store.galleries.get("g")).policy
        name = "verify_threshold" if origin is EmbeddingOrigin.NATIVE else "mapped_verify_threshold"
        assert getattr(policy_now, name) == threshold
    await store.galleries.update("g", policy={"verify_threshold": None, "mapped_verify_threshold": 0.5})
    both = await store.calibrate("g", apply=True, accept_supported=True)
    assert both.gallery.policy.verify_threshold == policy_now.verify_threshold
    assert both.gallery.policy.mapped_verify_threshold == policy_now.mapped_verify_threshold
    assert f"{policy_now.mapped_verify_threshold:.3f} for verification" in both.caveats[-1]
    assert policy_now.verify_threshold is not None
    assert policy_now.verify_threshold != policy_now.mapped_verify_threshold
    await store.aclose()
