"""Verifications of a 250×250 photo: in process, over gRPC, secured, beside the bare models and the peers, in turns."""

import os
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.bare import BareModels
from benchmarks.in_turns import Loads, Ratio, Turn, difference, in_turns, middle, of, ratio
from benchmarks.load import measure_load, processes_of
from benchmarks.peers.contender import peer_processes
from benchmarks.peers.environments import PEERS, is_installed
from benchmarks.service_calls import Access, Call, ServiceCalls, processes_text, served_securely
from benchmarks.verification import PROBE, REFERENCE, photo_250, verification_in_process
from sameface.errors import ServerEnded
from sameface.evaluation.tables import Table
from sameface.inference.defaults import chosen_version
from sameface.inference.onnx import OnnxInference
from sameface.launcher import Service, served
from sameface.settings import Settings

BARE_1, BARE_N = "bare models, one thread", "bare models, all threads"
BARE_MOST = "bare models, one run per core"
IN_PROCESS_1, IN_PROCESS_N = "verify in process, one thread", "verify in process, all threads"
SERVED, SECURED = "verify over gRPC, {} at a time", "verify with TLS, key and audit, {} at a time"
FASTEST = "verify over gRPC with embedder version 102, {} at a time"
FASTEST_FLAGS = ("--embedder-runtime", "openvino", "--embedder-version", "102")
"""The fastest version whose errors are not told from those of the default."""
ONE_CALLER = (1, 16)
OF_PEERS = ((2.6, 3.0), (3.9, 5.0), (12.0, 15.0))
"""How many times as many calls as one process of each peer: with the default, and with the fastest version."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A ratio that is wanted, and how it is told."""

    name: str
    found: Ratio
    wanted: str
    met: bool


@dataclass(frozen=True, slots=True)
class Services:
    """What is measured beside each other."""

    plain: Service
    secured: tuple[Service, Access] | None = None
    """With TLS, keys and the audit log."""
    fastest: Service | None = None
    """With the fastest version of the embedder."""


@contextmanager
def running_services(folder: Path, *, all_of_them: bool) -> Iterator[Services]:
    """Start the service as it comes, or all of them."""
    with ExitStack() as running:
        plain = running.enter_context(served(folder / "data", folder / "log"))
        if not all_of_them:
            yield Services(plain)
            return
        secured = running.enter_context(served_securely(folder / "secured"))
        fastest = None
        with suppress(ServerEnded):  # without OpenVINO
            fastest = running.enter_context(served(folder / "fastest", folder / "fastest.log", FASTEST_FLAGS))
        yield Services(plain, secured, fastest)


async def measure_serving(
    services: Services,
    portraits: Path,
    size: tuple[int, float],
    progress: Callable[[str], None],
    *,
    with_peers: bool = True,
) -> dict[str, Any]:
    """Measure for ``size``: so many rounds, in which every contender works for so many seconds."""
    reference, probe = (photo_250(portraits / name) for name in (REFERENCE, PROBE))
    settings = Settings()
    version = chosen_version(None, settings.model_repository, settings.model_repository).version
    bare = BareModels(settings.model_repository, version, probe)
    cores = len(os.sched_getaffinity(0))
    contenders: dict[str, Turn] = {
        BARE_1: bare.contender(1, 1),
        BARE_N: bare.contender(cores, 1),
        BARE_MOST: bare.contender(1, cores),
    }
    absent: dict[str, str] = {}
    if services.secured and not services.fastest:
        absent[FASTEST.format(16)] = "the service did not start with it; it needs OpenVINO"
    async with AsyncExitStack() as open_things:
        for name, threads in ((IN_PROCESS_1, 1), (IN_PROCESS_N, cores)):
            inference = OnnxInference(settings.model_repository, threads=threads)
            open_things.push_async_callback(inference.aclose)
            verify = await open_things.enter_async_context(verification_in_process(inference, reference, probe))
            contenders[name] = _calling(verify, 1, {"process": [os.getpid()]})
        for title, service, access in (
            (SERVED, services.plain, None),
            *([(SECURED, *services.secured)] if services.secured else []),
            *([(FASTEST, services.fastest, None)] if services.fastest else []),
        ):
            calls = ServiceCalls(service.address, access)
            open_things.push_async_callback(calls.aclose)
            await calls.prepare(reference)
            for callers in ONE_CALLER:
                contenders[title.format(callers)] = _calling(calls.verify(probe), callers, processes_of(service.pid))
        if with_peers:
            folder = Path(open_things.enter_context(TemporaryDirectory(prefix="sameface-bench-")))
            photos = folder / "reference.jpg", folder / "probe.jpg"
            for path, content in zip(photos, (reference, probe), strict=True):
                path.write_bytes(content)
            for peer in PEERS:
                if not is_installed(peer, settings.cache_dir):
                    absent[peer.title] = "not installed; run `python -m benchmarks peers --install`"
                    continue
                for name, each_core in ((_alone(peer.title), False), (_each_core(peer.title), True)):
                    processes = peer_processes(peer, settings.cache_dir, photos, each_core=each_core)
                    try:
                        contenders[name] = open_things.enter_context(processes).turn
                    except RuntimeError as error:
                        absent[name] = f"cannot run: {error}"
        loads = await in_turns(contenders, *size, progress)
    return {"loads": loads, "absent": absent, "embedder": version, "cores": cores, "turn_s": size[1]}


