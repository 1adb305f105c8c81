"""Measures how cost grows: with the gallery, with the faces of a photo, and with the number of Tritons."""

import gc
import io
import itertools
import os
import random
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from benchmarks.load import measure_load, processes_of
from benchmarks.memory import proportional_set_size
from benchmarks.qdrant.filling import CONTRACT, POLICY, identity_id, points_of
from benchmarks.qdrant.people import People
from benchmarks.service_calls import FACES, ServiceCalls
from benchmarks.verification import REFERENCE, photo_250
from sameface.inference.cards import EMBEDDER, read_cards
from sameface.inference.local.runtime import require_runtime
from sameface.inference.local.server import LocalTriton
from sameface.inference.triton import TritonInference
from sameface.launcher import served
from sameface.settings import Settings
from sameface.v1 import face_pb2, face_service_pb2
from sameface.vision import Pixels
from sameface_qdrant import EdgeOptions, Probe, Scope, Store
from sameface_qdrant.engines.edge.engine import EdgeEngine

Progress = Callable[[str], None]
Points = list[dict[str, float]]
EACH, TILE, ACROSS, DOWN = 4, 200, 10, 5
BATCH = 4000
INSTANCES = 4


async def measure_gallery(sizes: Sequence[int], probes: int, progress: Progress) -> Points:
    """Fill a gallery of each size on Qdrant Edge, then search all in turns: claim, identification, memory, files.

    Processor time is that of all threads. ``identify`` searches exactly.
    """
    people, stores, found = People(1), dict[int, Store](), dict[int, dict[str, float]]()
    with TemporaryDirectory(prefix="sameface-bench-") as name:
        for size in sizes:
            progress(f"filling {size:,} templates")
            gc.collect()
            before, began, folder = proportional_set_size(os.getpid()), time.perf_counter(), Path(name) / str(size)
            stores[size] = await _filled(folder, people, size)
            seconds = time.perf_counter() - began
            gc.collect()
            found[size] = {
                "templates": size,
                "memory_mib": round(proportional_set_size(os.getpid()) - before, 1),
                "files_mib": round(_size_of(folder) / 2**20, 1),
                "filling_s": round(seconds, 2),
            }
        progress("searching galleries of all sizes in turns")
        for size, times in (await _searched(stores, people, probes)).items():
            found[size] |= {figure: round(statistics.median(values), 3) for figure, values in times.items()}
        for store in stores.values():
            await store.aclose()
    return list(found.values())


