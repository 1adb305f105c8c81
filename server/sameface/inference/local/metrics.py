"""Reads inference counts from Triton's Prometheus metrics."""

import re
import socket
from http.client import HTTPConnection, HTTPException
from pathlib import Path

# One line of a known form is read, so prometheus-client would be a dependency for one expression.
_LINE = re.compile(r'^nv_inference_count\{model="(?P<model>[^"]+)",version="(?P<version>\d+)"\} (?P<count>\S+)$', re.M)
TIMEOUT_S = 5.0


def read_inference_counts(metrics: Path) -> dict[tuple[str, int], int]:
    """Return the number of inferences of each model version since it was loaded; see `read_metrics`."""
    text = read_metrics(metrics)
    return {(match["model"], int(match["version"])): int(float(match["count"])) for match in _LINE.finditer(text)}


def read_metrics(metrics: Path) -> str:
    """Return Triton's metrics in Prometheus' text format.

    Args:
        metrics: the unix socket of a local Triton's metrics.

    Raises:
        OSError: no metrics can be read from the socket.
    """
    connection = HTTPConnection("localhost")
    with socket.socket(socket.AF_UNIX) as connection.sock:
        connection.sock.settimeout(TIMEOUT_S)
        connection.sock.connect(str(metrics))
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
        except HTTPException as error:
            raise OSError(f"{metrics} gives no metrics: {error!r}") from error
