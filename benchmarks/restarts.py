"""`python -m benchmarks restarts`: how long each part takes until the service is ready again after it was killed.

A caller verifies a photo again and again, one call at a time and without repeats, and asks for the health ten times a
second. The service is ready again at the end of the last call that failed or took longer than a second, and of the
last answer NOT_SERVING. Each part is killed with SIGKILL. A Qdrant server is measured if QDRANT_BIN names one.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.restarts_qdrant import running_qdrant
from benchmarks.results import print_tables
from benchmarks.verification import PROBE, REFERENCE, photo_250
from sameface.cli.health import ask_health
from sameface.client import Client, ServiceError
from sameface.evaluation.tables import Table
from sameface.http.envoy import find_envoy
from sameface.inference.cards import read_cards
from sameface.inference.local.runtime import require_runtime
from sameface.inference.local.server import LocalTriton
from sameface.launcher import Service, served
from sameface.lifeline import ending_with_parent
from sameface.settings import cache_folder, model_repository_source

GOAL_S = 10.0
QUIET_S, LONGEST_S = 3.0, 60.0
"""The service is ready again once it has been so for the first time; a run is given up after the second."""
SLOW_S, HEALTH_S, PAUSE_S = 1.0, 0.1, 0.05
GALLERY, IDENTITY = "restarts", "one"


@dataclass(slots=True)
class Seen:
    """What the caller saw since a fault. Times are monotonic seconds."""

    fault: float
    failed: int = 0
    not_serving: bool = False
    last_bad: float = 0.0
    last_look: dict[str, float] = field(default_factory=dict)

    def bad(self, *, call: bool) -> None:
        """Note a call that failed or was slow, or an answer NOT_SERVING, that has just ended."""
        self.last_bad = time.monotonic()
        self.failed += call
        self.not_serving |= not call

    @property
    def ready_s(self) -> float:
        """Seconds from the fault to the end of what was bad; 0 if nothing was."""
        return max(0.0, self.last_bad - self.fault)


def watched(address: str, photo: bytes, break_it: Callable[[], None], http: str = "") -> Seen:
    """Break a part, and look until the service is well again."""
    seen, ended = Seen(time.monotonic()), threading.Event()

    def call() -> None:
        with Client(address, timeout_s=30.0, unreachable_s=0.0) as client:
            while not ended.is_set():
                began = time.monotonic()
                try:
                    if http:
                        with urllib.request.urlopen(f"http://{http}/v1/serverInfo", timeout=5.0) as answer:  # http
                            answer.read()
                    else:
                        client.verify(GALLERY, IDENTITY, photo)
                    if time.monotonic() - began > SLOW_S:
                        seen.last_bad = time.monotonic()
                except (ServiceError, OSError):
                    seen.bad(call=True)
                seen.last_look["call"] = began
                time.sleep(PAUSE_S)

    def ask() -> None:
        while not ended.is_set():
            began = time.monotonic()
            status = ""
            with suppress(Exception):  # no answer is as bad as another one
                status = ask_health(address, 2.0)
            if status != "SERVING":
                seen.bad(call=False)
            seen.last_look["health"] = began
            time.sleep(HEALTH_S)

    break_it()
    threads = [threading.Thread(target=one, daemon=True) for one in (call, ask)]
    for thread in threads:
        thread.start()
    while time.monotonic() - seen.fault < LONGEST_S:
        time.sleep(HEALTH_S)
        since = max(seen.fault, seen.last_bad)
        if len(seen.last_look) == len(threads) and all(look > since + QUIET_S for look in seen.last_look.values()):
            break
    ended.set()
    for thread in threads:
        thread.join()
    return seen


def enrolled(address: str, portraits: Path) -> bytes:
    """Enrol a photo, and return another one of the same person."""
    with Client(address) as client:
        client.create_gallery(GALLERY, exist_ok=True)
        client.enroll(GALLERY, IDENTITY, photo_250(portraits / REFERENCE))
        photo = photo_250(portraits / PROBE)
        client.verify(GALLERY, IDENTITY, photo)
    return photo


def children(pid: int, command: str) -> list[int]:
    """Return the processes below a process whose command line has this text."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, path.read_text().split()):
                if command in Path(f"/proc/{child}/cmdline").read_text().replace("\0", " "):
                    found.append(child)
                found += children(child, command)
    return found


def kill_child(pid: int, command: str) -> None:
    """Kill the first process below another one whose command line has this text."""
    found = children(pid, command)
    if not found:
        raise SystemExit(f"no process below {pid} has {command!r} in its command line")
    os.kill(found[0], signal.SIGKILL)


