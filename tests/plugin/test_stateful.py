"""Every answer under random operations is that of brute force in numpy, which shares no code with the store."""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

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

from sameface_qdrant import NewTemplate, Policy, Probe, Scope, Store, TemplateFilter
from sameface_qdrant.errors import (
    GalleryAlreadyExists,
    GalleryNotFound,
    IdentityAlreadyExists,
    IdentityNotFound,
    SamefaceError,
    TemplateLimitReached,
)
from sameface_qdrant.values.gallery import PolicyChanges
from sameface_qdrant.values.identity import IdentityChanges
from tests.plugin import oracle
from tests.plugin.conftest import CONTRACT, ENGINES, ON_DISK, opened_store

GALLERIES = ("red", "blue")
IDENTITIES = ("ada", "bob", "cy", "dee")
# Few directions, so that scores land on every side of threshold and margin.
DIRECTIONS = np.random.default_rng(7).normal(size=(12, CONTRACT.dimension)).astype(np.float32)
LIFETIME_S, LEAP_S = 500.0, 1000.0

galleries = st.sampled_from(GALLERIES)
identities = st.sampled_from(IDENTITIES)
directions = st.integers(0, len(DIRECTIONS) - 1)
thresholds = st.sampled_from([0.0, 0.3, 0.6, 0.9])
overrides = st.none() | thresholds
labels = st.sampled_from([{}, {"team": "x"}, {"team": "y"}, {"team": "x", "site": "z"}])


@dataclass
class HeldTemplate:
    direction: int
    expires: float | None


@dataclass
class Person:
    labels: dict[str, str]
    threshold: float | None = None
    templates: dict[str, HeldTemplate] = field(default_factory=dict)


@dataclass
class Room:
    """The oracle's copy of a gallery."""

    verify: float = 0.6
    identify: float = 0.6
    margin: float = 0.1
    cap: int = 3
    revision: int = 1
    people: dict[str, Person] = field(default_factory=dict)

    def in_force(self, now: float) -> Iterator[tuple[str, str, Any]]:
        """Identity, template id and vector of every template that has not expired."""
        for name, person in self.people.items():
            for key, held in person.templates.items():
                if held.expires is None or held.expires > now:
                    yield name, key, DIRECTIONS[held.direction]

    def scores(self, now: float, direction: int) -> dict[str, float]:
        templates = [(name, vector) for name, _, vector in self.in_force(now)]
        return oracle.best_scores(templates, DIRECTIONS[direction])


def probe(direction: int) -> Probe:
    return Probe(DIRECTIONS[direction], CONTRACT)


