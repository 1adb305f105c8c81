"""A protected store gives the answers of brute force, also while galleries are re-keyed and after an interruption."""

from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from sameface_qdrant import Store
from sameface_qdrant.errors import GalleryNotFound
from tests.plugin.conftest import QDRANT_API_KEY, QDRANT_URL, cleared_server, needs_server
from tests.plugin.protection.conftest import SECOND, Stopped, StoppingEngine, opened
from tests.plugin.test_stateful import StoreMachine, galleries


class ProtectedMachine(StoreMachine):
    async def opened(self) -> Store:
        if self.engine == "server":
            _, options = await self.stack.enter_async_context(cleared_server())
            store = await Store.open(QDRANT_URL, api_key=QDRANT_API_KEY, options=options, keys=SECOND)
        else:
            store = await opened(self.engine, self.folder, SECOND)
        protected = store.galleries.rekeying._engine
        self.stopping = StoppingEngine(protected.stored)
        protected.stored = self.stopping
        self.stack.push_async_callback(store.aclose)
        return store

    @rule(gallery=galleries)
    def rekey(self, gallery: str) -> None:
        call = self.store.rekey(gallery)
        if gallery not in self.rooms:
            return self.refused(GalleryNotFound, call)
        before = self.run(self.store.galleries.get(gallery)).protection
        assert before is not None
        after = self.run(call).gallery.protection
        assert after is not None
        assert (after.current.number, after.following) == (before.latest.number + (before.following is None), None)
        return None

    @precondition(lambda self: self.rooms)
    @rule(gallery=galleries, changes=st.integers(0, 12))
    def interrupted_rekey(self, gallery: str, changes: int) -> None:
        if gallery not in self.rooms:
            return
        self.stopping.changes_left = changes
        try:
            with mock.patch.multiple("sameface_qdrant.store.protection.rekey", BATCH=2, REMOVED_AT_ONCE=4):
                self.run(self.store.rekey(gallery))
        except Stopped:
            pass
        finally:
            self.stopping.changes_left = None


@pytest.mark.parametrize(
    ("engine", "examples"), [("memory", 10), ("edge", 1), pytest.param("server", 4, marks=needs_server)]
)
def test_answers_agree_with_brute_force(engine: str, examples: int) -> None:
    run_state_machine_as_test(
        type("Machine", (ProtectedMachine,), {"engine": engine}),
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
