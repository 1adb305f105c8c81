"""Whatever is called in whatever order around a migration, the gallery holds what plain dictionaries say."""

import asyncio
import os
import shutil
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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

from sameface_qdrant import Contract, NewTemplate, Probe, Store
from sameface_qdrant.errors import (
    IdentityAlreadyExists,
    InvalidArgument,
    MigrationEnded,
    MigrationInProgress,
    SamefaceError,
)
from sameface_qdrant.values.migration import MigrationState
from sameface_qdrant.values.origin import EmbeddingOrigin
from tests.plugin.conftest import CONTRACT, ON_DISK, opened_store
from tests.plugin.migration.worlds import NEW, POINTS, new_model, points_of, the_map

IDENTITIES = ("ada", "bob", "cy")
DIRECTIONS = [
    np.asarray(one / np.linalg.norm(one), np.float32)
    for one in np.random.default_rng(7).normal(size=(10, CONTRACT.dimension))
]
MAPPED = the_map().applied(np.stack(DIRECTIONS))
identities, directions = st.sampled_from(IDENTITIES), st.integers(0, len(DIRECTIONS) - 1)


@dataclass(eq=False)
class Held:
    """What a template is under both contracts."""

    old: NDArray[np.float32] | None
    new: NDArray[np.float32]
    native: bool
    """Whether the new model made ``new``."""


@dataclass
class World:
    """The oracle's copy."""

    people: dict[str, dict[str, Held]] = field(default_factory=dict)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    state: MigrationState | None = None
    promoted: bool = False
    migrations: int = 0