def _calling(call: Call, callers: int, processes: dict[str, list[int]]) -> Turn:
    return lambda seconds: measure_load(call, callers, seconds, processes)


def _alone(title: str) -> str:
    return f"{title}, one process"


def _each_core(title: str) -> str:
    return f"{title}, a process per core"


def most_of_bare(loads: Loads) -> list[float]:
    """Return by round the most that the bare models give on all cores in runs per second, in the faster of two ways."""
    return [max(pair) for pair in zip(of(loads, BARE_MOST, "per_s"), of(loads, BARE_N, "per_s"), strict=True)]


def goals(loads: Loads) -> list[Goal]:
    """Return the ratios, each from the same rounds."""
    latency = {name: of(loads, name, "median_ms") for name in loads}
    found = []

    def add(name: str, measured: Ratio, limit: float, unit: str = "") -> None:
        at_least = limit < 0
        met = measured.median >= -limit if at_least else measured.median <= limit
        found.append(Goal(name, measured, f"{'≥' if at_least else '≤'} {abs(limit):g}{unit}", met))

    one, sixteen = SERVED.format(1), SERVED.format(16)
    add("verify in process ÷ bare models, one thread each", ratio(latency[IN_PROCESS_1], latency[BARE_1]), 1.10)
    add("verify in process ÷ bare models, all threads each", ratio(latency[IN_PROCESS_N], latency[BARE_N]), 1.10)
    add(
        "verify over gRPC with Triton, one caller ÷ bare models, one thread", ratio(latency[one], latency[BARE_1]), 1.15
    )
    add(
        "verify over gRPC with Triton, one caller ÷ bare models, all threads",
        ratio(latency[one], latency[BARE_N]),
        1.15,
    )
    for threads, bare in (("one thread", BARE_1), ("all threads", BARE_N)):
        name = f"verify over gRPC with Triton, one caller: milliseconds more than {threads}"
        add(name, difference(latency[one], latency[bare]), 4.0, " ms")
    if SECURED.format(1) in loads:
        added = difference(latency[SECURED.format(1)], latency[one])
        add("with TLS, key and audit log: milliseconds more", added, 1.0, " ms")
        secured = of(loads, SECURED.format(16), "per_s")
        add(
            "with TLS, key and audit log, 16 callers: throughput ÷ without",
            ratio(secured, of(loads, sixteen, "per_s")),
            -0.95,
        )
    add(
        "verify, 16 callers ÷ the most of the bare models",
        ratio(of(loads, sixteen, "per_s"), most_of_bare(loads)),
        -0.92,
    )
    for peer, (default, fastest) in zip(PEERS, OF_PEERS, strict=True):
        for ours, title, wanted in (
            (sixteen, "verify, 16 callers", default),
            (FASTEST.format(16), "verify with version 102, 16 callers", fastest),
        ):
            for name, goal in ((_alone(peer.title), wanted), (_each_core(peer.title), 1.0)):
                if {ours, name} <= loads.keys():
                    add(f"{title} ÷ {name}", ratio(of(loads, ours, "per_s"), of(loads, name, "per_s")), -goal)
    return found


def serving_tables(found: dict[str, Any]) -> list[Table]:
    """Return the table of contenders and the table of ratios."""
    loads: Loads = found["loads"]
    rows = tuple(
        (
            name,
            f"{middle(loads, name, 'median_ms'):.1f}",
            f"{middle(loads, name, 'p95_ms'):.1f}",
            f"{middle(loads, name, 'per_s'):.1f}",
            _cpu(loads, name),
        )
        for name in loads
    )
    rounds = len(next(iter(loads.values())))
    absent = tuple(f"{title}: {why}" for title, why in found["absent"].items())
    contenders = Table(
        "One 250×250 photo",
        ("contender", "median, ms", "p95, ms", "a second", "processor time of one, ms"),
        rows,
        (
            f"Medians of {rounds} rounds. In each, every contender works for {found['turn_s']:g} s, in another order.",
            f"Embedder version {found['embedder']}; {found['cores']} cores. The client runs on the same cores.",
            *absent,
        ),
    )
    ratios = Table(
        "Ratios within the rounds",
        ("ratio", "median (95 % interval)", "goal", ""),
        tuple((one.name, str(one.found), one.wanted, "" if one.met else "missed") for one in goals(loads)),
    )
    return [contenders, ratios]


def _cpu(loads: Loads, name: str) -> str:
    last = loads[name][-1]["cpu_ms"]
    total = sum(last.values())
    return f"{total:.1f}: {processes_text(last)}" if len(last) > 1 else f"{total:.1f}"
