"""The process that is killed: repeats one kind of operation, and reports each start and end over a pipe."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from sameface_qdrant import Contract, ErasureState, NewTemplate, Store
from sameface_qdrant.engines.edge import compaction

CONTRACT = Contract("voices", version=1, sha256="a" * 64, dimension=16, preprocessing="none")
GALLERY = "people"
KINDS = ("enroll", "bulk", "delete_template", "delete_identity", "move", "compaction", "policy")
BULK = 8


@dataclass(frozen=True, slots=True)
class Task:
    """What one worker does until it is killed."""

    url: str
    kind: str
    first: int
    """A number that no earlier worker has used; identities and thresholds are named after it."""
    targets: Sequence[tuple[str, Sequence[str]]]
    """Identities that may be erased, with their templates."""


def work(task: Task, pipe: Connection) -> None:
    """Entry of the process."""
    if task.kind == "compaction":
        # Every collection counts as large: files are rewritten in the background.
        compaction.REWRITE_AT_ONCE = 0
    run_in_thread = asyncio.to_thread

    async def told(call: Any, *args: Any) -> Any:
        pipe.send(("phase", time.monotonic(), phase_of(call)))
        return await run_in_thread(call, *args)

    asyncio.to_thread = told  # type: ignore[assignment]
    asyncio.run(_Worker(task, pipe).run())


def phase_of(call: Any) -> str:
    """Return the name of a blocking call, without its place in the source."""
    name = getattr(call, "__qualname__", "") or getattr(getattr(call, "func", None), "__qualname__", "call")
    return str(name).replace(".<locals>.<lambda>", "").rpartition(".")[2]


class _Worker:
    def __init__(self, task: Task, pipe: Connection) -> None:
        self._task = task
        self._pipe = pipe
        self._number = task.first
        self._targets = list(task.targets)

    async def run(self) -> None:
        self._store = await Store.open(self._task.url)
        self._pipe.send(("open", time.monotonic()))
        operation = getattr(self, self._task.kind)
        while True:
            await operation()

    async def enroll(self, templates: int = 1) -> None:
        self._number += 1
        number = self._number
        vectors = np.random.default_rng(number).normal(size=(templates, CONTRACT.dimension)).astype(np.float32)
        new = [NewTemplate(vector, CONTRACT) for vector in vectors]
        kind = "enroll" if templates == 1 else "bulk"
        self._begin(number, kind, f"p{number}", templates)
        stored = await self._store.enroll(GALLERY, f"p{number}", new)
        self._done(number, [template.id for template in stored])

    async def bulk(self) -> None:
        await asyncio.gather(*(self.enroll(BULK) for _ in range(3)))

    async def delete_template(self) -> None:
        identity, templates = self._target()
        self._number += 1
        number = self._number
        self._begin(number, "delete_template", identity, templates[0])
        self._done(number, (await self._store.templates.delete(GALLERY, identity, templates[0])).id)

    async def delete_identity(self) -> None:
        identity, _ = self._target()
        self._number += 1
        number = self._number
        self._begin(number, "delete_identity", identity, "")
        self._done(number, (await self._store.identities.delete(GALLERY, identity, force=True)).id)

    async def move(self) -> None:
        identity, _ = self._target()
        self._number += 1
        number = self._number
        target = f"m{number}"
        self._begin(number, "move", identity, target)
        await self._store.identities.move(GALLERY, identity, target)
        page = await self._store.templates.list(GALLERY, target, page_size=1000)
        self._done(number, [template.id for template in page.items])

    async def compaction(self) -> None:
        await self.delete_identity()
        self._number += 1
        number = self._number
        self._begin(number, "compaction", "", "")
        await asyncio.gather(self._all_done(), self.enroll(2), self.enroll(2))
        self._done(number, "")

    async def policy(self) -> None:
        self._number += 1
        number = self._number
        self._begin(number, "policy", "", number)
        changed = await self._store.galleries.update(GALLERY, policy={"verify_threshold": threshold_of(number)})
        self._done(number, changed.policy.revision)

    async def _all_done(self) -> None:
        while any(one.state is ErasureState.PENDING for one in await receipts(self._store)):  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    def _target(self) -> tuple[str, Sequence[str]]:
        if not self._targets:
            self._pipe.send(("idle", time.monotonic()))
            time.sleep(60)  # to be killed
        return self._targets.pop()

    def _begin(self, number: int, kind: str, identity: str, what: Any) -> None:
        self._pipe.send(("begin", time.monotonic(), number, kind, identity, what))

    def _done(self, number: int, result: Any) -> None:
        self._pipe.send(("done", time.monotonic(), number, result))


def threshold_of(number: int) -> float:
    """Return a threshold that belongs to one operation alone."""
    return number / 1_000_000


async def receipts(store: Store) -> list[Any]:
    """Return every receipt."""
    found: list[Any] = []
    token = ""
    while True:
        page = await store.erasures.list(page_size=1000, page_token=token)
        found += page.items
        token = page.next_token
        if not token:
            return found
