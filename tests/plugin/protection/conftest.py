"""Protected stores, and engines on which a re-key can be stopped anywhere."""

import hashlib
from pathlib import Path
from typing import Any

from sameface_qdrant import Store
from sameface_qdrant.engines.base import Engine, Where
from sameface_qdrant.store.protection.keys import KeyRing, MasterKey
from tests.plugin.third_engine import SqliteEngine


def master_key(name: str, secret: str = "") -> MasterKey:
    """A key that looks random, drawn from its id or from another text."""
    return MasterKey(name, hashlib.sha256((secret or name).encode()).digest())


KEYS = {name: master_key(name) for name in ("first", "second")}
FIRST, SECOND = KeyRing(KEYS, "first"), KeyRing(KEYS, "second")


class Stopped(Exception):
    """Stands for the end of the process."""


class StoppingEngine:
    """An engine that makes a number of changes and then fails, as a killed process would."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.changes_left: int | None = None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._engine, name)
        if name not in ("upsert", "set_payload", "delete", "commit"):
            return method

        async def counted(*arguments: Any, **options: Any) -> Any:
            if self.changes_left is not None:
                if not self.changes_left:
                    raise Stopped
                self.changes_left -= 1
            return await method(*arguments, **options)

        return counted


async def opened(engine: str, folder: Path, keys: KeyRing | None = FIRST) -> Store:
    """A protected store, in memory, on Qdrant Edge or on the third engine."""
    if engine == "sqlite":
        third = SqliteEngine(folder)
        try:
            return await Store.over(third, keys=keys)
        except BaseException:
            await third.aclose()
            raise
    return await Store.open(":memory:" if engine == "memory" else f"edge://{folder}", keys=keys)


async def stored(engine: Engine, collection: str) -> list[dict[str, Any]]:
    """The payloads of a collection as they are stored, each with its id and vector."""
    points, following = await engine.scroll(collection, Where({}), 1000)
    assert following is None
    read = await engine.get(collection, [point.id for point in points], with_vector=True)
    return [{**point.payload, "id of the point": point.id, "vector": point.vector} for point in read.values()]
