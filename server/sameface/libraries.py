"""What the libraries that we use are told: to report nothing to their makers, and to write only in our folders."""

import os
from pathlib import Path

NO_TELEMETRY = {
    # ONNX Runtime reads it once, while it is imported. Without it, it looks up a host of its vendor every few seconds
    # and keeps a device id and a database in the user's cache folder; `disable_telemetry_events()` comes too late.
    "ORT_DISABLE_TELEMETRY": "1",
}
"""Environment variables that every process of ours runs with."""


def keep_caches_in(cache: Path) -> None:
    """Have libraries keep their caches in ours, for commands; in a notebook they are the user's."""
    os.environ.setdefault("MPLCONFIGDIR", str(cache / "matplotlib"))