class StoreMachine(RuleBasedStateMachine):
    engine = ""

    @initialize()
    def open(self) -> None:
        real, self.leaps = time.time, 0

        def leaping() -> float:
            return real() + LEAP_S * self.leaps

        self.clock = mock.patch("time.time", leaping)
        self.clock.start()
        self.runner, self.stack = asyncio.Runner(), AsyncExitStack()
        self.rooms: dict[str, Room] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="sameface-oracle-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")))
        self.store = self.run(self.opened())
        for gallery in GALLERIES:
            self.create_gallery(gallery)

    async def opened(self) -> Store:
        return await self.stack.enter_async_context(opened_store(self.engine, self.folder))

    def run(self, call: Any) -> Any:
        return self.runner.run(call)

    def refused(self, error: type[SamefaceError], call: Any) -> None:
        with pytest.raises(error):
            self.run(call)

    @rule(gallery=galleries)
    def create_gallery(self, gallery: str) -> None:
        room = Room()
        policy = Policy(
            verify_threshold=room.verify,
            identify_threshold=room.identify,
            runner_up_margin=room.margin,
            max_templates=room.cap,
        )
        call = self.store.galleries.create(gallery, CONTRACT, policy=policy)
        if gallery in self.rooms:
            return self.refused(GalleryAlreadyExists, call)
        self.run(call)
        self.rooms[gallery] = room
        return None

    @rule(gallery=galleries)
    def delete_gallery(self, gallery: str) -> None:
        call = self.store.galleries.delete(gallery, force=True)
        if gallery not in self.rooms:
            return self.refused(GalleryNotFound, call)
        self.run(call)
        del self.rooms[gallery]
        return None

    @rule(gallery=galleries, verify=thresholds, identify=thresholds, margin=st.sampled_from([0.0, 0.1, 0.4]))
    def update_policy(self, gallery: str, verify: float, identify: float, margin: float) -> None:
        changes: PolicyChanges = {
            "verify_threshold": verify,
            "identify_threshold": identify,
            "runner_up_margin": margin,
        }
        call = self.store.galleries.update(gallery, policy=changes)
        room = self.rooms.get(gallery)
        if room is None:
            return self.refused(GalleryNotFound, call)
        if (room.verify, room.identify, room.margin) != (verify, identify, margin):
            room.verify, room.identify, room.margin = verify, identify, margin
            room.revision += 1
        assert self.run(call).policy.revision == room.revision
        revisions = self.run(self.store.galleries.revisions(gallery))
        assert [policy.revision for policy in revisions] == list(range(1, room.revision + 1))
        return None

    @rule(gallery=galleries, identity=identities, worn=labels)
    def create_identity(self, gallery: str, identity: str, worn: dict[str, str]) -> None:
        call = self.store.identities.create(gallery, identity, labels=worn)
        room = self.rooms.get(gallery)
        if room is None:
            return self.refused(GalleryNotFound, call)
        if identity in room.people:
            return self.refused(IdentityAlreadyExists, call)
        self.run(call)
        room.people[identity] = Person(worn)
        return None

    @rule(gallery=galleries, identity=identities, worn=labels, threshold=overrides)
    def update_identity(self, gallery: str, identity: str, worn: dict[str, str], threshold: float | None) -> None:
        changes: IdentityChanges = {"labels": worn, "verify_threshold": threshold}
        call = self.store.identities.update(gallery, identity, changes)
        if (person := self.known(gallery, identity, call)) is not None:
            self.run(call)
            person.labels, person.threshold = worn, threshold

    @rule(
        gallery=galleries,
        identity=identities,
        chosen=st.lists(directions, min_size=1, max_size=3, unique=True),
        fleeting=st.booleans(),
        worn=labels,
    )
    def enroll(self, gallery: str, identity: str, chosen: list[int], fleeting: bool, worn: dict[str, str]) -> None:
        now = time.time()
        expires = now + LIFETIME_S if fleeting else None
        moment = None if expires is None else datetime.fromtimestamp(expires, UTC)
        new = [NewTemplate(DIRECTIONS[one], CONTRACT, expire_time=moment) for one in chosen]
        call = self.store.enroll(gallery, identity, new, labels=worn)
        room = self.rooms.get(gallery)
        if room is None:
            return self.refused(GalleryNotFound, call)
        person = room.people.get(identity, Person(worn))
        held = {template.direction: key for key, template in person.templates.items()}
        living = [person.templates[key].direction for name, key, _ in room.in_force(now) if name == identity]
        fresh = [one for one in chosen if one not in living]
        # A renewal replaces an expired template, even if there is no room for all of them.
        for one in fresh:
            if one in held:
                del person.templates[held[one]]
        if fresh and len(living) + len(fresh) > room.cap:
            return self.refused(TemplateLimitReached, call)
        stored = self.run(call)
        for one, template in zip(chosen, stored, strict=True):
            if one in living:
                assert template.id == held[one]
            else:
                person.templates[template.id] = HeldTemplate(one, expires)
        room.people[identity] = person
        return None

    @rule(gallery=galleries, identity=identities, data=st.data())
    def delete_template(self, gallery: str, identity: str, data: st.DataObject) -> None:
        room = self.rooms.get(gallery)
        held = room.people[identity].templates if room and identity in room.people else {}
        if held:
            chosen = data.draw(st.sampled_from(sorted(held)))
            self.run(self.store.templates.delete(gallery, identity, chosen))
            del held[chosen]

    @rule(gallery=galleries, identity=identities)
    def delete_identity(self, gallery: str, identity: str) -> None:
        call = self.store.identities.delete(gallery, identity, force=True)
        if self.known(gallery, identity, call) is not None:
            self.run(call)
            del self.rooms[gallery].people[identity]

    @rule()
    def time_passes(self) -> None:
        self.leaps += 1

    @precondition(lambda self: self.engine in ON_DISK)
    @rule()
    def restart(self) -> None:
        self.run(self.store.aclose())
        self.store = self.run(self.opened())

    @rule(
        gallery=galleries,
        identity=identities,
        direction=directions,
        scope=st.sampled_from([None, *Scope]),
        requested=overrides,
    )
    def verify(self, gallery: str, identity: str, direction: int, scope: Scope | None, requested: float | None) -> None:
        call = self.store.verify(gallery, identity, probe(direction), scope=scope, threshold=requested)
        if (person := self.known(gallery, identity, call)) is None:
            return
        room = self.rooms[gallery]
        scores = room.scores(time.time(), direction)
        if identity not in scores:
            self.refused(IdentityNotFound, call)
            return
        decision = self.run(call)
        choices = {"REQUEST": requested, "IDENTITY": person.threshold, "GALLERY": room.verify}
        source = next(name for name, value in choices.items() if value is not None)
        looks_at_gallery = scope is Scope.GALLERY or (scope is None and len(room.people) >= 2)
        threshold = choices[source]
        assert threshold is not None
        outcome, score, lead = oracle.verification(scores, identity, looks_at_gallery, threshold, room.margin)
        assert (decision.threshold, decision.threshold_source) == (threshold, source)
        assert decision.scope is (Scope.GALLERY if looks_at_gallery else Scope.CLAIM)
        self.agrees(decision, room, outcome, score, lead, threshold)

    @rule(gallery=galleries, direction=directions, limit=st.integers(1, 6), requested=overrides)
    def identify(self, gallery: str, direction: int, limit: int, requested: float | None) -> None:
        call = self.store.identify(gallery, probe(direction), limit=limit, threshold=requested)
        room = self.rooms.get(gallery)
        if room is None:
            return self.refused(GalleryNotFound, call)
        scores = room.scores(time.time(), direction)
        decision = self.run(call)
        best = sorted(scores.values(), reverse=True)
        assert [found.score for found in decision.candidates] == pytest.approx(best[:limit], abs=oracle.CLOSE)
        for found in decision.candidates:
            assert found.score == pytest.approx(scores[found.identity], abs=oracle.CLOSE)
            assert found.template in room.people[found.identity].templates
        threshold = room.identify if requested is None else requested
        self.agrees(decision, room, *oracle.identification(scores, threshold, room.margin), threshold)
        return None

    def agrees(
        self, decision: Any, room: Room, outcome: str, score: float | None, lead: float | None, threshold: float
    ) -> None:
        assert decision.score == (None if score is None else pytest.approx(score, abs=oracle.CLOSE))
        assert decision.lead == (None if lead is None else pytest.approx(lead, abs=oracle.CLOSE))
        assert (decision.gallery_size, decision.policy_revision) == (len(room.people), room.revision)
        assert (decision.threshold, decision.margin) == (threshold, room.margin)
        if oracle.clear_cut(score, lead, threshold, room.margin):
            assert decision.outcome == outcome

    @rule(
        gallery=galleries,
        direction=directions,
        worn=labels,
        wanted=st.sets(identities, max_size=2),
        unwanted=st.sets(identities, max_size=2),
        limit=st.integers(1, 8),
    )
    def search(
        self,
        gallery: str,
        direction: int,
        worn: dict[str, str],
        wanted: set[str],
        unwanted: set[str],
        limit: int,
    ) -> None:
        where = TemplateFilter(identities=tuple(wanted), exclude_identities=tuple(unwanted), labels=worn)
        call = self.store.search(gallery, probe(direction), where=where, limit=limit)
        room = self.rooms.get(gallery)
        if room is None:
            return self.refused(GalleryNotFound, call)
        scores = {
            (name, key): oracle.cosine(vector, DIRECTIONS[direction])
            for name, key, vector in room.in_force(time.time())
            if worn.items() <= room.people[name].labels.items()
            and (not wanted or name in wanted)
            and name not in unwanted
        }
        found = self.run(call)
        best = sorted(scores.values(), reverse=True)[:limit]
        assert [one.score for one in found] == pytest.approx(best, abs=oracle.CLOSE)
        assert len({one.template.id for one in found}) == len(found)
        for one in found:
            assert one.score == pytest.approx(scores[one.template.identity, one.template.id], abs=oracle.CLOSE)
        return None

    @rule(gallery=galleries, size=st.integers(1, 3))
    def pages_show_everything_once(self, gallery: str, size: int) -> None:
        assert self.pages(self.store.galleries.list, size=size) == sorted(self.rooms)
        room = self.rooms.get(gallery, Room())
        if gallery in self.rooms:
            assert self.pages(self.store.identities.list, gallery, size=size) == sorted(room.people)
        for identity, person in room.people.items():
            assert self.pages(self.store.templates.list, gallery, identity, size=size) == sorted(person.templates)

    def pages(self, listing: Callable[..., Awaitable[Any]], *names: str, size: int) -> list[str]:
        """The ids on all pages, sorted; every page but the last is full."""
        ids: list[str] = []
        sizes: list[int] = []
        token = ""
        while True:
            found = self.run(listing(*names, page_size=size, page_token=token))
            ids += [item.id for item in found.items]
            sizes.append(len(found.items))
            token = found.next_token
            if not token:
                break
        assert all(full == size for full in sizes[:-1])
        return sorted(ids)

    def known(self, gallery: str, identity: str, call: Any) -> Person | None:
        """The oracle's identity. If there is none, the call is refused for the right reason."""
        room = self.rooms.get(gallery)
        person = None if room is None else room.people.get(identity)
        if person is None:
            self.refused(GalleryNotFound if room is None else IdentityNotFound, call)
        return person

    @invariant()
    def counts_agree(self) -> None:
        for gallery, room in self.rooms.items():
            listed = self.run(self.store.identities.list(gallery)).items
            assert {one.id: (one.template_count, dict(one.labels), one.verify_threshold) for one in listed} == {
                name: (len(person.templates), person.labels, person.threshold) for name, person in room.people.items()
            }

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()
        self.clock.stop()
        shutil.rmtree(self.folder)


# Qdrant Edge rewrites its files whenever something is erased, which takes far longer than the rest. The store itself is
# the same on all engines, and sqlite answers three times as fast as Qdrant's client in memory.
EXAMPLES = {"edge": 6, "server": 6, "memory": 30}


@pytest.mark.parametrize("engine", ENGINES)
def test_answers_agree_with_brute_force(engine: str) -> None:
    run_state_machine_as_test(
        type("Machine", (StoreMachine,), {"engine": engine}),
        settings=settings(
            max_examples=EXAMPLES.get(engine, 60),
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
