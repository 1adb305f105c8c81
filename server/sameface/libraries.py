"""Settings of third-party libraries: no telemetry, and caches only in our folders."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Not otherwise: `sameface` itself imports this module, and its health check is to be light.
    from pathlib import Path

NO_TELEMETRY = {
    # ONNX Runtime reads this variable once, at import; `disable_telemetry_events()` comes too late. Without it, ONNX
    # Runtime looks up a host of its vendor every few seconds, and keeps a device id and a database in the user's cache
    # folder.
    "ORT_DISABLE_TELEMETRY": "1",
}
"""Environment variables that we set in every process that we start."""


def keep_caches_in(cache: "Path") -> None:
    """Put the caches of libraries into our cache folder. For commands only: notebooks keep the user's folders."""
    os.environ.setdefault("MPLCONFIGDIR", str(cache / "matplotlib"))
