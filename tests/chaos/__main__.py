"""``make chaos``: kill a writing process many times; print where the kills came; fail if a promise was broken."""

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
    with tempfile.TemporaryDirectory() as folder:
        try:
            landings = asyncio.run(chaos(Path(folder) / "store", arguments.kills, arguments.seed))
        except Violation as broken:
            print(f"VIOLATION: {broken}", file=sys.stderr)
            return 1
    print(landings.table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