async def _filled(folder: Path, people: People, size: int) -> Store:
    """Open a store and write so many templates, four of each identity."""
    engine = await EdgeEngine.open(folder, EdgeOptions(exact=True))
    store = await Store.over(engine)
    await store.galleries.create("bench", CONTRACT, policy=POLICY)
    tenant = await store.galleries.tenant("bench")
    for number, done in enumerate(range(0, size, BATCH)):
        # Every block is another group of simulated people.
        vectors = people.templates(number, min(BATCH, size - done) // EACH, EACH)
        await engine.upsert(
            tenant.collection, [point for one in points_of(tenant, vectors, done // EACH) for point in one]
        )
    await engine.commit(tenant.collection)
    return store


def _size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


async def _searched(stores: dict[int, Store], people: People, probes: int) -> dict[int, dict[str, list[float]]]:
    """Send each probe to every store, in another order each time. Return the milliseconds by store and figure."""
    vectors, _ = people.probes(0, 100, probes)
    found: dict[int, dict[str, list[float]]] = {
        size: {"identify_ms": [], "identify_cpu_ms": [], "claim_ms": []} for size in stores
    }
    for number in range(-3, probes):
        probe = Probe(vectors[number], CONTRACT)
        for size in random.Random(number).sample(list(stores), len(stores)):
            began, cpu = time.perf_counter(), time.process_time()
            await stores[size].identify("bench", probe)
            middle, cpu = time.perf_counter(), time.process_time() - cpu
            await stores[size].verify("bench", identity_id(0), probe, scope=Scope.CLAIM)
            if number >= 0:
                found[size]["claim_ms"].append((time.perf_counter() - middle) * 1e3)
                found[size]["identify_ms"].append((middle - began) * 1e3)
                found[size]["identify_cpu_ms"].append(cpu * 1e3)
    return found


def crowd(portrait: bytes, faces: int) -> bytes:
    """Return a photo of 2000×1000 pixels with so many copies of a face, at most 50, on grey."""
    canvas = Image.new("RGB", (ACROSS * TILE, DOWN * TILE), (128, 128, 128))
    with Image.open(io.BytesIO(portrait)) as opened:
        tile = opened.convert("RGB").resize((TILE, TILE))
    for number in range(faces):
        canvas.paste(tile, (number % ACROSS * TILE, number // ACROSS * TILE))
    buffer = io.BytesIO()
    canvas.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


async def measure_faces(counts: Sequence[int], seconds: float, portraits: Path, progress: Progress) -> Points:
    """Measure identification of every face of a photo, over gRPC with the local Triton, one caller."""
    found = Points()
    portrait = photo_250(portraits / REFERENCE)
    with TemporaryDirectory(prefix="sf-") as name, served(Path(name) / "data", Path(name) / "log") as service:
        calls = ServiceCalls(service.address)
        await calls.prepare(portrait)
        processes = {role: pids for role, pids in processes_of(service.pid).items() if role != "client"}
        for count in counts:
            progress(f"{count} faces")
            request = face_service_pb2.IdentifyFacesRequest(
                gallery=f"galleries/{calls.gallery}",
                sample=face_pb2.Sample(photo=crowd(portrait, count)),
                all_faces=True,
            )
            content, path = request.SerializeToString(), f"{FACES}/IdentifyFaces"
            answer = face_service_pb2.IdentifyFacesResponse.FromString(await calls.send(path, content))
            load = await measure_load(partial(calls.send, path, content), 1, seconds, processes)
            found.append(
                {
                    "faces": count,
                    "found": answer.faces_found,
                    "median_ms": round(load.median_ms, 2),
                    "cpu_ms": round(sum(load.cpu_ms().values()), 2),
                }
            )
        await calls.aclose()
    return found


async def measure_tritons(counts: Sequence[int], seconds: float, progress: Progress) -> Points:
    """Run the embedder in one, two or four Tritons that together have as many instances, and call all in turn."""
    settings, found = Settings(), Points()
    crop = np.random.default_rng(1).integers(0, 256, (1, 3, 112, 112), np.uint8)
    for count in counts:
        progress(f"{count} tritonservers")
        with TemporaryDirectory(prefix="sf-") as name:
            repository = Path(name) / "models"
            _repository(settings.model_repository, repository, INSTANCES // count)
            cards = read_cards(repository)
            version = max(card.version for card in cards if card.model == EMBEDDER)
            async with AsyncExitStack() as running:
                servers, clients = [], []
                for _ in range(count):
                    server = LocalTriton(repository, require_runtime(settings.cache_dir), cards)
                    await server.start()
                    running.push_async_callback(server.stop)
                    client = TritonInference(server.grpc_url)
                    running.push_async_callback(client.aclose)
                    servers.append(server)
                    clients.append(client)
                turn = itertools.cycle(clients)
                call = partial(_embed, turn, version, crop)

                processes = {"triton": [pid for one in servers for pid in (one.pid, *one.stubs)]}
                await measure_load(call, 2 * INSTANCES, 0.5, processes)
                load = await measure_load(call, 2 * INSTANCES, seconds, processes)
                memory = sum(proportional_set_size(one.pid) for one in servers)
        found.append(
            {
                "tritons": count,
                "instances": INSTANCES,
                "per_s": round(load.per_s, 1),
                "cpu_ms": round(load.cpu_ms()["triton"], 2),
                "memory_mib": round(memory, 1),
            }
        )
    return found


async def _embed(turn: Iterator[TritonInference], version: int, crop: Pixels) -> None:
    await next(turn).run(EMBEDDER, version, {"images": crop})


def _repository(source: Path, target: Path, instances: int) -> None:
    """Copy a model repository, with so many instances of each model."""
    shutil.copytree(source, target)
    for config in target.glob("*/config.pbtxt"):
        text = config.read_text()
        config.write_text(text.replace("count: 2", f"count: {instances}"))
