"""What Triton counts itself, read from its Prometheus metrics."""

import re
import urllib.request

_LINE = re.compile(r'^nv_inference_count\{model="(?P<model>[^"]+)",version="(?P<version>\d+)"\} (?P<count>\S+)$', re.M)


def read_inference_counts(metrics_url: str) -> dict[tuple[str, int], int]:
    """Return how many inferences each model version has performed since it was loaded."""
    with urllib.request.urlopen(metrics_url, timeout=5.0) as response:  # noqa: S310  # our own loopback server
        text = response.read().decode()
    return {(match["model"], int(match["version"])): int(float(match["count"])) for match in _LINE.finditer(text)}
