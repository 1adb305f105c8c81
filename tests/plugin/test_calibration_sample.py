"""A large gallery is calibrated on a sample of its identities, each with all of its templates."""

from collections import Counter

import numpy as np
import pytest

from sameface_qdrant import Gallery, NewTemplate, Policy, Store
from sameface_qdrant.calibration.gallery import measure
from sameface_qdrant.calibration.requests import CalibrationOptions, GalleryTemplates
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.metrics.comparisons import sample_templates
from tests.plugin.deciding import (
    CLAIM,
    CONTRACT,
    GALLERY,
    IDENTIFY,
    VERIFY,
    Vectors,
    decided,
    drawn,
    fused,
    identified,
    look_alikes,
    shares,
)


def test_a_sample_of_the_gallery_promises_no_more_than_the_whole_gallery_keeps() -> None:
    rng = np.random.default_rng(7)
    centres, spread = look_alikes(rng, 600)
    templates = drawn(rng, centres, spread, 3)
    names = [f"p{number:04d}" for number in range(400) for _ in range(3)]
    gallery = Gallery("staff", CONTRACT, Policy(target_fmr=0.03, target_fpir=0.3))
    # The people were drawn at random, so the first ones are a random sample.
    sample = GalleryTemplates(templates[:200].reshape(600, -1), names[:600], 1200)
    found = measure(gallery, 400, sample, CalibrationOptions())
    assert found.margin is not None
    assert any("The gallery has 2 times as many templates" in one for one in found.caveats)
    templates, strangers_centres = templates[:400], centres[400:]
    probes = fused(drawn(rng, centres[:300], spread[:300], 1)[:, 0], templates)
    strangers = fused(drawn(rng, strangers_centres, spread[400:], 1)[:, 0], templates)
    every = decided(list(enumerate(probes)), list(enumerate(strangers)), found.expected)
    every[IDENTIFY, GALLERY, False] = Counter(identified(scores, None, found.expected) for scores in strangers)
    for (operation, scope, is_mated), counts in every.items():
        answer = found.expected.of(operation, scope, mated=is_mated)
        assert answer is not None
        for _, low, high, counted in shares(answer, counts):
            assert low <= counted <= high


def many_templates(people: int, each: int) -> tuple[Vectors, Vectors]:
    """Return templates [people, each, dimension] that vary much, and probes of 400 people who are not enrolled."""
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(people + 400, 24))
    spread = np.full(people, 1.1)
    return drawn(rng, centres[:people], spread, each), drawn(rng, centres[people:], np.full(400, 1.1), 1)[:, 0]


def test_claims_are_expected_against_all_templates_of_an_identity() -> None:
    templates, strangers = many_templates(300, 16)
    points = {f"p{one:03}": [(one, number) for number in range(16)] for one in range(300)}
    chosen = sample_templates(points, max_templates=800, per_identity=64, seed=0)
    assert set(Counter(name for name, _ in chosen).values()) == {16}
    read = GalleryTemplates(np.stack([templates[at] for _, at in chosen]), [name for name, _ in chosen], 300 * 16)
    policy = Policy(target_fmr=0.01, target_fpir=0.2)
    found = measure(Gallery("staff", CONTRACT, policy), 300, read, CalibrationOptions())
    answer = found.expected.of(VERIFY, CLAIM, mated=False)
    assert answer is not None
    best = np.einsum("pd,nmd->pnm", strangers, templates).max(axis=2)
    measured = float(np.mean(best >= found.calibration.verify.threshold))
    assert measured < 2 * policy.target_fmr
    assert answer.match.interval.low <= measured <= answer.match.interval.high


def test_intervals_allow_for_templates_of_an_identity_that_were_not_read() -> None:
    templates, strangers = many_templates(60, 12)
    names = [f"p{one:03}" for one in range(60) for _ in range(3)]
    read = GalleryTemplates(templates[:, :3].reshape(180, -1), names, 60 * 12, growth_within=4.0)
    policy = Policy(target_fmr=0.02, target_fpir=0.2)
    found = measure(Gallery("staff", CONTRACT, policy), 60, read, CalibrationOptions())
    assert any("up to 4 times as many. So the true FMR and FPIR may be" in one for one in found.caveats)
    claims = [(one % 60, scores) for one, scores in enumerate(fused(strangers, templates))]
    every = decided([(0, claims[0][1])], claims, found.expected)
    for scope in (CLAIM, GALLERY):
        answer = found.expected.of(VERIFY, scope, mated=False)
        assert answer is not None
        for _, low, high, counted in shares(answer, every[VERIFY, scope, False]):
            assert low - 1e-9 <= counted <= high + 1e-9


async def test_a_store_reads_whole_identities(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, _ = many_templates(20, 4)
    await store.galleries.create("staff", CONTRACT, policy=Policy(target_fmr=0.3, target_fpir=0.3))
    for number, templates in enumerate(vectors):
        await store.enroll("staff", f"p{number}", [NewTemplate(one, CONTRACT) for one in templates])
    every = await store.calibrate("staff")
    assert len(every.comparisons.names) == 20
    monkeypatch.setattr("sameface_qdrant.store.calibrate.MAX_TEMPLATES", 42)
    monkeypatch.setattr("sameface_qdrant.store.calibrate._IDENTITIES", 3)
    monkeypatch.setattr("sameface_qdrant.store.calibrate._PAGE", 5)
    sample = await store.calibrate("staff")
    # Every template of an identity makes a mated comparison.
    assert Counter(sample.comparisons.owners.tolist()) == dict.fromkeys(range(10), 4)
    assert any("The gallery has 2 times as many templates" in one for one in sample.caveats)


@pytest.mark.parametrize("wrong", [{"max_templates": 1}, {"per_identity": 0}, {"seed": -1}, {"max_templates": -1}])
def test_a_limit_that_leaves_nothing_to_compare_is_refused(wrong: dict[str, int]) -> None:
    given = {"max_templates": 4, "per_identity": 2, "seed": 0, **wrong}
    with pytest.raises(InvalidArgument, match=r"is -?\d; expected \d or more"):
        sample_templates({"a": [1, 2], "b": [3]}, **given)
