"""A process that re-keys a gallery on Qdrant Edge, and ends itself by SIGKILL after a number of changes.

python -m tests.plugin.protection.killed FOLDER CHANGES
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from tests.plugin.protection.conftest import SECOND, Stopped, StoppingEngine, opened


class _KillingEngine(StoppingEngine):
    def __getattr__(self, name: str) -> Any:
        try:
            method = super().__getattr__(name)
        except Stopped:
            raise AssertionError from None
        if name not in ("upsert", "set_payload", "delete", "commit"):
            return method

        async def killed(*arguments: Any, **options: Any) -> Any:
            try:
                return await method(*arguments, **options)
            except Stopped:
                os.kill(os.getpid(), signal.SIGKILL)

        return killed


async def main(folder: Path, changes: int) -> None:
    store = await opened("edge", folder, SECOND)
    protected = store.galleries.rekeying._engine
    killing = _KillingEngine(protected.stored)
    protected.stored = killing
    killing.changes_left = changes
    with mock.patch.multiple("sameface_qdrant.store.protection.rekey", BATCH=4, REMOVED_AT_ONCE=8):
        await store.rekey("people")
    print("not killed")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
