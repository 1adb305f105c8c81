"""What Qdrant Edge alone owes: one process a folder, nothing acknowledged lost, nothing erased left."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sameface_qdrant import NewTemplate, Policy, Probe, Provenance, Store, Template
from sameface_qdrant.errors import StoreCorrupt, StoreLocked, StoreUnavailable
from tests.plugin.conftest import CONTRACT, random_vector

BATCH = 3

# Enrols identities of three templates, three at a time, and prints each one once it is acknowledged.
WRITER = """
import asyncio, sys
import numpy as np
from sameface_qdrant import NewTemplate, Store
from tests.plugin.conftest import CONTRACT

async def main(url, start):
    store = await Store.open(url)
    print("open", flush=True)

    async def enroll(number):
        vectors = np.random.default_rng(number).normal(size=(3, CONTRACT.dimension)).astype(np.float32)
        await store.enroll("people", f"p{number}", [NewTemplate(vector, CONTRACT) for vector in vectors])
        print(number, flush=True)

    while True:
        await asyncio.gather(*(enroll(number) for number in range(start, start + 3)))
        start += 3

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


async def test_nothing_acknowledged_is_lost_and_no_identity_is_half_written(tmp_path: Path) -> None:
    url = f"edge://{tmp_path / 'store'}"
    store = await Store.open(url)
    await store.galleries.create("people", CONTRACT, policy=Policy(verify_threshold=0.5))
    await store.aclose()
    moments = random.Random(20261124)
    acknowledged: set[int] = set()
    for run in range(6):
        command = [sys.executable, "-c", WRITER, url, str(run * 10_000)]
        writer = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        assert writer.stdout is not None
        assert await writer.stdout.readline() == b"open\n"
        await asyncio.sleep(moments.uniform(0.05, 0.4))
        writer.send_signal(signal.SIGKILL)
        # A line that was cut off is no acknowledgement.
        acknowledged |= {int(line) for line in (await writer.stdout.read()).split(b"\n")[:-1]}
        await writer.wait()

        store = await Store.open(url)
        stored: dict[str, int] = {}
        token = ""
        while True:
            page = await store.identities.list("people", page_size=1000, page_token=token)
            stored |= {identity.id: identity.template_count for identity in page.items}
            token = page.next_token
            if not token:
                break
        assert {f"p{number}" for number in acknowledged} <= stored.keys()
        assert set(stored.values()) <= {BATCH}
        await store.aclose()
    assert acknowledged


async def test_a_second_opener_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    store = await Store.open(f"edge://{tmp_path}")
    with pytest.raises(StoreLocked) as refused:
        await Store.open(f"edge://{tmp_path}")
    assert json.loads(refused.value.metadata["holder"])["pid"] == os.getpid()
    await store.aclose()
    await (await Store.open(f"edge://{tmp_path}")).aclose()


async def test_a_folder_of_another_format_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "FORMAT").write_text("sameface-edge-99")
    with pytest.raises(StoreCorrupt, match="sameface-edge-99"):
        await Store.open(f"edge://{tmp_path}")
    # The refused opener does not keep the lock.
    (tmp_path / "FORMAT").write_text("sameface-edge-1")
    await (await Store.open(f"edge://{tmp_path}")).aclose()


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="file"):
        await Store.open(f"edge://{tmp_path / 'file' / 'store'}")


async def test_everything_is_there_after_closing_and_opening(tmp_path: Path, rng: np.random.Generator) -> None:
    store = await Store.open(f"edge://{tmp_path}")
    gallery = await store.galleries.create("people", CONTRACT, policy=Policy(verify_threshold=0.5))
    vector = random_vector(rng)
    (stored,) = await store.enroll("people", "ada", [NewTemplate(vector, CONTRACT)], display_name="Ada")
    await store.aclose()
    store = await Store.open(f"edge://{tmp_path}")
    assert await store.galleries.get("people") == gallery
    found = await store.templates.get("people", "ada", stored.id, with_vector=True)
    assert found.vector is not None
    np.testing.assert_allclose(found.vector, vector / np.linalg.norm(vector), atol=1e-6)
    decision = await store.verify("people", "ada", Probe(vector, CONTRACT))
    assert decision.score == pytest.approx(1.0, abs=1e-6)
    # A retry after the restart finds its own point.
    assert await store.enroll("people", "ada", [NewTemplate(vector, CONTRACT)]) == (stored,)
    await store.aclose()


