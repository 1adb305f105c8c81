"""A process may end after any change that a migration makes. Nothing is lost then, and nothing compared by mistake."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np
import pytest

from sameface_qdrant import NewTemplate, Probe, Store
from sameface_qdrant.errors import SamefaceError
from sameface_qdrant.values.migration import MigrationState
from tests.plugin.conftest import CONTRACT
from tests.plugin.migration.worlds import NEW, POINTS, as_bytes, filled, new_model, points_of, the_map
from tests.plugin.protection.conftest import Stopped, StoppingEngine
from tests.plugin.third_engine import SqliteEngine

UNLIMITED = 10**6


@dataclass
class Acknowledged:
    """What calls have acknowledged."""

    templates: set[str] = field(default_factory=set)
    erased: set[str] = field(default_factory=set)
    begun: set[str] = field(default_factory=set)
    """Templates that a call was erasing, or enrolling, when the process ended."""
    native: set[str] = field(default_factory=set)


@asynccontextmanager
async def opened(folder: Path, changes: int) -> AsyncIterator[tuple[Store, StoppingEngine]]:
    """A store on disk whose process ends after a number of changes."""
    third = SqliteEngine(folder)
    stopping = StoppingEngine(third)
    try:
        store = await Store.over(cast(Any, stopping))
        await store.migrations.worker.settle()
        stopping.changes_left = changes
        yield store, stopping
        stopping.changes_left = UNLIMITED
        await store.migrations.aclose()
        await store.erasures.aclose()
    finally:
        await third.aclose()


async def life(store: Store, known: Acknowledged, end: str) -> None:
    """Migrate, enrol and erase meanwhile, promote, erase again, and end."""
    victim, second = sorted(known.templates)[:2]
    migrations = store.migrations
    found = await migrations.create("g", the_map(), operating_points=POINTS, rate=1e6, request_id="m")
    await migrations.worker.settle()
    vector = np.ones(8, np.float32) / np.sqrt(np.float32(8))
    extra = NewTemplate(vector, CONTRACT, content=b"new", also=(Probe(new_model(vector), NEW),))
    (stored,) = await store.enroll("g", "late", extra)
    known.templates.add(stored.id)
    known.native.add(stored.id)
    await erase(store, known, victim)
    await migrations.promote("g", found.id)
    await erase(store, known, second)
    if end == "roll back":
        await migrations.roll_back("g", found.id)
    else:
        await migrations.finish("g", found.id)


async def erase(store: Store, known: Acknowledged, victim: str) -> None:
    """Erase a template."""
    known.begun.add(victim)
    contract = (await store.galleries.get("g")).contract
    owner = (await points_of(store, contract))[victim].payload["identity"]
    await store.templates.delete("g", owner, victim)
    known.begun.remove(victim)
    known.templates.remove(victim)
    known.erased.add(victim)


async def check(store: Store, known: Acknowledged, before: dict[str, tuple[Any, bytes]]) -> MigrationState | None:
    """What was acknowledged is there, under one contract; what was erased is nowhere."""
    await store.migrations.worker.settle()
    gallery = await store.galleries.get("g")
    under = {contract: await points_of(store, contract) for contract in (CONTRACT, NEW)}
    present = {one: point for one, point in under[gallery.contract].items() if point.payload["kind"] == "template"}
    assert present.keys() >= known.templates - known.begun
    for one, point in present.items():
        assert point.payload["contract"] == gallery.contract.key
        if gallery.contract == CONTRACT and one in before:
            assert as_bytes({one: point})[one] == before[one]
        if gallery.contract == NEW and one in before:
            old = np.frombuffer(before[one][1], np.float32)
            assert np.allclose(np.asarray(point.vector), the_map().applied(old[None])[0], atol=1e-5)
    for points in under.values():
        assert not known.erased & points.keys()
    if gallery.migration is None:
        other = NEW if gallery.contract == CONTRACT else CONTRACT
        assert under[other] == {}
    listed = (await store.migrations.list(gallery="g")).items
    assert all(not one.state.ended for one in listed) or gallery.migration is None
    # Nothing keeps writes out.
    probe = NewTemplate(np.eye(8, dtype=np.float32)[0], gallery.contract, content=b"probe")
    if gallery.migration is None or gallery.migration.promoted is (gallery.contract == NEW):
        (written,) = await store.enroll("g", "probe", probe)
        await store.templates.delete("g", "probe", written.id)
    return listed[0].state if listed else None


async def stopped_after(folder: Path, changes: int, end: str) -> bool:
    """Run a migration that is stopped after a number of changes, then one that is not; return whether it was."""
    known = Acknowledged()
    async with opened(folder, UNLIMITED) as (store, stopping):
        known.templates |= (await filled(store, people=2)).keys()
        before = as_bytes(await points_of(store, CONTRACT))
        stopping.changes_left = changes
        ended = False
        try:
            await life(store, known, end)
            ended = True
        except (Stopped, SamefaceError):
            assert stopping.changes_left == 0
    async with opened(folder, UNLIMITED) as (store, _):
        state = await check(store, known, before)
        assert ended or state is not None or not known.native
    async with opened(folder, UNLIMITED) as (store, _):
        await check(store, known, before)
        for one in (await store.migrations.list(gallery="g")).items:
            # It goes on from where it was.
            if one.state is MigrationState.MAPPED:
                await store.migrations.promote("g", one.id)
            if not one.state.ended:
                # An erasure that was cut off between the contracts does not stand in the way.
                await store.migrations.roll_back("g", one.id)
        gallery = await store.galleries.get("g")
        assert gallery.contract == (NEW if ended and end == "finish" else gallery.contract)
        await check(store, known, before)
    return not ended


@pytest.mark.parametrize("end", ["roll back", "finish"])
async def test_every_change_can_be_the_last_one(end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sameface_qdrant.store.migrations.worker.log", mock.Mock())
    monkeypatch.setattr("sameface_qdrant.store.migrations.worker.FIRST_PAUSE_S", 0.0)
    # Every change with MIGRATION_EXAMPLES=1 or more; by default some of them.
    step = 1 if os.environ.get("MIGRATION_EXAMPLES") else 13
    changes = 6 if end == "finish" and step > 1 else 0
    while await stopped_after(tmp_path / str(changes), changes, end):
        changes += step
    assert changes > 30
