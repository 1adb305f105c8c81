"""The steps before the calls, as a user takes them: train, export, measure thresholds. Commands run in processes."""

import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.things.splits import Thing
from sameface.evaluation.dataset import read_labelled
from sameface.settings import model_repository_source

RECIPE = "triplet"
TRAINER = ("-c", "from sameface_train.cli import main; main()")
SERVICE = ("-m", "sameface.cli")


def told(command: str, *arguments: str, **environment: str) -> str:
    """Run a command of the project in a process of its own, show it on stderr, and return what it prints.

    Raises:
        SystemExit: it failed; the message ends with its errors.
    """
    shown = shlex.join([command, *arguments])
    print(f"$ {shown}", file=sys.stderr, flush=True)
    program = TRAINER if command == "sameface-train" else SERVICE
    done = subprocess.run(
        [sys.executable, *program, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{shown} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def train(thing: Thing, folder: Path, steps: int) -> dict[str, Any]:
    """Train a network, or keep the one that the folder has, and return what that took."""
    run, record = folder / "runs" / thing.name, folder / "runs" / f"{thing.name}.json"
    if record.is_file():
        found: dict[str, Any] = json.loads(record.read_text())
        if found["steps"] != steps:
            raise SystemExit(f"{run} has {found['steps']} steps, not {steps}; give another --folder, or remove it")
        return found
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    arguments = (RECIPE, str(thing.training), "--task", thing.task, "--run", str(run), "--steps", str(steps))
    told("sameface-train", "train", *arguments, "--threads", "1", OMP_NUM_THREADS="1")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = {"steps": steps, "processor_s": round(processor_s), "clock_s": round(time.perf_counter() - began)}
    record.write_text(json.dumps(found))
    return found


def new_repository(folder: Path) -> Path:
    """Return a model repository with links to the models of faces that this checkout has."""
    target = folder / "models"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(model_repository_source().resolve(), target, copy_function=_link)
    return target


def _link(source: str, target: str) -> None:
    Path(target).symlink_to(source)


def export(thing: Thing, folder: Path, repository: Path) -> None:
    """Export a run into the model repository."""
    run = str(folder / "runs" / thing.name)
    stated = ("--licence", "for this measurement", "--training-data", thing.data, "--repository", str(repository))
    told("sameface-train", "export", run, "--model", thing.name, *stated)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What new galleries get, and what it was measured on."""

    policy: dict[str, float]
    """Options of `Client.create_gallery`; the card has the thresholds if they are not here."""
    measured_on: str
    rates: str
    """The error rates that they are for."""
    fnmr: float | None
    """FNMR of the development identities at the threshold of claims."""


def from_card(thing: Thing, address: str, repository: Path, target_fmr: float) -> Thresholds:
    """Measure operating points on the development identities, and write the supported ones into the card."""
    arguments = (str(thing.development), "--embedder-model", thing.name, "--write", "--address", address, "--json")
    printed = told("sameface", "evaluate", "operating-points", *arguments, SAMEFACE_MODEL_REPOSITORY=str(repository))
    points = {one["fmr"]: one for one in json.loads(printed)["operating_points"]}
    return Thresholds(
        {"target_fmr": target_fmr},
        f"operating points of {_counted(thing)}, written into the card",
        f"FMR {target_fmr:g}",
        points[target_fmr]["fnmr"],
    )


def from_pairs(thing: Thing, address: str, target_fmr: float) -> Thresholds:
    """Compare every pair of the development identities' images, and take the threshold of a target for all decisions.

    A card has points for FMRs of 1e-3 and below, which few signers do not support.
    """
    arguments = (str(thing.development), "--embedder-model", thing.name, "--address", address, "--json")
    found = json.loads(told("sameface", "evaluate", "verification", *arguments))
    point = next(one for one in found["points"] if one["fmr"] == target_fmr)
    if not point["supported"]:
        raise SystemExit(
            f"{_counted(thing)} support an FMR of {found['supported_fmr']['lowest']:.2g}, and {target_fmr:g} was "
            "asked for; give more signers"
        )
    threshold = point["threshold"]
    policy = {"verify_threshold": threshold, "identify_threshold": threshold}
    measured_on = f"every pair of {_counted(thing)}, written into the policy"
    return Thresholds(policy, measured_on, f"FMR {target_fmr:g}", point["fnmr"]["value"])


def _counted(thing: Thing) -> str:
    photos = read_labelled(thing.development).photos
    return f"{len(set(photos.values())):,} development identities ({len(photos):,} images)"
