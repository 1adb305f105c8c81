"""Measures identification while an identity is erased from a large gallery: `python -m benchmarks.compaction`."""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import numpy as np

from sameface_qdrant import Contract, EdgeOptions, ErasureState, Policy, Probe, Store
from sameface_qdrant.engines.base import Point
from sameface_qdrant.store import payloads
from sameface_qdrant.store.conditional_write import change_of
from sameface_qdrant.values.ids import point_id
from sameface_qdrant.values.template import Provenance

CONTRACT = Contract("bench", version=1, sha256="b" * 64, dimension=128, preprocessing="none")
BATCH, EACH = 1000, 4


async def main(templates: int, seconds: float) -> None:
    """Print latencies of identifications and writes, without and during a compaction."""
    with tempfile.TemporaryDirectory() as folder:
        store = await Store.open(f"edge://{Path(folder)}", edge=EdgeOptions(exact=True))
        policy = Policy(verify_threshold=0.5, identify_threshold=0.5)
        await store.galleries.create("people", CONTRACT, policy=policy)
        await _fill(store, templates)
        probe = Probe(np.random.default_rng(1).normal(size=128).astype(np.float32), CONTRACT)
        alone, waits = await _identify_while(store, probe, asyncio.create_task(_writes(store, seconds)))
        _print("identify, no compaction", alone)
        _print("write, no compaction", waits)
        receipt = await store.identities.delete("people", "p7", force=True)
        began = time.perf_counter()
        beside, waits = await _identify_while(store, probe, asyncio.create_task(_writes(store, 0.0, receipt.id)))
        _print("identify, compaction", beside)
        _print("write, compaction", waits)
        print(f"p50 ratio {np.median(beside) / np.median(alone):.2f}, p95 ratio {_p95(beside) / _p95(alone):.2f}")
        print(f"compaction of {templates} templates: {time.perf_counter() - began:.1f} s")
        print(await store.erasures.get(receipt.id))
        await store.aclose()


async def _fill(store: Store, templates: int) -> None:
    # Directly through the engine: single enrolments, each with a flush, would take an hour.
    tenant = await store.galleries.tenant("people")
    random = np.random.default_rng(0)
    for first in range(0, templates, BATCH):
        points = []
        for number in range(first, first + BATCH):
            vector = random.normal(size=128).astype(np.float32)
            vector /= np.linalg.norm(vector)
            identity, key = f"p{number // EACH}", point_id(payloads.TEMPLATE, tenant.uid, str(number))
            template = payloads.template_point(
                key,
                tenant.uid,
                identity,
                vector,
                contract_key=CONTRACT.key,
                provenance=Provenance(),
                labels={},
                digest=random.bytes(32).hex(),
                now=1.0,
                expires=None,
                identity_expires=None,
            )
            record = payloads.identity_payload(
                tenant.uid,
                identity,
                display_name="",
                labels={},
                verify_threshold=None,
                now=1.0,
                request_id="",
            )
            points.append(template)
            if number % EACH == 0:
                key = payloads.identity_point_id(tenant.uid, identity)
                points.append(change_of(tenant.collection, Point(key, {}), record, new=True).record)
        await store._engine.upsert(tenant.collection, points)
    await store._engine.commit(tenant.collection)


async def _writes(store: Store, seconds: float, receipt: str = "") -> list[float]:
    """Change a record twice a second, for some seconds or until a receipt is done; return how long each took."""
    took: list[float] = []
    end = time.perf_counter() + seconds
    while True:
        began = time.perf_counter()
        await store.identities.update("people", "p9", changes={"display_name": str(began)})
        took.append(time.perf_counter() - began)
        if receipt:
            if (await store.erasures.get(receipt)).state is ErasureState.DONE:
                return took
        elif time.perf_counter() > end:
            return took
        await asyncio.sleep(0.5)


async def _identify_while(
    store: Store, probe: Probe, writing: "asyncio.Task[list[float]]"
) -> tuple[list[float], list[float]]:
    took: list[float] = []
    ticking = asyncio.create_task(_stalls())
    while not writing.done():
        began = time.perf_counter()
        await store.identify("people", probe)
        took.append(time.perf_counter() - began)
        await asyncio.sleep(0.005)
    ticking.cancel()
    return took, writing.result()


async def _stalls() -> None:
    """Print how long the event loop was blocked: a call into Edge holds the interpreter lock, so nothing else runs."""
    stalls: list[float] = []
    try:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            stalls.append(time.perf_counter() - began - 0.001)
    except asyncio.CancelledError:
        _print("event loop blocked", stalls)


def _p95(took: list[float]) -> float:
    return float(np.percentile(took, 95))


def _print(what: str, took: list[float]) -> None:
    p50, p95, longest = np.median(took) * 1e3, _p95(took) * 1e3, max(took) * 1e3
    print(f"{what:26} n {len(took):5}  p50 {p50:7.1f} ms  p95 {p95:7.1f} ms  max {longest:7.1f} ms", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--templates", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.templates, arguments.seconds))