@contextmanager
def remote_triton() -> Iterator[LocalTriton]:
    """A Triton beside the service, restarted by whoever started it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    repository = model_repository_source()

    async def started() -> LocalTriton:
        triton = LocalTriton(repository, require_runtime(cache_folder()), read_cards(repository))
        await triton.start()
        return triton

    triton = run(started())
    try:
        yield triton
    finally:
        run(triton.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def of_the_service(folder: Path, portraits: Path, times: int) -> list[Seen]:
    """Kill the service, and start it again on the same port and folder."""

    def started(listen: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-P", "-m", "sameface.cli", "serve", "--json", "--listen", listen]
        command += ["--data-dir", str(folder / "data")]
        with (folder / "log").open("ab") as log:
            return subprocess.Popen(ending_with_parent(command), stdout=subprocess.PIPE, stderr=log, text=True)

    running = [started("127.0.0.1:0")]

    def restart() -> None:
        running[0].kill()
        running[0].wait()
        running[0] = started(address)

    try:
        assert running[0].stdout is not None
        address: str = json.loads(running[0].stdout.readline())["address"]
        photo = enrolled(address, portraits)
        return [watched(address, photo, restart) for _ in range(times)]
    finally:
        running[0].terminate()
        running[0].wait()


def in_service(service: Service, portraits: Path, times: int, broken: Callable[[], None], http: str = "") -> list[Seen]:
    """Break a part of a running service, so many times."""
    photo = enrolled(service.address, portraits)
    return [watched(service.address, photo, broken, http) for _ in range(times)]


def measure(portraits: Path, times: int, progress: Callable[[str], None]) -> dict[str, list[Seen]]:
    """Return what was seen of each part."""
    found: dict[str, list[Seen]] = {}
    with TemporaryDirectory(prefix="sf-") as name:
        folder = Path(name)
        progress("the service")
        found["service, with its local Triton and Qdrant Edge"] = of_the_service(folder, portraits, times)
        flags = ["--http", "127.0.0.1:0"] if has_envoy() else []
        with served(folder / "data-2", folder / "log-2", flags) as service:
            for title, command in (("local tritonserver", "tritonserver "), ("model process", "/face_embedder/")):
                progress(title)
                broken = partial(kill_child, service.pid, command)
                found[title] = in_service(service, portraits, times, broken)
            if flags:
                progress("Envoy")
                broken = partial(kill_child, service.pid, "envoy.json")
                found["Envoy, over HTTP"] = in_service(service, portraits, times, broken, service.http)
        with (
            remote_triton() as triton,
            served(folder / "data-3", folder / "log-3", ["--triton-url", triton.grpc_url]) as service,
        ):
            progress("remote Triton")
            found["remote Triton, started again at once"] = in_service(
                service, portraits, times, lambda: os.kill(triton.pid, signal.SIGKILL)
            )
        if program := os.environ.get("QDRANT_BIN"):
            with ExitStack() as stack:
                qdrant = stack.enter_context(running_qdrant(Path(program), folder / "qdrant"))
                service = stack.enter_context(served(folder / "data-4", folder / "log-4", ["--qdrant-url", qdrant.url]))
                progress("Qdrant server")
                found["Qdrant server, started again at once"] = in_service(service, portraits, times, qdrant.restart)
    return found


def has_envoy() -> bool:
    """Return whether HTTP can be measured."""
    with suppress(Exception):
        find_envoy()
        return True
    return False


def rows_of(found: dict[str, list[Seen]]) -> list[dict[str, Any]]:
    """Return the figures as plain values."""
    return [
        {
            "part": part,
            "ready_s": [round(one.ready_s, 2) for one in seen],
            "failed_calls": [one.failed for one in seen],
            "told_by_health": [one.not_serving for one in seen],
        }
        for part, seen in found.items()
    ]


def table_of(rows: Sequence[dict[str, Any]]) -> Table:
    """Return the table of the figures."""
    cells = tuple(
        (
            row["part"],
            f"{statistics.median(row['ready_s']):.1f} s",
            f"{max(row['ready_s']):.1f} s",
            f"{statistics.median(row['failed_calls']):g}",
            "yes" if max(row["ready_s"]) <= GOAL_S else "no",
        )
        for row in rows
    )
    heads = ("killed", "ready again after, median", "longest", "failed calls, median", f"≤ {GOAL_S:g} s")
    times = len(rows[0]["ready_s"]) if rows else 0
    return Table("Ready again after a part was killed", heads, cells, (f"Each part was killed {times} times.",))


def main(arguments: Sequence[str]) -> None:
    """Measure and print; ``--json`` for programs."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks restarts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=3, help="how often each part is killed (default 3)")
    parser.add_argument("--portraits", type=Path, default=Path("tests/data/portraits"), help="folder of the photos")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args(arguments)
    if options.times < 1:
        parser.error("expected --times 1 or more")
    rows = rows_of(measure(options.portraits, options.times, lambda told: print(told, file=sys.stderr)))
    if options.json:
        json.dump({"restarts": rows}, sys.stdout, indent=2, ensure_ascii=False)
        print()
    else:
        print_tables([table_of(rows)])
