"""Holds on to health checks from many connections, each with three that never get their message.

A process of its own, so that it takes no time from the event loop of the server that it attacks:

    python -m tests.transport.flood ADDRESS CONNECTIONS

It prints a line when more checks have ended than there are places for, and goes on until it is killed.
"""

import asyncio
import sys

from tests.transport.attacker import CHECK, Attacker

PLACES, EACH = 300, 3


async def main(address: str, connections: int) -> None:
    """Attack until the process is killed."""
    attackers = [await Attacker.connect(address) for _ in range(connections)]
    told = False
    while True:
        for one in attackers:
            for _ in range(EACH - one.open_streams):
                one.begin(CHECK)
            await one.flush()
        await asyncio.sleep(0.05)
        if not told and sum(len(one.ended) for one in attackers) > PLACES:
            print("flooded", flush=True)
            told = True


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
