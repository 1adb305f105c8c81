"""Measures decisions on a server beside Qdrant's own query with the same filter, in turn within one run."""

import os
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from qdrant_client import AsyncQdrantClient

from benchmarks.qdrant.filling import CONTRACT, gallery_id, identity_id
from benchmarks.qdrant.people import Floats, People, nearest_scores
from sameface_qdrant import Probe, Scope, Store
from sameface_qdrant.engines.base import VECTOR_NAME, Where
from sameface_qdrant.engines.server.conversion import filter_of
from sameface_qdrant.engines.server.engine import ServerEngine
from sameface_qdrant.store.conditional_write import confirmed

WARM_UP = 10
TOLERANCE = 1e-5
"""A found score that is so much lower than the best one is of another template."""
MORE, FACTOR = 2.0, 1.5
"""The goal of a decision: at most ``FACTOR`` times the bare query and ``MORE`` milliseconds."""


@dataclass(frozen=True, slots=True)
class Question:
    """A probe, the gallery that is searched, and the exact answer."""

    gallery: str
    vector: Floats
    claimed: str
    known: bool
    best: float
    """The cosine of the nearest template of the gallery."""


@dataclass(slots=True)
class Figures:
    """Milliseconds of each contender, and how often `identify` found the nearest template."""

    milliseconds: dict[str, list[float]]
    found: dict[bool, list[bool]] = field(default_factory=lambda: {True: [], False: []})
    """By whether the person is enrolled."""

    def summary(self) -> dict[str, Any]:
        """Return medians, 95th percentiles, and shares."""
        bare = statistics.median(self.milliseconds["bare"])
        goal = FACTOR * bare + MORE
        figures: dict[str, Any] = {"goal_ms": round(goal, 2)}
        for name, values in self.milliseconds.items():
            median = statistics.median(values)
            figures[name] = {
                "p50_ms": round(median, 2),
                "p95_ms": round(float(np.quantile(values, 0.95)), 2),
                "ratio": round(median / bare, 2),
                "within_goal": median <= goal,
            }
        every = [*self.found[True], *self.found[False]]
        figures["recall_at_1"] = round(statistics.mean(every), 4)
        figures["recall_at_1_known"] = round(statistics.mean(self.found[True]), 4)
        return figures


def questions(people: People, galleries: int, identities: int, each: int, count: int) -> list[Question]:
    """Return probes of known and unknown people in turn, with the exact answers."""
    asked: list[Question] = []
    searched = sorted(random.Random(people.seed).sample(range(galleries), min(galleries, 50)))
    for number in searched:
        stored = people.templates(number, identities, each).reshape(-1, CONTRACT.dimension)
        vectors, whose = people.probes(number, identities, max(2, -(-count // len(searched))))
        best = nearest_scores(stored, vectors)
        asked += [
            Question(gallery_id(number), vector, identity_id(max(0, int(person))), person >= 0, float(score))
            for vector, person, score in zip(vectors, whose, best, strict=True)
        ]
    random.Random(people.seed).shuffle(asked)
    return asked


async def measure(store: Store, engine: ServerEngine, client: AsyncQdrantClient, asked: Sequence[Question]) -> Figures:
    """Send every question to every contender, in another order each time."""
    uids = {one.gallery: (await store.galleries.tenant(one.gallery)).uid for one in asked}

    async def bare(question: Question) -> Any:
        where = confirmed(engine, Where({"gallery": uids[question.gallery]}, valid_at=time.time()))
        return await client.query_points(
            engine._name(CONTRACT.key),
            query=question.vector.tolist(),
            using=VECTOR_NAME,
            query_filter=filter_of(where),
            search_params=engine._search_params(where),
            limit=5,
            with_payload=False,
        )

    def probe(question: Question) -> Probe:
        return Probe(question.vector, CONTRACT)

    contenders: dict[str, Callable[[Question], Awaitable[Any]]] = {
        "bare": bare,
        "verify": lambda one: store.verify(one.gallery, one.claimed, probe(one)),
        "verify CLAIM": lambda one: store.verify(one.gallery, one.claimed, probe(one), scope=Scope.CLAIM),
        "identify": lambda one: store.identify(one.gallery, probe(one)),
    }
    figures = Figures({name: [] for name in contenders})
    for number, question in enumerate([*asked[:WARM_UP], *asked], -WARM_UP):
        for name in random.Random(number).sample(list(contenders), len(contenders)):
            began = time.perf_counter()
            answer = await contenders[name](question)
            if number < 0:
                continue
            figures.milliseconds[name].append((time.perf_counter() - began) * 1e3)
            if name == "identify":
                figures.found[question.known].append(
                    answer.score is not None and answer.score >= question.best - TOLERANCE
                )
    return figures


def processor_s(pid: int) -> float:
    """Return the processor time that a process has used, in seconds. Other programs on the machine do not count."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> dict[str, float]:
    """Return the resident memory of a process, and the part of it that is not mapped from files."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {
        name: round(int(fields[key].split()[0]) / 1024, 1)
        for name, key in (("resident_mib", "VmRSS"), ("anonymous_mib", "RssAnon"))
    }
