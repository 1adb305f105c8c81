"""`python -m benchmarks bulk`: a folder that is enrolled, and a stream of video frames, beside single verifications.

Sixteen callers that verify single photos reach what the service can do. Their rate is measured before and after; the
others are compared with the mean of both. Enrolment is the command itself, as a child process.
"""

import argparse
import asyncio
import io
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.calling import Plan, call_from_processes
from benchmarks.overload import VERIFY, enrolled
from benchmarks.verification import photo_250
from sameface.cli.options import ExitCode
from sameface.client import AsyncClient, Client
from sameface.launcher import served

CALLERS = 16
LIMITS = {"bulk": 0.9, "video": 0.9}
FRAME = (640, 480)
CAMERA_PER_S = 120.0
"""Frames of a camera that is faster than the service."""


@dataclass(frozen=True, slots=True)
class Bulk:
    """Photos or frames per second, and the latency of frames."""

    verify_per_s: float
    """Mean of the rates before and after."""
    enroll_per_s: float
    """Of the whole command, its start and its look at the gallery included."""
    frames_callers_per_s: float
    """Frames that callers identify one by one."""
    frames_per_s: float
    """Frames that one stream identifies."""
    camera_per_s: float
    """Frames that one stream answers of a camera that is too fast."""
    camera_p50_ms: float
    camera_p99_ms: float
    """Latency of these: from when the frame was there until its answer was."""

    @property
    def bulk_ratio(self) -> float:
        """Enrolments divided by verifications."""
        return self.enroll_per_s / self.verify_per_s

    @property
    def video_ratio(self) -> float:
        """Frames of one stream divided by those of many callers."""
        return self.frames_per_s / self.frames_callers_per_s


def measure_bulk(
    portraits: Path, photos: int, seconds: float, flags: Sequence[str] = (), faces: Path | None = None
) -> Bulk:
    """Start a service with ``flags``, enrol a folder of so many photos, and stream frames for some seconds.

    The photos are those below ``faces``, in turns. Without it they all show one face, which resembles itself.
    """
    with TemporaryDirectory(prefix="sf-bulk-") as name, served(Path(name) / "data", Path(name) / "log", flags) as one:
        folder = Path(name)
        photo = photo_250(portraits / "jacinda_ardern_2022.jpg")
        (folder / "verify").write_bytes(enrolled(one.address, portraits))
        _people(folder / "people", [photo] if faces is None else [path.read_bytes() for path in _jpegs(faces)], photos)
        frame = _frame(portraits / "jacinda_ardern_2022.jpg")
        too_short = f"{seconds:g} s are too short to measure: nothing was answered in time; give --seconds 2 or more"

        def verified() -> float:
            plan = Plan(one.address, VERIFY, str(folder / "verify"), seconds, callers=CALLERS, connections=CALLERS)
            answered = call_from_processes([plan]).answered_in_time
            if not answered:
                raise SystemExit(too_short)
            return answered / seconds

        verified()
        before = verified()
        enroll_per_s = photos / _enroll(one.address, folder)
        verify_per_s = (before + verified()) / 2
        one_by_one = asyncio.run(_one_by_one(one.address, frame, seconds))
        streamed = asyncio.run(_streamed(one.address, frame, seconds))
        camera_per_s, latencies = asyncio.run(_camera(one.address, frame, seconds))
        if not (one_by_one and streamed and latencies):
            raise SystemExit(too_short)
    p50, p99 = np.percentile(latencies, [50, 99])
    return Bulk(verify_per_s, enroll_per_s, one_by_one, streamed, camera_per_s, float(p50), float(p99))


def _jpegs(folder: Path) -> list[Path]:
    """Return one JPEG of each sub-folder, or raise if there is none."""
    if not (found := [min(person.glob("*.jpg")) for person in sorted(folder.iterdir()) if any(person.glob("*.jpg"))]):
        raise FileNotFoundError(f"{folder} has no sub-folder with a .jpg file; name a folder with one for each person")
    return found


def _people(folder: Path, photos: Sequence[bytes], count: int) -> None:
    """Write so many photos, one for each person. A number after the image makes each another file."""
    for number in range(count):
        person = folder / f"person-{number:05d}"
        person.mkdir(parents=True)
        (person / "photo.jpg").write_bytes(photos[number % len(photos)] + number.to_bytes(4, "big"))


