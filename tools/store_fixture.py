"""Writes a store with a release: a fixture that every later release must read (tests/plugin/test_releases.py).

Run it once for each release, with the wheel of that release: ``pip install sameface-….whl``, then
``python tools/store_fixture.py tests/data/stores``. It writes ``<release>.tar.gz``, the folder of an embedded store,
and ``<release>.json``, the same records as on a server.
"""

import argparse
import asyncio
import json
import subprocess
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from sameface_qdrant import Contract, NewTemplate, OperatingPoint, Policy, Provenance, Store
from sameface_qdrant.engines.base import Engine, Where

CONTRACT = Contract("voices", version=1, sha256="a" * 64, dimension=8, preprocessing="none")
META = "meta"


async def fill(store: Store) -> None:
    """Make records of every kind, with every field set."""
    random = np.random.default_rng(0)
    await store.galleries.create(
        "people",
        CONTRACT,
        display_name="People",
        policy=Policy(verify_threshold=0.6, identify_threshold=0.7, max_templates=4),
        operating_points=[OperatingPoint(1e-3, 0.4), OperatingPoint(1e-4, 0.5)],
    )
    await store.galleries.update("people", policy={"runner_up_margin": 0.1}, author="ops")
    await store.identities.create(
        "people",
        "ada",
        display_name="Ada",
        labels={"team": "blue"},
        verify_threshold=0.65,
        consent_reference="consent/1",
        purpose="door",
        expire_time=datetime(2100, 1, 1, tzinfo=UTC),
    )
    for identity, axis in (("ada", 0), ("bob", 1), ("eve", 2)):
        vector = np.eye(8, dtype=np.float32)[axis] + 0.1 * random.normal(size=8).astype(np.float32)
        provenance = Provenance("photo", {"Sharpness": 90.0}, "from the release")
        new = NewTemplate(vector, CONTRACT, provenance, expire_time=datetime(2099, 1, 1, tzinfo=UTC))
        await store.enroll("people", identity, [new], request_id=f"request-{identity}")
    await store.identities.move("people", "bob", "bobby")
    await store.identities.delete("people", "eve", force=True)


async def records(engine: Engine) -> dict[str, list[dict[str, object]]]:
    """Return every point of a filled store, by collection."""
    found: dict[str, list[dict[str, object]]] = {}
    for collection in (META, CONTRACT.key):
        points, _ = await engine.scroll(collection, Where({}), 1000)
        vectors = await engine.get(collection, [point.id for point in points], with_vector=True)
        found[collection] = [
            {
                "id": point.id,
                "payload": dict(point.payload),
                "vector": None if point.vector is None else [float(value) for value in point.vector],
            }
            for point in vectors.values()
        ]
    return found


async def filled_folder(folder: Path) -> None:
    """Write the folder of an embedded store."""
    store = await Store.open(f"edge://{folder}")
    await fill(store)
    await store.aclose()


async def filled_records() -> dict[str, list[dict[str, object]]]:
    """Return the records of the same store on a server."""
    store = await Store.open(":memory:")
    await fill(store)
    found = await records(store._engine)
    await store.aclose()
    return found


def main() -> None:
    """Write both files of this release."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder, release = parser.parse_args().folder.resolve(), version("sameface")
    with tempfile.TemporaryDirectory() as temporary:
        store = Path(temporary) / "store"
        asyncio.run(filled_folder(store))
        (store / "LOCK").unlink(missing_ok=True)
        # The files are mostly holes. Only GNU tar stores them as holes.
        command = ["tar", "--sparse", "-czf", str(folder / f"{release}.tar.gz"), "-C", temporary, "store"]
        subprocess.run(command, check=True)
    (folder / f"{release}.json").write_text(json.dumps(asyncio.run(filled_records()), indent=1) + "\n")


if __name__ == "__main__":
    main()
