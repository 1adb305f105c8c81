"""Draws panels of docker/monitoring/dashboard.json: a real Prometheus reads a real service, under load and with faults.

``.venv/bin/python -m tools.monitoring_picture [--seconds 90]`` writes docs/images/monitoring.png. It needs a program
prometheus, on PATH or named by PROMETHEUS.
"""

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from PIL import Image

from sameface.client import Client, ServiceError
from sameface.launcher import served

ROOT = Path(__file__).resolve().parents[1]
MONITORING = ROOT / "docker" / "monitoring"
SHOWN = (
    "Calls by method",
    "Calls that failed",
    "Time of a verification",
    "Time of the stages, 95 %",
    "Queue",
    "Wait of the last call in the line",
    "Calls refused because the service is full",
    "Decisions",
    "Photos that were refused",
)
"""Titles of the panels in the picture."""
UNITS = {"s": "seconds", "reqps": "per second", "percentunit": "share"}
CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 5s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: sameface
    static_configs: [{{targets: ["{target}"]}}]
"""
BASE, BURST = 1, 24
"""Callers at a time; more of them come in the middle third, and photos without a face in the last."""


@contextlib.contextmanager
def prometheus(target: str, folder: Path, port: int) -> Iterator[str]:
    """Run a Prometheus that scrapes ``target``, and yield its URL."""
    program = os.environ.get("PROMETHEUS") or shutil.which("prometheus")
    if program is None:
        raise SystemExit("no prometheus; set PROMETHEUS to its path")
    config = folder / "prometheus.yaml"
    config.write_text(CONFIG.format(rules=MONITORING / "rules.yaml", target=target))
    command = [program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    process = subprocess.Popen(command)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def call_until(end: float, address: str, photos: dict[str, bytes], part: float) -> None:
    """Verify, identify, and send photos without a face; more of these once ``part`` of the time has come."""
    draw, began = random.Random(part), time.monotonic()  # noqa: S311  # a load, nothing secret
    with Client(address, timeout_s=20) as client:
        while (now := time.monotonic()) < end:
            late = now > began + part * (end - began)
            with contextlib.suppress(ServiceError):
                if draw.random() < (0.5 if late else 0.05):
                    client.verify("staff", "barack_obama", photos["blank"])
                elif draw.random() < 0.3:
                    client.identify("staff", photos[draw.choice(sorted(set(photos) - {"blank"}))])
                else:
                    name = draw.choice(sorted(set(photos) - {"blank"}))
                    client.verify("staff", "barack_obama", photos[name])
            time.sleep(0.05)


def load(address: str, photos: dict[str, bytes], seconds: float) -> None:
    """Make the load."""
    end = time.monotonic() + seconds
    callers = [threading.Thread(target=call_until, args=(end, address, photos, 2 / 3)) for _ in range(BASE)]
    for caller in callers:
        caller.start()
    time.sleep(seconds / 3)
    burst_end = time.monotonic() + seconds / 4
    burst = [threading.Thread(target=call_until, args=(burst_end, address, photos, 1.0)) for _ in range(BURST)]
    for caller in burst:
        caller.start()
    for caller in [*burst, *callers]:
        caller.join()


def asked(url: str, query: str, start: float, end: float) -> list[dict[str, Any]]:
    """Return the series of a query over a time."""
    query = query.replace("$__rate_interval", "10s").replace("$job", ".*")
    fields = urllib.parse.urlencode({"query": query, "start": start, "end": end, "step": 1})
    with urllib.request.urlopen(f"{url}/api/v1/query_range?{fields}", timeout=20) as answer:  # noqa: S310
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return found


def drawn(url: str, start: float, end: float, path: Path) -> None:
    """Draw the panels."""
    panels = {panel["title"]: panel for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]}
    figure, places = plt.subplots(3, 3, figsize=(15, 10), constrained_layout=True)
    for place, title in zip(places.flat, SHOWN, strict=True):
        panel = panels[title]
        for target in panel["targets"]:
            for series in asked(url, target["expr"], start, end):
                legend = target["legendFormat"]
                for label, value in series["metric"].items():
                    legend = legend.replace(f"{{{{{label}}}}}", value)
                times, values = zip(*((float(at) - start, float(value)) for at, value in series["values"]), strict=True)
                if any(value > 0 for value in values):
                    place.plot(times, values, label=legend)
        unit = panel["fieldConfig"]["defaults"]["unit"]
        place.set(title=title, xlabel="seconds", ylabel=UNITS.get(unit, ""))
        place.set_ylim(bottom=0)
        place.grid(alpha=0.3)
        if place.get_legend_handles_labels()[0]:
            place.legend(fontsize=7, loc="upper left")
    figure.savefig(path, dpi=70)


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=90.0, help="length of the load (default 90)")
    parser.add_argument("--port", type=int, default=9599, help="port of Prometheus on this machine (default 9599)")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "monitoring.png")
    options = parser.parse_args()
    photos = {path.stem: path.read_bytes() for path in (ROOT / "tests" / "data" / "portraits").glob("*.jpg")}
    blank = io.BytesIO()
    Image.new("RGB", (250, 250), (90, 120, 150)).save(blank, "JPEG")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        config = folder / "config.toml"
        config.write_text('[metrics]\nlisten = "127.0.0.1:0"\nreuse_s = 0.0\n')
        flags = ["--config", str(config), "--inference", "onnx"]
        with (
            served(folder / "data", folder / "log", flags) as service,
            prometheus(service.metrics, folder, options.port) as url,
        ):
            with Client(service.address) as client:
                client.create_gallery("staff")
                for name, photo in photos.items():
                    client.enroll("staff", name.rstrip("_0123456789"), photo)
            start = time.time()
            load(service.address, {**photos, "blank": blank.getvalue()}, options.seconds)
            time.sleep(3)
            drawn(url, start, time.time(), options.out)
    print(options.out)


if __name__ == "__main__":
    main()