class MigrationMachine(RuleBasedStateMachine):
    engine = ""

    @initialize()
    def begin(self) -> None:
        self.runner, self.stack, self.world, self.id = asyncio.Runner(), AsyncExitStack(), World(), ""
        self.folder = Path(tempfile.mkdtemp(prefix="sameface-oracle-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")))
        self.store = self.run(self.opened())
        self.run(self.store.galleries.create("g", CONTRACT, operating_points=POINTS))
        for number, identity in enumerate(IDENTITIES[:2]):
            self.enroll(identity, number, False)

    async def opened(self) -> Store:
        return await self.stack.enter_async_context(opened_store(self.engine, self.folder))

    def run(self, call: Any) -> Any:
        return self.runner.run(call)

    def refused(self, error: type[SamefaceError], call: Any) -> None:
        with pytest.raises(error):
            self.run(call)

    @property
    def under_way(self) -> bool:
        return self.world.state is not None and not self.world.state.ended

    @property
    def contract(self) -> Contract:
        return NEW if self.world.promoted else CONTRACT

    @rule(identity=identities, direction=directions, also=st.booleans())
    def enroll(self, identity: str, direction: int, also: bool) -> None:
        old, new = DIRECTIONS[direction], new_model(DIRECTIONS[direction])
        mine, other = (new, old) if self.world.promoted else (old, new)
        contract, second = (NEW, CONTRACT) if self.world.promoted else (CONTRACT, NEW)
        template = NewTemplate(mine, contract, content=bytes([direction]), also=(Probe(other, second),) if also else ())
        (stored,) = self.run(self.store.enroll("g", identity, template))
        held = self.world.people.setdefault(identity, {}).get(stored.id)
        self.world.labels.setdefault(identity, {})
        if held is not None:
            # A repeat changes nothing under the present contract.
            if also and self.under_way and not self.world.promoted and not held.native:
                held.new, held.native = new, True
            elif also and self.under_way and self.world.promoted and held.old is None:
                held.old = old
            return
        mapped = MAPPED[direction]
        if self.world.promoted:
            self.world.people[identity][stored.id] = Held(old if also and self.under_way else None, new, True)
        elif also and self.under_way:
            self.world.people[identity][stored.id] = Held(old, new, True)
        else:
            self.world.people[identity][stored.id] = Held(old, mapped, False)

    @precondition(lambda self: any(self.world.people.values()))
    @rule(who=st.integers(0, 20), which=st.integers(0, 20))
    def delete_template(self, who: int, which: int) -> None:
        names = [name for name, held in self.world.people.items() if held]
        identity = names[who % len(names)]
        templates = list(self.world.people[identity])
        template = templates[which % len(templates)]
        receipt = self.run(self.store.templates.delete("g", identity, template))
        assert receipt.unreadable
        del self.world.people[identity][template]

    @precondition(lambda self: self.world.people)
    @rule(who=st.integers(0, 20))
    def delete_identity(self, who: int) -> None:
        identity = self.somebody(who)
        self.run(self.store.identities.delete("g", identity, force=True))
        del self.world.people[identity], self.world.labels[identity]

    @precondition(lambda self: self.world.people)
    @rule(who=st.integers(0, 20), team=st.sampled_from(["x", "y"]))
    def label(self, who: int, team: str) -> None:
        identity = self.somebody(who)
        self.run(self.store.identities.update("g", identity, {"labels": {"team": team}}))
        self.world.labels[identity] = {"team": team}

    @precondition(lambda self: self.world.people)
    @rule(who=st.integers(0, 20), goal=identities, merge=st.booleans())
    def move(self, who: int, goal: str, merge: bool) -> None:
        source = self.somebody(who)
        if source == goal:
            return
        people = self.world.people
        if goal in people and not merge:
            self.refused(IdentityAlreadyExists, self.store.identities.move("g", source, goal))
            return
        before = list(people[source].values())
        self.run(self.store.identities.move("g", source, goal, merge=merge))
        there = self.run(self.store.templates.list("g", goal, page_size=1000)).items
        new = [one.id for one in there if one.id not in people.get(goal, {})]
        # Ids of moved templates derive from the earlier ones; here they are told by their embeddings.
        assert len(new) == len(before)
        left = list(before)
        moved: dict[str, Held] = {}
        for one in new:
            vector = self.run(self.store.templates.get("g", goal, one, with_vector=True)).vector
            held = next(held for held in left if np.allclose(self.present(held), vector, atol=1e-5))
            left.remove(held)
            moved[one] = held
        people[goal] = {**people.get(goal, {}), **moved}
        labels = self.world.labels.pop(source)
        self.world.labels.setdefault(goal, labels)
        del people[source]

    def somebody(self, who: int) -> str:
        names = list(self.world.people)
        return names[who % len(names)]

    def present(self, held: Held) -> NDArray[np.float32]:
        found = held.new if self.world.promoted else held.old
        assert found is not None
        return found

    @precondition(lambda self: not self.under_way and not self.world.promoted)
    @rule()
    def create(self) -> None:
        self.world.migrations += 1
        found = self.run(self.store.migrations.create("g", the_map(), operating_points=POINTS, rate=1e6))
        self.id, self.world.state = found.id, MigrationState.MAPPING
        for held in [held for person in self.world.people.values() for held in person.values()]:
            # An earlier migration that was rolled back has left nothing.
            assert held.old is not None
            held.new, held.native = the_map().applied(held.old[None])[0], False
        self.refused(MigrationInProgress, self.store.migrations.create("g", the_map()))

    @precondition(lambda self: self.world.state is MigrationState.MAPPING)
    @rule()
    def wait(self) -> None:
        self.run(self.store.migrations.worker.settle())
        found = self.run(self.store.migrations.get("g", self.id))
        assert (found.state, found.failure) == (MigrationState.MAPPED, "")
        self.world.state = MigrationState.MAPPED

    @precondition(lambda self: self.world.state is MigrationState.MAPPED)
    @rule()
    def promote(self) -> None:
        self.run(self.store.migrations.promote("g", self.id))
        self.world.state, self.world.promoted = MigrationState.PROMOTED, True

    @precondition(lambda self: self.world.state is MigrationState.PROMOTED)
    @rule()
    def roll_back(self) -> None:
        lost = sum(held.old is None for person in self.world.people.values() for held in person.values())
        if lost:
            self.refused(InvalidArgument, self.store.migrations.roll_back("g", self.id))
        self.run(self.store.migrations.roll_back("g", self.id, discard_new=lost > 0))
        self.world.state, self.world.promoted = MigrationState.ROLLED_BACK, False
        for person in self.world.people.values():
            for template in [one for one, held in person.items() if held.old is None]:
                del person[template]
        self.ended(NEW)

    @precondition(lambda self: self.under_way and not self.world.promoted)
    @rule()
    def cancel(self) -> None:
        self.run(self.store.migrations.cancel("g", self.id))
        self.world.state = MigrationState.CANCELLED
        self.ended(NEW)

    @precondition(lambda self: self.world.state is MigrationState.PROMOTED and self.world.migrations > 1)
    @rule()
    def finish(self) -> None:
        self.run(self.store.migrations.finish("g", self.id))
        self.world.state = MigrationState.FINISHED
        self.ended(CONTRACT)

    def ended(self, emptied: Contract) -> None:
        assert self.run(points_of(self.store, emptied)) == {}
        self.refused(MigrationEnded, self.store.migrations.promote("g", self.id))

    @precondition(lambda self: self.engine in ON_DISK)
    @rule()
    def open_again(self) -> None:
        self.run(self.stack.aclose())
        self.store = self.run(self.opened())

    @invariant()
    def the_gallery_is_as_the_oracle_says(self) -> None:
        gallery = self.run(self.store.galleries.get("g"))
        assert gallery.contract == self.contract
        assert (gallery.migration is not None) == self.under_way
        points = self.run(points_of(self.store, self.contract))
        records = {
            point.payload["identity"]: point.payload["labels"]
            for point in points.values()
            if point.payload["kind"] == "identity"
        }
        assert records == self.world.labels
        held = {one: (name, each) for name, person in self.world.people.items() for one, each in person.items()}
        stored = {one: point for one, point in points.items() if point.payload["kind"] == "template"}
        assert stored.keys() == held.keys()
        for one, point in stored.items():
            name, each = held[one]
            assert point.payload["identity"] == name
            assert point.payload["labels"] == self.world.labels[name]
            assert point.payload["contract"] == self.contract.key
            assert np.allclose(np.asarray(point.vector), self.present(each), atol=1e-5)
            shown = self.run(self.store.templates.get("g", name, one))
            mapped = self.world.promoted and not each.native
            assert shown.embedding_origin is (EmbeddingOrigin.MAPPED if mapped else EmbeddingOrigin.NATIVE)

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()
        shutil.rmtree(self.folder)


EXAMPLES: dict[str, int] = {"edge": 1, "memory": 1, "sqlite": 3}


@pytest.mark.parametrize("engine", EXAMPLES)
def test_galleries_in_migration_agree_with_dictionaries(engine: str) -> None:
    factor = int(os.environ.get("MIGRATION_EXAMPLES", "1"))
    machine: type[MigrationMachine] = type("Machine", (MigrationMachine,), {"engine": engine})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=factor * EXAMPLES[engine],
            stateful_step_count=25,
            deadline=None,
            derandomize=factor == 1,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