def _frame(path: Path) -> bytes:
    """Return a portrait in the middle of a video frame, as JPEG."""
    frame = Image.new("RGB", FRAME, (90, 100, 110))
    with Image.open(path) as image:
        image.thumbnail((FRAME[1], FRAME[1]))
        frame.paste(image.convert("RGB"), ((FRAME[0] - image.width) // 2, (FRAME[1] - image.height) // 2))
    buffer = io.BytesIO()
    frame.save(buffer, format="JPEG", quality=90)
    return buffer.getvalue()


def _enroll(address: str, folder: Path) -> float:
    """Enrol the folder with the command, and return the seconds that it took."""
    command = [sys.executable, "-P", "-m", "sameface.cli", "enroll", "bulk", str(folder / "people"), "--json"]
    command += ["--address", address]
    # Without --faces, everybody resembles everybody.
    with Client(address) as client:
        client.create_gallery("bulk", on_collision="warn")
    began = time.perf_counter()
    with (folder / "enrolled.jsonl").open("wb") as output:
        status = subprocess.run(command, stdout=output, check=False).returncode
    took_s = time.perf_counter() - began
    # A photo that the quality gate refuses was worked on all the same.
    if status not in (0, ExitCode.ERROR) or "NOT_TRIED" in (folder / "enrolled.jsonl").read_text():
        raise RuntimeError(f"the command ended with {status}; run the service by hand and look at its log")
    return took_s


async def _one_by_one(address: str, frame: bytes, seconds: float) -> float:
    async with AsyncClient(address) as client:
        ends, done = time.perf_counter() + seconds, 0

        async def caller() -> None:
            nonlocal done
            while time.perf_counter() < ends:
                await client.identify("bench", frame)
                done += time.perf_counter() < ends

        await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return done / seconds


async def _streamed(address: str, frame: bytes, seconds: float) -> float:
    ends, done = time.perf_counter() + seconds, 0

    def frames() -> Iterator[bytes]:
        while time.perf_counter() < ends:
            yield frame

    async with AsyncClient(address) as client:
        async for answer in client.identify_stream("bench", frames()):
            if answer.error is not None:
                raise RuntimeError(f"a frame was refused: {answer.error.message}")
            done += time.perf_counter() < ends
    return done / seconds


async def _camera(address: str, frame: bytes, seconds: float) -> tuple[float, list[float]]:
    began, at, latencies = time.perf_counter(), list[float](), list[float]()

    async def frames() -> AsyncIterator[bytes]:
        while (now := time.perf_counter()) < began + seconds:
            at.append(now)
            yield frame
            await asyncio.sleep(max(0.0, began + len(at) / CAMERA_PER_S - time.perf_counter()))

    async with AsyncClient(address) as client:
        async for answer in client.identify_stream("bench", frames(), drop_late=True):
            latencies.append((time.perf_counter() - at[int(answer.tag)]) * 1e3)
    return len(latencies) / seconds, latencies


def print_bulk(measured: Bulk, photos: int) -> None:
    """Print a table."""
    table = Table(title="bulk and video", title_justify="left")
    for heading in ("figure", "measured", "limit"):
        table.add_column(heading)
    table.add_row(f"verify a 250×250 photo, {CALLERS} callers", f"{measured.verify_per_s:.1f}/s", "")
    table.add_row(f"`sameface enroll` of {photos} such photos", f"{measured.enroll_per_s:.1f}/s", "")
    table.add_row("ratio of the two", f"{measured.bulk_ratio:.2f}", f"≥ {LIMITS['bulk']:g}")
    size = "×".join(map(str, FRAME))
    table.add_row(f"identify a {size} frame, {CALLERS} callers", f"{measured.frames_callers_per_s:.1f}/s", "")
    table.add_row("the same frames in one stream", f"{measured.frames_per_s:.1f}/s", "")
    table.add_row("ratio of the two", f"{measured.video_ratio:.2f}", f"≥ {LIMITS['video']:g}")
    table.add_row(
        f"a camera with {CAMERA_PER_S:g} frames/s, late frames dropped",
        f"{measured.camera_per_s:.1f}/s answered, p50 {measured.camera_p50_ms:.0f} ms, "
        f"p99 {measured.camera_p99_ms:.0f} ms",
        "",
    )
    Console(width=120 if not Console().is_terminal else None).print(table)


def main(arguments: Sequence[str]) -> None:
    """Measure and print; ``--json`` for programs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks bulk", description=__doc__)
    parser.add_argument("--photos", type=int, default=10_000, help="to enrol, one of each person (default 10000)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each other measurement (default 10)")
    parser.add_argument("--portraits", type=Path, default=Path("tests/data/portraits"))
    parser.add_argument(
        "--faces", type=Path, help="folder with photos of one person in each sub-folder, to be enrolled"
    )
    parser.add_argument("--flag", action="append", default=[], help="of `sameface serve`, as --flag=--inference=onnx")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args(arguments)
    measured = measure_bulk(options.portraits, options.photos, options.seconds, options.flag, options.faces)
    if options.json:
        ratios = {"bulk_ratio": measured.bulk_ratio, "video_ratio": measured.video_ratio}
        json.dump(
            {name: round(value, 3) for name, value in {**asdict(measured), **ratios}.items()}, sys.stdout, indent=2
        )
        print()
    else:
        print_bulk(measured, options.photos)
