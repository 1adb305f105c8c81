"""Completes pending receipts in the background, of an earlier process or another service too."""

import asyncio
import logging
from contextvars import Context

from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import SamefaceError
from sameface_qdrant.store.file_erasure import FileErasure
from sameface_qdrant.store.payloads import META, RECEIPT
from sameface_qdrant.store.segment_erasure import SegmentErasure
from sameface_qdrant.values.erasure import ErasureState

log = logging.getLogger(__name__)

PAGE = 256
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0
"""Pauses between two looks at what is pending. They grow while nothing changes."""


class PendingReceipts:
    """One task, which ends when nothing is pending that can be completed."""

    def __init__(self, engine: Engine, work: FileErasure | SegmentErasure | None) -> None:
        """Without ``work``, receipts are never pending."""
        self._engine, self._work = engine, work
        self._task: asyncio.Task[None] | None = None
        self._asked = False

    def resume(self) -> None:
        """Start the task, unless it is running."""
        self._asked = True
        if self._work is not None and (self._task is None or self._task.done()):
            # In a context of its own: the work is nobody's call.
            self._task = asyncio.create_task(self._run(self._work), context=Context())

    async def aclose(self) -> None:
        """Stop the task. Safe to call twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self, work: FileErasure | SegmentErasure) -> None:
        pause = FIRST_PAUSE_S
        while True:
            self._asked = False
            try:
                left, changed = await work.advance(await self._found())
            except SamefaceError:
                left, changed = True, False
            except Exception:
                # Nobody awaits this task. The next deletion, sweep or look at a pending receipt starts it again.
                log.exception("receipts of erasures stay pending for now")
                return
            if not left and not self._asked:
                return
            pause = FIRST_PAUSE_S if changed else min(2 * pause, LONGEST_PAUSE_S)
            await asyncio.sleep(pause)

    async def _found(self) -> list[Point]:
        pending: list[Point] = []
        start = None
        while True:
            where = Where({"kind": RECEIPT, "state": ErasureState.PENDING.value})
            points, start = await self._engine.scroll(META, where, PAGE, start)
            pending += points
            if start is None:
                return pending
