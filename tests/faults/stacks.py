"""What runs while its parts fail: a service with its parts inside, with a Triton elsewhere, or with a Qdrant server."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.network import Disk, Network, why_no_disk, why_no_network
from tests.faults.parts import Program, ServiceProgram, free_port, socket_of, triton_program

EMBEDDED, TRITON, QDRANT, CLOCK = "embedded", "triton", "qdrant", "clock"
DISK_MB = 256
AUDIT_DISK_MB = 16
QDRANT_DISK_MB = 512
CLOCK_FILE = "clock"
NO_QDRANT = "QDRANT_BIN does not name a Qdrant server"
NO_FAKETIME = "FAKETIME_LIB does not name libfaketimeMT.so.1"


@dataclass(slots=True)
class Stack:
    """What runs, by part. None: this stack has no such part."""

    service: ServiceProgram
    folder: Path
    triton: Program | None = None
    forward: Program | None = None
    """Between the service and the Triton; it runs in the Triton's network."""
    qdrant: Program | None = None
    network: Network | None = None
    """Of the part that can be cut off: the service, the Triton or the Qdrant server."""
    disk: Disk | None = None
    """Of the store."""
    audit: Disk | None = None
    """Of the audit log."""

    async def restart_triton(self) -> None:
        """Start the Triton again; its socket has another name then."""
        assert self.triton is not None
        assert self.forward is not None
        line = await self.triton.start()
        self.forward.kill()
        self.forward.command = [*self.forward.command[:-1], socket_of(line)]
        await self.forward.start()


def why_not(kind: str) -> str:
    """Why a stack cannot run here; empty if it can."""
    if kind == QDRANT and not os.environ.get("QDRANT_BIN"):
        return NO_QDRANT
    if kind == CLOCK and not Path(os.environ.get("FAKETIME_LIB", "")).is_file():
        return NO_FAKETIME
    return ""


@asynccontextmanager
async def running(kind: str, folder: Path, flags: tuple[str, ...] = ()) -> AsyncIterator[Stack]:
    """Start a stack; end it and remove its networks and disks afterwards. ``flags`` are those of the service."""
    programs: list[Program] = []
    with ExitStack() as things:
        network = things.enter_context(Network(_number(kind))) if not why_no_network() and kind != CLOCK else None
        host, prefix = (network.inside, network.prefix) if network else ("127.0.0.1", [])
        store = folder / ("qdrant" if kind == QDRANT else "data")
        disk = audit = None
        if kind in (EMBEDDED, QDRANT) and not why_no_disk():
            disk = things.enter_context(Disk(store, QDRANT_DISK_MB if kind == QDRANT else DISK_MB))
        store.mkdir(parents=True, exist_ok=True)
        triton = forward = qdrant = None
        environment: dict[str, str] = {}
        if kind == EMBEDDED and not why_no_disk():
            audit = things.enter_context(Disk(folder / "audit", AUDIT_DISK_MB))
            environment = {"SAMEFACE_AUDIT__ENABLED": "true", "SAMEFACE_AUDIT__FOLDER": str(audit.folder)}
        try:
            more: list[str] = [*flags, "--data-dir", str(folder / "data")]
            if kind == TRITON:
                programs.append(triton := triton_program(folder))
                target = socket_of(await triton.start())
                port = free_port() if network is None else 8001
                command = [sys.executable, "-m", "tests.relay", host, str(port), target]
                programs.append(forward := Program(command, folder / "forward.log", prefix=prefix))
                await forward.start()
                more += ["--triton-url", f"{host}:{port}"]
            elif kind == QDRANT:
                programs.append(qdrant := qdrant_program(store, host, prefix))
                qdrant.launch()
                more += ["--qdrant-url", f"http://{host}:{qdrant.environment['QDRANT__SERVICE__GRPC_PORT']}"]
            elif kind == CLOCK:
                environment = clock_environment(folder)
            inside = kind == EMBEDDED
            service = ServiceProgram.prepared(
                folder,
                more,
                host=host if inside else "127.0.0.1",
                prefix=prefix if inside else (),
                environment=environment,
                http=inside,
            )
            programs.append(service.program)
            await service.start()
            yield Stack(service, folder, triton, forward, qdrant, network, disk, audit)
        finally:
            for program in reversed(programs):
                await program.stop()


def qdrant_program(storage: Path, host: str, prefix: list[str]) -> Program:
    """A Qdrant server whose files are in ``storage``."""
    http, grpc = (free_port(), free_port()) if not prefix else (6333, 6334)
    environment = {
        "QDRANT__SERVICE__HOST": host,
        "QDRANT__SERVICE__HTTP_PORT": str(http),
        "QDRANT__SERVICE__GRPC_PORT": str(grpc),
        "QDRANT__STORAGE__STORAGE_PATH": str(storage / "storage"),
        "QDRANT__STORAGE__SNAPSHOTS_PATH": str(storage / "snapshots"),
        "QDRANT__TELEMETRY_DISABLED": "true",
    }
    binary = str(Path(os.environ["QDRANT_BIN"]).absolute())
    return Program([binary], storage.parent / "qdrant.log", environment, prefix, storage)


def clock_environment(folder: Path) -> dict[str, str]:
    """Variables with which a program reads the time of day from a file; its monotonic clock stays."""
    set_clock(folder, 0)
    return {
        "LD_PRELOAD": os.environ["FAKETIME_LIB"],
        "FAKETIME_TIMESTAMP_FILE": str(folder / CLOCK_FILE),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def set_clock(folder: Path, seconds: int) -> None:
    """Set the clock of those programs so many seconds ahead of the real one."""
    new = folder / f"{CLOCK_FILE}.new"
    new.write_text(f"{seconds:+d}\n")
    new.rename(folder / CLOCK_FILE)


def _number(kind: str) -> int:
    return (EMBEDDED, TRITON, QDRANT, CLOCK).index(kind)