@pytest.mark.parametrize("what", ["template", "identity", "gallery"])
async def test_erased_vectors_and_payloads_leave_the_files(tmp_path: Path, rng: np.random.Generator, what: str) -> None:
    store = await Store.open(f"edge://{tmp_path}")
    await store.galleries.create("people", CONTRACT, policy=Policy(verify_threshold=0.5))
    await store.galleries.create("others", CONTRACT, policy=Policy(verify_threshold=0.5))
    kept, erased = random_vector(rng), random_vector(rng)
    secret_note = "".join(random.Random(5).choices("abcdefghijklmnopqrstuvwxyz", k=40))
    await store.enroll("others", "bob", [NewTemplate(kept, CONTRACT)])
    new = NewTemplate(erased, CONTRACT, provenance=Provenance(note=secret_note))
    (stored,) = await store.enroll("people", "ada", [new])
    needle = _stored_bytes(await store.templates.get("people", "ada", stored.id, with_vector=True))
    control = _stored_bytes(
        await store.templates.get(
            "others", "bob", (await store.templates.list("others", "bob")).items[0].id, with_vector=True
        )
    )
    # The positive control: the scan sees both representations while they are there.
    assert _holds(tmp_path, needle)
    assert _holds(tmp_path, secret_note.encode())
    match what:
        case "template":
            await store.templates.delete("people", "ada", stored.id)
        case "identity":
            await store.identities.delete("people", "ada", force=True)
        case _:
            await store.galleries.delete("people", force=True)
    assert not _holds(tmp_path, needle)
    assert not _holds(tmp_path, secret_note.encode())
    assert _holds(tmp_path, control)
    await store.aclose()


def _stored_bytes(template: Template) -> bytes:
    assert template.vector is not None
    return template.vector.astype("<f4").tobytes()


def _holds(folder: Path, needle: bytes) -> bool:
    return any(needle in path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_reads_go_on_while_a_collection_is_rewritten(tmp_path: Path, rng: np.random.Generator) -> None:
    store = await Store.open(f"edge://{tmp_path}")
    await store.galleries.create("people", CONTRACT, policy=Policy(verify_threshold=0.5, identify_threshold=0.5))
    vectors = [random_vector(rng) for _ in range(30)]
    for number, vector in enumerate(vectors):
        await store.enroll("people", f"p{number}", [NewTemplate(vector, CONTRACT)])

    async def search() -> list[str]:
        decision = await store.identify("people", Probe(vectors[0], CONTRACT))
        return [found.identity for found in decision.candidates]

    erasing = [store.identities.delete("people", f"p{number}", force=True) for number in range(20, 30)]
    results = await asyncio.gather(*erasing, *(search() for _ in range(50)))
    assert all(found[0] == "p0" for found in results[10:])
    assert len((await store.identities.list("people")).items) == 20
    await store.aclose()


async def test_the_size_of_a_gallery_follows_every_write(tmp_path: Path) -> None:
    """Sizes are remembered between writes, so each kind of write has to be noticed."""
    store = await Store.open(f"edge://{tmp_path / 'store'}")
    await store.galleries.create("people", CONTRACT, policy=Policy(verify_threshold=0.5, identify_threshold=0.5))

    async def size() -> int:
        return (await store.identify("people", Probe(np.ones(8, np.float32), CONTRACT))).gallery_size

    sizes = [await size(), await size()]
    await store.enroll("people", "ada", [NewTemplate(np.ones(8, np.float32), CONTRACT)])
    sizes += [await size(), await size()]
    await store.identities.create("people", "bob")
    sizes.append(await size())
    await asyncio.gather(*(store.identities.create("people", f"more-{number}") for number in range(5)), size(), size())
    sizes.append(await size())
    await store.identities.delete("people", "ada", force=True)
    sizes.append(await size())
    assert sizes == [0, 0, 1, 1, 2, 7, 6]
    await store.aclose()
