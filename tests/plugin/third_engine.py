"""An engine that keeps its points in one SQLite file, written from docs/extending.md."""

import asyncio
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from sameface_qdrant.engines.base import EngineDescription, Hit, Point, Where, check_dimension
from sameface_qdrant.errors import StoreCorrupt, StoreFull, StoreLocked, StoreUnavailable
from sameface_qdrant.values.vectors import Vector

COLLECTION = "number INTEGER PRIMARY KEY, name TEXT UNIQUE, dimension INTEGER"
POINT = "id TEXT PRIMARY KEY, payload TEXT NOT NULL, vector BLOB"
ERRORS = {sqlite3.SQLITE_FULL: StoreFull, sqlite3.SQLITE_BUSY: StoreLocked, sqlite3.SQLITE_NOTADB: StoreCorrupt}
Result = TypeVar("Result")


class SqliteEngine:
    """Reads every point of a collection for each filter. So it is exact and slow."""

    exclusive = True
    erasure_evidence = None

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "points.sqlite"
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        with _typed_errors():
            # In exclusive mode the first transaction locks the file until it is closed. So no second process opens it.
            self._connection.executescript(
                "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = TRUNCATE;"
                "PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;"
                f"BEGIN EXCLUSIVE; CREATE TABLE IF NOT EXISTS collections ({COLLECTION}); COMMIT"
            )

    @property
    def description(self) -> EngineDescription:
        return EngineDescription(
            kind="sqlite",
            version=sqlite3.sqlite_version,
            location=str(self._path),
            not_erased=("the SQLite file and its rollback journal: only that the points are unreadable was checked",),
        )

    async def ensure(self, collection: str, dimension: int) -> None:
        def work() -> None:
            query = "SELECT dimension FROM collections WHERE name = ?"
            known = self._connection.execute(query, [collection]).fetchone()
            if known is None:
                insert = "INSERT INTO collections (name, dimension) VALUES (?, ?)"
                self._connection.execute(insert, [collection, dimension])
                self._connection.execute(f"CREATE TABLE {self._table(collection)} ({POINT})")
            else:
                check_dimension(collection, dimension, known[0])

        await self._call(work)

    async def upsert(
        self,
        collection: str,
        points: Sequence[Point],
        *,
        insert_only: bool = False,
        only_if: Where | None = None,
        companions: Sequence[Point] = (),
    ) -> None:
        new = {point.id for point in companions}

        def work() -> None:
            for point in (*companions, *points):
                old = self._find(collection, [point.id])
                if old and (insert_only or point.id in new):
                    continue
                if point.id not in new and only_if is not None and not (old and _matches(old[0], only_if)):
                    continue
                vector = None if point.vector is None else np.asarray(point.vector, dtype="<f4").tobytes()
                self._connection.execute(
                    f"INSERT OR REPLACE INTO {self._table(collection)} VALUES (?, ?, ?)",
                    [point.id, json.dumps(dict(point.payload)), vector],
                )

        await self._call(work)

    async def set_payload(self, collection: str, where: Where, payload: Mapping[str, Any]) -> None:
        def work() -> None:
            statement = f"UPDATE {self._table(collection)} SET payload = ? WHERE id = ?"
            for point in list(self._matching(collection, where)):
                self._connection.execute(statement, [json.dumps({**point.payload, **payload}), point.id])

        await self._call(work)

    async def get(self, collection: str, ids: Sequence[str], *, with_vector: bool = False) -> dict[str, Point]:
        found = await self._call(lambda: self._find(collection, ids, with_vector))
        return {point.id: point for point in found}

    async def delete(self, collection: str, where: Where | Sequence[str]) -> None:
        def work() -> None:
            ids = [point.id for point in self._matching(collection, where)] if isinstance(where, Where) else where
            statement = f"DELETE FROM {self._table(collection)} WHERE id = ?"
            self._connection.executemany(statement, [[id_] for id_ in ids])

        await self._call(work)

    async def nearest(
        self, collection: str, vector: Vector, where: Where, limit: int, *, min_score: float | None = None
    ) -> list[Hit]:
        def work() -> list[Hit]:
            hits = []
            for point in self._matching(collection, where, with_vector=True):
                if point.vector is not None:
                    cosine = float(point.vector.astype(np.float64) @ vector.astype(np.float64))
                    hits.append(Hit(point.id, min(1.0, max(-1.0, cosine)), point.payload))
            hits = [hit for hit in hits if min_score is None or hit.score >= min_score]
            return sorted(hits, key=lambda hit: -hit.score)[:limit]

        return await self._call(work)

    async def nearest_each(
        self,
        collection: str,
        searches: Sequence[tuple[Vector, Where]],
        limit: int,
        *,
        fields: Sequence[str],
        exact: bool = False,
    ) -> list[list[Hit]]:
        return [await self.nearest(collection, vector, where, limit) for vector, where in searches]

    async def scroll(
        self, collection: str, where: Where, limit: int, start: str | None = None
    ) -> tuple[list[Point], str | None]:
        def work() -> tuple[list[Point], str | None]:
            points: list[Point] = []
            for point in self._matching(collection, where, start or ""):
                if len(points) == limit:
                    return points, point.id
                points.append(point)
            return points, None

        return await self._call(work)

    async def count(self, collection: str, where: Where) -> int:
        return await self._call(lambda: sum(1 for _ in self._matching(collection, where)))

    async def commit(self, collection: str, *, erase: bool = False) -> None:
        """Do nothing: every write is synchronous, and deletions overwrite the bytes."""

    async def aclose(self) -> None:
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        with self._lock:
            self._connection.close()

    async def _call(self, work: Callable[[], Result]) -> Result:
        """Run ``work`` in a thread, as one transaction, one at a time."""

        def transaction() -> Result:
            with _typed_errors(), self._lock, self._connection:
                self._connection.execute("BEGIN")
                return work()

        return await asyncio.to_thread(transaction)

    def _table(self, collection: str) -> str:
        [number] = self._connection.execute("SELECT number FROM collections WHERE name = ?", [collection]).fetchone()
        return f"points_{number}"

    def _find(self, collection: str, ids: Sequence[str], with_vector: bool = False) -> list[Point]:
        return [point for id_ in ids for point in self._points(collection, "id = ?", id_, with_vector)]

    def _matching(self, collection: str, where: Where, start: str = "", with_vector: bool = False) -> Iterator[Point]:
        points = self._points(collection, "id >= ? ORDER BY id", start, with_vector)
        return (point for point in points if _matches(point, where))

    def _points(self, collection: str, condition: str, id_: str, with_vector: bool) -> Iterator[Point]:
        columns = "id, payload, vector" if with_vector else "id, payload, NULL"
        statement = f"SELECT {columns} FROM {self._table(collection)} WHERE {condition}"
        for key, payload, vector in self._connection.execute(statement, [id_]):
            yield Point(key, json.loads(payload), None if vector is None else np.frombuffer(vector, "<f4"))


def _field(payload: Mapping[str, Any], path: str) -> Any:
    value: Any = payload
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _matches(point: Point, where: Where) -> bool:
    expires = point.payload.get("expires")
    return (
        all(_field(point.payload, path) == value for path, value in where.equals.items())
        and all(_field(point.payload, path) != value for path, value in where.excludes.items())
        and all(_field(point.payload, path) in values for path, values in where.among.items())
        and all(_field(point.payload, path) not in values for path, values in where.outside.items())
        and (not where.ids or point.id in where.ids)
        and (where.valid_at is None or expires is None or expires > where.valid_at)
        and (where.expired_at is None or (expires is not None and expires <= where.expired_at))
    )


@contextmanager
def _typed_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        kind = ERRORS.get(getattr(error, "sqlite_errorcode", 0), StoreUnavailable)
        raise kind(f"SQLite answered: {error}") from error
