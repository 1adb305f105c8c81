"""Measures verifications under load, and the processor time of each process that takes part.

The bare models run in turns with the service: the detector on 256×256 pixels, then the embedder, in ONNX Runtime.
"""

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import grpc
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.verification import photo_250
from sameface.inference.defaults import chosen_version
from sameface.inference.onnx import open_session
from sameface.launcher import Service, served
from sameface.settings import Settings
from sameface.v1 import face_pb2, face_service_pb2, gallery_service_pb2

IDENTITY = "galleries/load/identities/someone"
VERIFY = "/sameface.v1.FaceService/VerifyFace"
ENROLL = "/sameface.v1.FaceService/EnrollTemplate"
CREATE = "/sameface.v1.GalleryService/CreateGallery"
CONCURRENCIES = (1, 16)

Call: TypeAlias = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Load:
    """What one turn of load has shown."""

    seconds: float
    latencies_ms: tuple[float, ...]
    """Of each call."""
    cpu_s: Mapping[str, float]
    """Processor time of all calls, by process, see `processes_of`."""

    @property
    def calls(self) -> int:
        """Number of calls that ended in the turn."""
        return len(self.latencies_ms)

    @property
    def per_s(self) -> float:
        """Calls per second."""
        return self.calls / self.seconds

    @property
    def median_ms(self) -> float:
        """Median latency."""
        return statistics.median(self.latencies_ms)

    @property
    def p99_ms(self) -> float:
        """Latency that 99 of 100 calls do not exceed."""
        return statistics.quantiles(self.latencies_ms, n=100)[98]

    def cpu_ms(self) -> dict[str, float]:
        """Return the processor time of one call in milliseconds, by process."""
        return {name: seconds * 1e3 / self.calls for name, seconds in self.cpu_s.items()}


def processes_of(service: int) -> dict[str, list[int]]:
    """Return the processes of a running service by role: client (this one), service, tritonserver, and its models."""
    roles = {"client": [os.getpid()], "service": [service]}
    pending = [service]
    while pending:
        for path in Path(f"/proc/{pending.pop()}/task").glob("*/children"):
            for child in map(int, path.read_text().split()):
                command = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
                name = os.path.basename(command[0].decode())
                if name == "triton_python_backend_stub":
                    name = next(
                        p for p in ("face_embedder", "face_detector", "model") if p in b" ".join(command).decode()
                    )
                roles.setdefault(name, []).append(child)
                pending.append(child)
    return roles


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the processor time of processes so far in seconds, of all their threads, to within 10 ms each."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


async def measure_load(call: Call, concurrency: int, seconds: float, processes: Mapping[str, Sequence[int]]) -> Load:
    """Make calls, ``concurrency`` at a time, for some seconds. ``processes`` are those of `processes_of`."""
    latencies: list[float] = []
    before = {name: cpu_seconds(pids) for name, pids in processes.items()}
    began = time.perf_counter()
    end = began + seconds

    async def caller() -> None:
        while (start := time.perf_counter()) < end:
            await call()
            latencies.append((time.perf_counter() - start) * 1e3)

    await asyncio.gather(*(caller() for _ in range(concurrency)))
    took = time.perf_counter() - began
    return Load(took, tuple(latencies), {name: cpu_seconds(pids) - before[name] for name, pids in processes.items()})


async def measure_bare(repository: Path, version: int, concurrency: int, seconds: float) -> Load:
    """Run the bare models as `measure_load` does: one thread for each run, and ``concurrency`` runs at a time."""
    run = bare_models(repository, version)
    with ThreadPoolExecutor(concurrency) as threads:
        loop = asyncio.get_running_loop()
        return await measure_load(
            lambda: loop.run_in_executor(threads, run), concurrency, seconds, {"bare": [os.getpid()]}
        )


_OPEN: dict[tuple[Path, int], Callable[[], Any]] = {}


