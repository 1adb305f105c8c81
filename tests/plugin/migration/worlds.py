"""A gallery to migrate, a map, and what its collections hold."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from sameface_qdrant import Contract, NewTemplate, OperatingPoint, Policy, Probe, Store
from sameface_qdrant.engines.base import Point, Where
from sameface_qdrant.values.gallery import Gallery
from sameface_qdrant.values.template_map import TemplateMap
from tests.plugin.conftest import CONTRACT

NEW = Contract("voices", version=2, sha256="b" * 64, dimension=8, preprocessing="none")
POINTS = (OperatingPoint(1e-3, 0.55), OperatingPoint(1e-4, 0.7))
MAPPED_POINTS = (OperatingPoint(1e-3, 0.45), OperatingPoint(1e-4, 0.6))


def unit(vector: NDArray[Any]) -> NDArray[np.float32]:
    """Scale to unit norm."""
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def new_model(vector: NDArray[Any], seed: int = 5) -> NDArray[np.float32]:
    """What the new model makes of a photo whose old embedding is ``vector``: turned, shifted, and a little noise."""
    return unit(vector @ rotation() + 0.05 * np.random.default_rng(seed).normal(size=len(vector)))


def rotation() -> NDArray[np.float64]:
    """The turn between the two models."""
    turned, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))
    return turned


def the_map(**changes: Any) -> TemplateMap:
    """The map from the old model to the new one."""
    fields: dict[str, Any] = {
        "old": CONTRACT,
        "new": NEW,
        "weight": rotation().T.astype(np.float32),
        "bias": np.zeros(8, np.float32),
        "operating_points": MAPPED_POINTS,
    }
    return TemplateMap(**{**fields, **changes})


async def filled(store: Store, people: int = 6, per_person: int = 2, **options: Any) -> dict[str, NDArray[np.float32]]:
    """Make the gallery ``g``; return the vectors of its templates by id."""
    rng = np.random.default_rng(3)
    await store.galleries.create("g", CONTRACT, policy=Policy(verify_threshold=0.5, identify_threshold=0.6), **options)
    found: dict[str, NDArray[np.float32]] = {}
    for number in range(people):
        centre = rng.normal(size=8)
        vectors = [unit(centre + 0.1 * rng.normal(size=8)) for _ in range(per_person)]
        new = [NewTemplate(vector, CONTRACT, content=vector.tobytes()) for vector in vectors]
        templates = await store.enroll("g", f"p{number}", new, labels={"team": "x"})
        found |= {template.id: vector for template, vector in zip(templates, vectors, strict=True)}
    return found


async def points_of(store: Store, contract: Contract, gallery: str = "g") -> dict[str, Point]:
    """Everything that a gallery has under a contract, with vectors, as the layer of protection returns it."""
    uid = (await store.galleries.get(gallery)).uid
    engine = cast(Any, store.galleries.contracts).below
    await engine.ensure(contract.key, contract.dimension)
    found: dict[str, Point] = {}
    start = None
    while True:
        page, start = await engine.scroll(contract.key, Where({"gallery": uid}), 100, start)
        read = await engine.get(contract.key, [point.id for point in page], with_vector=True)
        found |= {one: replace(point, payload=dict(point.payload)) for one, point in read.items()}
        if start is None:
            return found


def as_bytes(points: dict[str, Point]) -> dict[str, tuple[Any, bytes]]:
    """Payloads and the bytes of vectors, to compare."""
    return {
        one: (dict(point.payload), b"" if point.vector is None else point.vector.tobytes())
        for one, point in points.items()
    }


async def mapped(store: Store, **options: Any) -> str:
    """Migrate ``g`` until all is mapped; return the id of the migration."""
    found = await store.migrations.create("g", the_map(), **{"operating_points": POINTS, "rate": 1e6, **options})
    await store.migrations.worker.settle()
    return found.id


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """Wait until something holds."""
    while not await condition():  # noqa: ASYNC110  # there is no event for it
        await asyncio.sleep(0.01)


def probe_of(gallery: Gallery, vector: NDArray[Any]) -> Probe:
    """A probe of the person whose old embedding is ``vector``, under the gallery's present contract."""
    return Probe(vector if gallery.contract == CONTRACT else new_model(vector), gallery.contract)
