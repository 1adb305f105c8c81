"""A part of ``make chaos``: kill a writing process many times, and print where the kills came."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.chaos.loop import Violation, chaos


def main() -> int:
    """Return 0 where every promise was kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=20261124)
    arguments = parser.parse_args()
    return 0 if kill(arguments.kills, arguments.seed) else 1


def kill(kills: int, seed: int) -> bool:
    """Kill a process so many times. Return whether every promise was kept."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            landings = asyncio.run(chaos(Path(folder) / "store", kills, seed))
        except Violation as broken:
            print(f"VIOLATION: {broken}", file=sys.stderr)
            return False
    print(landings.table())
    return True


if __name__ == "__main__":
    sys.exit(main())
