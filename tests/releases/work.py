"""What one release does with a folder, in a process of its own: it uses the public names that releases have in common.

``write``: makes a store with an export. ``use``: checks it, and changes it. ``state``: reads it. ``migrate`` begins a
migration, and ``cancel`` gives it up, in releases that have migrations. Each prints JSON.
"""

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import sameface_qdrant
from sameface_qdrant import Contract, ExportKey, NewTemplate, Policy, Probe, Store, export_store, import_store
from sameface_qdrant.errors import SamefaceError

CONTRACT = Contract("voices", version=1, sha256="a" * 64, dimension=8, preprocessing="none")
KEY = ExportKey("key-file", bytes(range(32)))
AXES = np.eye(8, dtype=np.float32)


async def write(store: Store, folder: Path) -> None:
    """Make records of every kind."""
    await store.galleries.create("people", CONTRACT, policy=Policy(verify_threshold=0.6, identify_threshold=0.7))
    for number, identity in enumerate(("ada", "bob", "eve")):
        template = NewTemplate(AXES[number], CONTRACT)
        await store.enroll("people", identity, [template], display_name=identity.title(), request_id=f"r-{identity}")
    await store.galleries.update("people", policy={"runner_up_margin": 0.1})
    await store.identities.delete("people", "eve", force=True)
    await export_store(store, folder / "export.sameface", KEY)


async def use(store: Store, folder: Path) -> None:
    """Change what another release wrote. A repeated enrolment finds its template."""
    before = (await store.templates.list("people", "ada")).items
    again = await store.enroll("people", "ada", [NewTemplate(AXES[0], CONTRACT)], request_id="r-ada")
    assert {one.id for one in again} <= {one.id for one in before}, "the repeated enrolment made a second template"
    count = len((await store.identities.list("people")).items)
    await store.enroll("people", f"later-{count}", [NewTemplate(AXES[count], CONTRACT)])
    await store.identities.update("people", "bob", {"display_name": f"Bob {count}"})
    imported = await Store.open(":memory:")
    await import_store(imported, folder / "export.sameface", KEY, no_erasures_since=True)
    assert [one.id for one in (await imported.galleries.list()).items] == ["people"], "the export lost a gallery"
    await imported.aclose()


async def migrate(store: Store) -> None:
    """Bring the templates of the gallery under another contract too, and wait until they are there."""
    from sameface_qdrant.values.template_map import TemplateMap

    newer = replace(CONTRACT, version=2, sha256="b" * 64)
    await store.migrations.create("people", TemplateMap(CONTRACT, newer, AXES, np.zeros(8, np.float32)))
    await store.migrations.worker.settle()


async def cancel(store: Store) -> None:
    """Give up every migration of the gallery."""
    for migration in (await store.migrations.list(gallery="people")).items:
        await store.migrations.cancel("people", migration.id)


async def state(store: Store) -> dict[str, Any]:
    """Return what callers see."""
    people = sorted((await store.identities.list("people")).items, key=lambda one: one.id)
    policy = (await store.galleries.get("people")).policy
    found = [await store.identify("people", Probe(axis, CONTRACT)) for axis in AXES[:4]]
    return {
        "people": [(one.id, one.display_name, one.template_count) for one in people],
        "policy": (policy.verify_threshold, policy.runner_up_margin, policy.revision),
        "found": [(one.outcome.name, [candidate.identity for candidate in one.candidates[:1]]) for one in found],
        "receipts": [(one.identity, one.templates) for one in (await store.erasures.list()).items],
    }


async def main(order: str, folder: Path) -> dict[str, Any]:
    """Do what is ordered. Return what callers see after it, or the error."""
    told: dict[str, Any] = {"code": str(Path(sameface_qdrant.__file__).parent)}
    try:
        store = await Store.open(f"edge://{folder}/store")
        try:
            if order == "write":
                await write(store, folder)
            elif order == "use":
                await use(store, folder)
            elif order == "migrate":
                await migrate(store)
            elif order == "cancel":
                await cancel(store)
            return {**told, "state": await state(store)}
        finally:
            await store.aclose()
    except SamefaceError as error:
        return {**told, "error": error.reason, "message": error.message, "metadata": error.metadata}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], Path(sys.argv[2])))))
