"""Watches the plugin while it uses a server, and prints what it did as JSON: ``on_a_server FOLDER``.

A program of its own (``python -m``), so that the server shares its process with nothing else.
"""

import asyncio
import json
import sys
from pathlib import Path

from tests.plugin.wire import Double
from tests.privacy.watch import clean_environment, watch

PLUGIN = """
import sys
import numpy as np
from sameface_qdrant import Contract, NewTemplate, Policy, Probe
from sameface_qdrant.blocking import Store
contract = Contract("voices", version=1, sha256="0" * 64, dimension=4, preprocessing="none")
with Store.open(sys.argv[1]) as store:
    store.galleries.create("staff", contract, policy=Policy(verify_threshold=0.5))
    store.enroll("staff", "ada", [NewTemplate(np.ones(4), contract)])
    print(store.verify("staff", "ada", Probe(np.ones(4), contract)).outcome)
"""


async def main(folder: Path) -> None:
    """Run the plugin on a server that listens here, and print whom it contacted and where it wrote."""
    server = await Double().start()
    try:
        command = [sys.executable, "-P", "-c", PLUGIN, server.url]
        seen = await asyncio.to_thread(watch, command, folder, clean_environment(folder / "home"))
    finally:
        await server.stop()
    told = {
        "server": f"127.0.0.1:{server.port}",
        "returncode": seen.returncode,
        "output": seen.output,
        "contacts": sorted(seen.contacts),
        "written": sorted(map(str, seen.written)),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
