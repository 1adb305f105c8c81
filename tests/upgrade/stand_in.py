"""A stand-in of a Qdrant server, in memory, for machines without one. `python -m tests.upgrade.stand_in PORT`."""

import asyncio
import sys

from tests.plugin.wire import Double


async def _main(port: int) -> None:
    double = Double()
    double.port = port
    await double.start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
