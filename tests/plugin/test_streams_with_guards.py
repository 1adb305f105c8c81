"""What stands beside a stream of enrolments with guards: previews, a kill, the memory's bound; and how exact it is."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from sameface_qdrant import Enrolment, NewTemplate, Store
from sameface_qdrant.engines.base import Point, Where
from sameface_qdrant.engines.edge.engine import EdgeEngine
from sameface_qdrant.store import vector_table
from sameface_qdrant.store.remembered_vectors import RememberingEngine
from sameface_qdrant.values.finding import FindingKind
from tests.plugin.conftest import CONTRACT, random_vector
from tests.plugin.test_enroll_many import many, one
from tests.plugin.test_remembered_vectors import WARN, remembered

THRESHOLD = 0.8  # of `WARN`


async def opened(folder: Path) -> Store:
    store = await Store.open(f"edge://{folder}")
    await store.galleries.create("people", CONTRACT, policy=WARN)
    return store


async def test_a_preview_beside_a_stream_finds_what_was_yielded_and_leaves_nothing(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    store, face = await opened(tmp_path), random_vector(rng)
    engine = remembered(store)
    await many(store, [one("ada", random_vector(rng))])
    collisions = []
    async for result in store.enroll_many("people", [one("bob", face), one("cy", random_vector(rng))], batch_size=1):
        (preview,) = await store.enroll("people", "eve", [NewTemplate(face, CONTRACT)], validate_only=True)
        found = [one.identity for one in preview.findings if one.kind is FindingKind.COLLISION]
        collisions.append((result.identity, found))
    assert collisions == [("bob", ["bob"]), ("cy", ["bob"])]
    assert engine.remembered_bytes > 0
    assert {identity.id for identity in (await store.identities.list("people")).items} == {"ada", "bob", "cy"}
    # The preview is not among what the next enrolment is compared with.
    await store.identities.delete("people", "bob", force=True)
    (dee,) = await many(store, [one("dee", face)])
    assert [one.identity for one in dee.templates[0].findings] == []
    await store.aclose()


async def test_a_gallery_that_outgrows_the_memory_during_a_stream_is_compared_all_the_same(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_table, "FEW_REMOVED", 2)
    store = await opened(tmp_path)
    engine = remembered(store)
    vectors = [random_vector(rng) for _ in range(12)]
    # Every second one shows somebody who is there, some before the bound is reached and some after it.
    shown = [vectors[n] if n % 2 == 0 else vectors[n // 4] + 0.01 * random_vector(rng) for n in range(12)]
    engine.most_bytes = 7 * 4 * CONTRACT.dimension
    in_memory, found = [], []
    stream = store.enroll_many("people", [one(f"p{n}", vector) for n, vector in enumerate(shown)], batch_size=1)
    async for result in stream:
        in_memory.append(engine.remembered_bytes > 0)
        scored = [one for one in result.templates[0].findings if one.kind is FindingKind.COLLISION]
        found.append({(one.identity, round(one.score or 0.0, 4)) for one in scored})
    assert True in in_memory
    assert not in_memory[-1]
    units = np.stack([vector / np.linalg.norm(vector) for vector in shown]).astype(np.float64)
    for number in range(12):
        scores = units[:number] @ units[number]
        best = int(scores.argmax()) if number else -1
        expected = {(f"p{best}", round(float(scores[best]), 4))} if number and scores[best] >= THRESHOLD else set()
        assert {name for name, _ in found[number]} == {name for name, _ in expected}
        for (_, mine), (_, theirs) in zip(found[number], expected, strict=True):
            assert abs(mine - theirs) <= 2e-4
    await store.aclose()


KILLED = """
import asyncio, os, signal, sys
from sameface_qdrant import Store
from tests.plugin import test_streams_with_guards as here

async def main(folder, last):
    store = await here.opened(folder)
    here.remembered(store)
    async for result in store.enroll_many("people", here.asked_for(), batch_size=here.BATCH):
        assert result.error is None
        print("yielded", result.identity, flush=True)
        if result.identity == last:
            os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(*sys.argv[1:]))
"""
BATCH = 20


def enrolments() -> list[Enrolment]:
    vectors = np.random.default_rng(3).normal(size=(5 * BATCH, CONTRACT.dimension))
    return [one(f"p{number}", vector) for number, vector in enumerate(vectors)]


async def asked_for() -> AsyncIterator[Enrolment]:
    """The enrolments, of which some are asked for ahead; says so."""
    for enrolment in enrolments():
        print("asked", enrolment.identity, flush=True)
        yield enrolment


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
async def test_what_a_killed_stream_has_yielded_is_stored_and_the_stream_goes_on(tmp_path: Path) -> None:
    last = 3 * BATCH - 1  # of a batch, while the next one is ready or being written
    command = [sys.executable, "-c", KILLED, str(tmp_path), f"p{last}"]
    child = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    said = [line.split() for line in (await child.communicate())[0].decode().splitlines()]
    assert child.returncode == -signal.SIGKILL
    yielded = [name for what, name in said if what == "yielded"]
    assert yielded == [f"p{number}" for number in range(last + 1)]
    assert len(said) - len(yielded) > len(yielded)  # another batch was asked for ahead
    store = await Store.open(f"edge://{tmp_path}")
    stored = {identity.id: identity.template_count for identity in (await store.identities.list("people")).items}
    assert set(yielded) <= stored.keys()
    assert set(stored.values()) == {1}
    again = await many(store, enrolments(), BATCH)
    assert [result.error for result in again] == [None] * len(again)
    whole = (await store.identities.list("people")).items
    assert {(one.id, one.template_count) for one in whole} == {(f"p{number}", 1) for number in range(5 * BATCH)}
    await store.aclose()


@pytest.mark.parametrize("dimension", [8, 128, 512])
async def test_scores_from_memory_are_those_of_edge_to_a_millionth(
    dimension: int, tmp_path: Path, rng: np.random.Generator
) -> None:
    below = await EdgeEngine.open(tmp_path)
    engine = RememberingEngine(cast(Any, below))
    engine.worth = 1
    await engine.ensure("c", dimension)
    vectors = rng.normal(size=(200, dimension))
    probes = np.concatenate([vectors[:40], vectors[:40] + 0.05 * rng.normal(size=(40, dimension))])
    vectors, probes = (
        (some / np.linalg.norm(some, axis=1, keepdims=True)).astype(np.float32) for some in (vectors, probes)
    )
    await engine.upsert(
        "c",
        [
            Point(
                f"00000000-0000-4000-8000-{number:012d}",
                {"gallery": "g", "kind": "template", "identity": f"p{number}"},
                vector,
            )
            for number, vector in enumerate(vectors)
        ],
    )
    others = Where({"gallery": "g"}, {"identity": "nobody"}, valid_at=time.time())
    searches = [(probe, others) for probe in probes]
    mine = await engine.nearest_each("c", searches, 1, fields=("identity",), exact=True)
    theirs = await below.nearest_each("c", searches, 1, fields=("identity",), exact=True)
    assert engine.remembered_bytes > 0
    for (my,), (their,) in zip(mine, theirs, strict=True):
        assert my.id == their.id
        assert abs(my.score - their.score) < 1e-6
    await engine.aclose()
