"""Every answer under random operations is what brute force in numpy says, which shares no code with the store."""

import asyncio
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from numpy.typing import NDArray

from sameface_qdrant import NewTemplate, Outcome, Policy, Probe, Scope, Store
from sameface_qdrant.errors import IdentityNotFound, TemplateLimitReached
from tests.plugin.conftest import CONTRACT

THRESHOLD, MARGIN, CAP = 0.6, 0.1, 3
POLICY = Policy(verify_threshold=THRESHOLD, identify_threshold=THRESHOLD, runner_up_margin=MARGIN, max_templates=CAP)
GALLERIES = ("red", "blue")
IDENTITIES = ("ada", "bob", "cy", "dee")
# Few directions, so that scores land on every side of threshold and margin.
DIRECTIONS = np.random.default_rng(7).normal(size=(12, CONTRACT.dimension)).astype(np.float32)

galleries = st.sampled_from(GALLERIES)
identities = st.sampled_from(IDENTITIES)
directions = st.integers(0, len(DIRECTIONS) - 1)


class Oracle:
    """Vectors by gallery, identity and template id; answers by looking at all of them."""

    def __init__(self) -> None:
        self.vectors: dict[str, dict[str, dict[str, NDArray[np.float64]]]] = {name: {} for name in GALLERIES}

    def scores(self, gallery: str, probe: NDArray[np.float64]) -> dict[str, float]:
        probe = probe / np.linalg.norm(probe)
        return {
            identity: max(float(vector @ probe / np.linalg.norm(vector)) for vector in templates.values())
            for identity, templates in self.vectors[gallery].items()
            if templates
        }


def outcome(score: float, lead: float | None) -> str:
    if score < THRESHOLD:
        return "NO_MATCH"
    return "MATCH" if lead is None or lead >= MARGIN else "AMBIGUOUS"


class StoreMachine(RuleBasedStateMachine):
    url = ""

    @initialize()
    def open(self) -> None:
        self.runner = asyncio.Runner()
        self.oracle = Oracle()
        self.folder = Path(tempfile.mkdtemp(prefix="sameface-oracle-"))
        self.store = self.runner.run(Store.open(self.url or f"edge://{self.folder}"))
        for gallery in GALLERIES:
            self.runner.run(self.store.galleries.create(gallery, CONTRACT, policy=POLICY))

    @rule(gallery=galleries, identity=identities, direction=directions)
    def enroll(self, gallery: str, identity: str, direction: int) -> None:
        vector = DIRECTIONS[direction]
        held = self.oracle.vectors[gallery].get(identity, {})
        known = any(np.array_equal(vector, other) for other in held.values())
        call = self.store.enroll(gallery, identity, [NewTemplate(vector, CONTRACT)])
        if len(held) >= CAP and not known:
            with pytest.raises(TemplateLimitReached):
                self.runner.run(call)
            return
        (stored,) = self.runner.run(call)
        self.oracle.vectors[gallery].setdefault(identity, {})[stored.id] = vector.astype(np.float64)

    @rule(gallery=galleries, identity=identities, data=st.data())
    def delete_template(self, gallery: str, identity: str, data: st.DataObject) -> None:
        held = self.oracle.vectors[gallery].get(identity, {})
        if not held:
            return
        chosen = data.draw(st.sampled_from(sorted(held)))
        self.runner.run(self.store.templates.delete(gallery, identity, chosen))
        del held[chosen]

    @rule(gallery=galleries, identity=identities)
    def delete_identity(self, gallery: str, identity: str) -> None:
        call = self.store.identities.delete(gallery, identity, force=True)
        if identity not in self.oracle.vectors[gallery]:
            with pytest.raises(IdentityNotFound):
                self.runner.run(call)
            return
        self.runner.run(call)
        del self.oracle.vectors[gallery][identity]

    @rule(gallery=galleries)
    def make_gallery_again(self, gallery: str) -> None:
        self.runner.run(self.store.galleries.delete(gallery, force=True))
        self.runner.run(self.store.galleries.create(gallery, CONTRACT, policy=POLICY))
        self.oracle.vectors[gallery] = {}

    @precondition(lambda self: not self.url)
    @rule()
    def restart(self) -> None:
        self.runner.run(self.store.aclose())
        self.store = self.runner.run(Store.open(f"edge://{self.folder}"))

    @rule(gallery=galleries, identity=identities, direction=directions, scope=st.sampled_from([None, *Scope]))
    def verify(self, gallery: str, identity: str, direction: int, scope: Scope | None) -> None:
        scores = self.oracle.scores(gallery, DIRECTIONS[direction].astype(np.float64))
        call = self.store.verify(gallery, identity, Probe(DIRECTIONS[direction], CONTRACT), scope=scope)
        if identity not in scores:
            with pytest.raises(IdentityNotFound):
                self.runner.run(call)
            return
        decision = self.runner.run(call)
        size = len(self.oracle.vectors[gallery])
        looks_at_gallery = scope is Scope.GALLERY or (scope is None and size >= 2)
        others = [score for other, score in scores.items() if other != identity]
        lead = scores[identity] - max(others) if looks_at_gallery and others else None
        assert decision.score == pytest.approx(scores[identity], abs=1e-5)
        assert decision.lead == (None if lead is None else pytest.approx(lead, abs=1e-5))
        assert decision.gallery_size == size
        if self.clear_cut(scores[identity], lead):
            assert decision.outcome == outcome(scores[identity], lead)

    @rule(gallery=galleries, direction=directions, limit=st.integers(1, 6))
    def identify(self, gallery: str, direction: int, limit: int) -> None:
        scores = self.oracle.scores(gallery, DIRECTIONS[direction].astype(np.float64))
        decision = self.runner.run(self.store.identify(gallery, Probe(DIRECTIONS[direction], CONTRACT), limit=limit))
        best = sorted(scores.values(), reverse=True)
        assert decision.gallery_size == len(self.oracle.vectors[gallery])
        assert [found.score for found in decision.candidates] == pytest.approx(best[:limit], abs=1e-5)
        for found in decision.candidates:
            assert found.score == pytest.approx(scores[found.identity], abs=1e-5)
        if not best:
            assert (decision.outcome, decision.score) == (Outcome.NO_MATCH, None)
            return
        lead = best[0] - best[1] if len(best) > 1 else None
        if self.clear_cut(best[0], lead):
            assert decision.outcome == outcome(best[0], lead)

    @staticmethod
    def clear_cut(score: float, lead: float | None) -> bool:
        return abs(score - THRESHOLD) > 1e-4 and (lead is None or abs(lead - MARGIN) > 1e-4)

    @invariant()
    def counts_agree(self) -> None:
        for gallery in GALLERIES:
            listed = self.runner.run(self.store.identities.list(gallery)).items
            assert {identity.id: identity.template_count for identity in listed} == {
                identity: len(held) for identity, held in self.oracle.vectors[gallery].items()
            }

    def teardown(self) -> None:
        self.runner.run(self.store.aclose())
        self.runner.close()
        shutil.rmtree(self.folder)


class MemoryMachine(StoreMachine):
    url = ":memory:"


@pytest.mark.parametrize("machine", [StoreMachine, MemoryMachine], ids=["edge", "memory"])
def test_answers_agree_with_brute_force(machine: type[StoreMachine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
