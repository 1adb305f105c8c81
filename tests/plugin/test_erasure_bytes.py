"""Erasure on a real Qdrant server, whose storage folder is searched for the bytes of erased people.

The write-ahead logs are searched apart: what is left there is what receipts say.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient
from qdrant_client.models import OptimizersConfigDiff

from sameface_qdrant import ErasureReceipt, ErasureState, NewTemplate, Policy, ServerOptions, Store
from sameface_qdrant.engines.edge.byte_scan import present
from sameface_qdrant.store.payloads import META
from tests.plugin.conftest import CONTRACT, QDRANT_API_KEY, QDRANT_URL, cleared_server, random_vector

POLICY = Policy(verify_threshold=0.5, identify_threshold=0.5)
STORAGE = os.environ.get("QDRANT_STORAGE", "")
needs_storage = pytest.mark.skipif(
    not (QDRANT_URL and STORAGE), reason="QDRANT_URL and QDRANT_STORAGE name no Qdrant server and its storage folder"
)
PATIENCE_S = 300.0
IDS = {"id, little-endian", "id, big-endian"}
LAYOUTS = {
    "default": ServerOptions(),
    "int8, on disk": ServerOptions(quantization="int8", on_disk=True),
    "two shards": ServerOptions(shard_number=2),
}


def found_in(collection: str, part: str, needles: dict[str, bytes]) -> set[str]:
    """Return which needles are in the segments, or in the write-ahead logs, of a collection."""
    there: set[bytes] = set()
    for shard in (Path(STORAGE) / "collections" / collection).iterdir():
        if shard.is_dir():
            folder, skip = (shard / "wal", "nothing") if part == "wal" else (shard, "wal")
            there |= present(folder, list(needles.values()), skip=skip)
    return {name for name, needle in needles.items() if needle in there}


async def bytes_of(store: Store, identity: str) -> dict[str, bytes]:
    """Return the bytes of one person's template: some are in the files as they are, which a control must show."""
    (template,) = (await store.templates.list("people", identity)).items
    stored = await store.templates.get("people", identity, template.id, with_vector=True)
    assert stored.vector is not None
    return {
        "vector": stored.vector.astype("<f4").tobytes(),
        "id, little-endian": uuid.UUID(template.id).bytes[::-1],
        "id, big-endian": uuid.UUID(template.id).bytes,
        "identity": identity.encode(),
    }


@asynccontextmanager
async def real_store(layout: str, people: int) -> AsyncIterator[tuple[Store, AsyncQdrantClient, str, list[str]]]:
    """A store on the server with people in one gallery, the name of their collection, and their ids."""
    async with cleared_server() as (client, cleared):
        options = replace(LAYOUTS[layout], collection_prefix=cleared.collection_prefix, timeout_s=30)
        store = await Store.open(QDRANT_URL, api_key=QDRANT_API_KEY, options=options)
        rng = np.random.default_rng(5)
        contract = replace(CONTRACT, dimension=64)
        await store.galleries.create("people", contract, policy=POLICY, display_name=uuid.uuid4().hex)
        ids = [uuid.uuid4().hex for _ in range(people)]
        for identity in ids:
            await store.enroll("people", identity, [NewTemplate(random_vector(rng, 64), contract)])
        yield store, client, options.collection_prefix + contract.key, ids
        await store.aclose()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await holds():  # noqa: ASYNC110  # files and server are polled
            await asyncio.sleep(0.2)


async def completed(store: Store, receipt: ErasureReceipt) -> ErasureReceipt:
    await until(lambda: is_done(store, receipt))
    return await store.erasures.get(receipt.id)


async def is_done(store: Store, receipt: ErasureReceipt) -> bool:
    return (await store.erasures.get(receipt.id)).state is ErasureState.DONE


@needs_storage
@pytest.mark.parametrize("indexed", [False, True], ids=["plain", "indexed"])
@pytest.mark.parametrize("layout", LAYOUTS)
async def test_on_a_server_the_bytes_leave_the_segments(
    layout: str, indexed: bool, record_property: Callable[[str, object], None]
) -> None:
    async with real_store(layout, 130 if indexed else 12) as (store, client, collection, ids):
        if indexed:
            # Everything in a segment that is only read, and whose removed points are only marked.
            await client.update_collection(collection, optimizers_config=OptimizersConfigDiff(indexing_threshold=1))
            await until(lambda: indexed_in(client, collection))
        erased, kept = await bytes_of(store, ids[0]), await bytes_of(store, ids[1])
        # Qdrant writes ids with its next flush.
        await until(lambda: ids_found(collection, erased))
        control = found_in(collection, "segments", erased)
        assert "vector" in control
        original = (await client.get_collection(collection)).config.params.on_disk_payload
        receipt = await store.identities.delete("people", ids[0], force=True)
        assert receipt.state is ErasureState.PENDING
        done = await completed(store, receipt)
        assert (done.unreadable, done.compacted, done.failure) == (True, True, "")
        assert found_in(collection, "segments", erased) == set()
        assert found_in(collection, "segments", kept) >= control - {"identity"}
        left = found_in(collection, "wal", erased)
        record_property("left in the write-ahead log", sorted(left))
        assert not left or any("write-ahead logs" in place for place in done.not_covered)
        await until(lambda: laid_out(client, collection, original))
        identities = {one.id for one in (await store.identities.list("people", page_size=1000)).items}
        assert identities == set(ids[1:])


async def indexed_in(client: AsyncQdrantClient, collection: str) -> bool:
    return bool((await client.get_collection(collection)).indexed_vectors_count)


async def laid_out(client: AsyncQdrantClient, collection: str, layout: bool | None) -> bool:
    return (await client.get_collection(collection)).config.params.on_disk_payload is layout


async def ids_found(collection: str, needles: dict[str, bytes]) -> bool:
    return bool(found_in(collection, "segments", needles) & IDS)


@needs_storage
async def test_on_a_server_a_snapshot_that_holds_the_person_is_named() -> None:
    async with real_store("default", 3) as (store, client, collection, ids):
        taken = await client.create_snapshot(collection)
        assert taken is not None
        done = await completed(store, await store.identities.delete("people", ids[0], force=True))
        assert any(
            place.startswith(f"snapshot of the collection {collection}: {taken.name}") for place in done.not_covered
        )
        await client.delete_snapshot(collection, taken.name)


@needs_storage
async def test_on_a_server_a_gallery_leaves_no_bytes_in_the_segments() -> None:
    async with real_store("default", 5) as (store, _, collection, ids):
        people = {f"{name} of {one}": needle for one in ids for name, needle in (await bytes_of(store, one)).items()}
        gallery = {"display name": (await store.galleries.get("people")).display_name.encode()}
        meta = collection.removesuffix(CONTRACT.key) + META
        assert any("vector" in name for name in found_in(collection, "segments", people))
        done = await completed(store, await store.galleries.delete("people", force=True))
        assert done.compacted
        assert found_in(collection, "segments", people) == set()
        assert found_in(meta, "segments", gallery) == set()