def bare_models(repository: Path, version: int) -> Callable[[], Any]:
    """Return a call that runs the detector and then the embedder once, one thread each."""
    if (repository, version) not in _OPEN:
        rng = np.random.default_rng(1)
        works = [
            (open_session(repository / model / str(number) / "model.onnx", 1), rng.integers(0, 256, shape, np.uint8))
            for model, number, shape in (
                ("face_detector", 1, (1, 3, 256, 256)),
                ("face_embedder", version, (1, 3, 112, 112)),
            )
        ]
        _OPEN[repository, version] = lambda: [session.run(None, {"images": images}) for session, images in works]
    return _OPEN[repository, version]


async def verification(channel: grpc.aio.Channel, photos: Sequence[bytes]) -> Call:
    """Enrol the first photo, and return a call that verifies the second one.

    The request is encoded once and the answer is not decoded, so that the caller takes as little time as it can.
    """

    async def send(path: str, request: bytes) -> bytes:
        rpc: Any = channel.unary_unary(path)
        answer: bytes = await rpc(request)
        return answer

    create = gallery_service_pb2.CreateGalleryRequest(gallery_id="load")
    await send(CREATE, create.SerializeToString())
    enroll = face_service_pb2.EnrollTemplateRequest(
        parent=IDENTITY, sample=face_pb2.Sample(photo=photos[0]), allow_missing=True
    )
    await send(ENROLL, enroll.SerializeToString())
    request = face_service_pb2.VerifyFaceRequest(name=IDENTITY, sample=face_pb2.Sample(photo=photos[1]))
    verify: Any = channel.unary_unary(VERIFY)
    content = request.SerializeToString()
    return lambda: verify(content)


def measure_service(service: Service, photos: Sequence[bytes], turns: int, turn_s: float) -> dict[str, list[Load]]:
    """Measure a service and the bare models in turns. The keys are names of table rows."""
    repository = Settings().model_repository
    version = chosen_version(None, repository, repository).version
    processes = processes_of(service.pid)

    async def measure() -> dict[str, list[Load]]:
        loads: dict[str, list[Load]] = {}
        async with grpc.aio.insecure_channel(service.address) as channel:
            verify: Call = await verification(channel, photos)
            for turn in range(-1, turns):
                for concurrency in CONCURRENCIES:
                    cores = min(concurrency, len(os.sched_getaffinity(0)))
                    bare = await measure_bare(repository, version, cores, turn_s)
                    served = await measure_load(verify, concurrency, turn_s, processes)
                    if turn >= 0:  # the first one warms up
                        loads.setdefault(f"bare models, {cores} at a time", []).append(bare)
                        loads.setdefault(f"verify, {concurrency} at a time", []).append(served)
        return loads

    return asyncio.run(measure())


def print_loads(loads: Mapping[str, Sequence[Load]]) -> None:
    """Print medians over the turns."""
    table = Table(title="Load: medians over the turns", title_justify="left")
    for heading in ("what", "calls/s", "median ms", "p99 ms", "processor ms of one call"):
        table.add_column(heading)
    for name, turns in loads.items():
        middle = statistics.median_low(one.per_s for one in turns)
        one = next(one for one in turns if one.per_s == middle)
        cpu = one.cpu_ms()
        parts = ", ".join(f"{part} {value:.2f}" for part, value in cpu.items())
        table.add_row(
            name,
            f"{one.per_s:.1f}",
            f"{one.median_ms:.2f}",
            f"{one.p99_ms:.2f}",
            f"{sum(cpu.values()):.2f}: {parts}" if len(cpu) > 1 else f"{sum(cpu.values()):.2f}",
        )
    Console(width=140 if not Console().is_terminal else None).print(table)


def main() -> None:
    """Measure a service that is started for it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--turns", type=int, default=5, help="turns of each kind (default 5)")
    parser.add_argument("--turn-s", type=float, default=2.0, help="seconds of a turn (default 2)")
    parser.add_argument("--portraits", type=Path, default=Path("tests/data/portraits"))
    options, flags = parser.parse_known_args()
    photos = [photo_250(options.portraits / f"jacinda_ardern_{year}.jpg") for year in (2018, 2022)]
    with (
        TemporaryDirectory(prefix="sameface-load-") as folder,
        served(Path(folder) / "data", Path(folder) / "serve.log", flags) as service,
    ):
        print_loads(measure_service(service, photos, options.turns, options.turn_s))


if __name__ == "__main__":
    main()
