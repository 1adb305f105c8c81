"""The conditions of a measurement: machine, versions, load."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

FLAGS = ("avx2", "avx512f", "avx512_vnni", "amx_int8", "amx_bf16")
"""Instruction sets that decide how fast a network runs."""
PACKAGES = ("sameface", "onnxruntime", "grpcio", "numpy", "opencv-python-headless", "qdrant-edge-py")


def conditions() -> dict[str, Any]:
    """Return what a figure depends on. The load average is that of the last minute, before the measurement."""
    processor, flags = processor_of(Path("/proc/cpuinfo"))
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": processor or platform.processor() or platform.machine(),
        "flags": [flag for flag in FLAGS if flag in flags],
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
        "load_average": round(os.getloadavg()[0], 2),
    }


def processor_of(path: Path) -> tuple[str, frozenset[str]]:
    """Return the processor's name and flags from a file like /proc/cpuinfo; empty where there is none."""
    try:
        fields = dict(line.split(":", 1) for line in path.read_text().split("\n\n")[0].splitlines() if ":" in line)
    except OSError:
        return "", frozenset()
    found = {name.strip(): value.strip() for name, value in fields.items()}
    return found.get("model name", ""), frozenset(found.get("flags", "").split())


def conditions_rows(found: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the conditions as rows of a table."""
    return (
        ("date", found["date"]),
        (
            "processor",
            f"{found['processor']}, {found['cores']} cores; {', '.join(found['flags']) or 'no wide vectors'}",
        ),
        ("memory", f"{found['memory_gib']} GiB"),
        ("system", f"{found['system']}, Python {found['python']}"),
        ("versions", ", ".join(f"{name} {number}" for name, number in found["versions"].items())),
        ("load average before", f"{found['load_average']}"),
    )
