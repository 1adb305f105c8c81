"""What an image holds, how it runs without a network and with a root that is read-only, and what its check costs."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sameface.inference.cards import EMBEDDER
from sameface.inference.map_cards import FOLDER, MAP
from tests.conftest import ROOT
from tests.images.engine import Engine, Failed

DATA = ROOT / "tests" / "data"
USES = (Path(__file__).parent / "uses.py").read_text()
HARDENED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp")
MOST_CPU_S = 0.1
"""Processor time of a health check: under 1 % of a core, every 10 s."""

INSPECT = """
import importlib.util, json, os, sys, sysconfig
from pathlib import Path
packages = Path(sysconfig.get_path("purelib"))
print(json.dumps({
    "user": os.getuid(),
    "unwanted": [name for name in ("pip", "ensurepip", "matplotlib", "sameface_train", "torch", "onnx")
                 if importlib.util.find_spec(name)],
    "commands": sorted(path.name for path in Path(sys.executable).parent.glob("sameface*")),
    "beside": len(list(packages.rglob("*.pyc"))),
    "maps": sorted(path.parent.name
                   for path in Path("/opt/sameface/model_repository/face_embedder/maps").glob("*/map.npz")),
    "writable": [folder for folder in ("/opt/sameface", "/usr/local", "/etc") if os.access(folder, os.W_OK)],
}))
"""
IMPORT_ALL = """
import importlib, importlib.util, json, sys, warnings
from importlib.metadata import packages_distributions
warnings.simplefilter("ignore")
there, failed = packages_distributions(), {}
for name in sorted(there):
    # A package that was removed whole is missed by those that import it.
    if name.isidentifier() and importlib.util.find_spec(name):
        try:
            importlib.import_module(name)
        except Exception as error:
            first = error
            while first.__context__ is not None:
                first = first.__context__
            # A package that is not installed was left out on purpose: it is of an extra.
            if not (isinstance(first, ModuleNotFoundError) and (first.name or "").partition(".")[0] not in there):
                failed[name] = f"{type(error).__name__}: {error}"
print(json.dumps({"imported": len(there), "failed": failed}))
"""
"""Imports every package. The last line is what became of it."""
COST = """
import json, os, resource, subprocess, sys
def cost(*command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(command, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (ended.returncode, ended.stdout) == (0, "SERVING\\n"), ended
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
print(json.dumps(sorted(cost("sameface", "health") for _ in range(11))))
"""


def look_inside(engine: Engine, image: str) -> None:
    """Check what the image holds.

    Raises:
        Failed: it holds what no image should, a package cannot be imported, or it runs as root.
    """
    hardened = ["run", "--rm", "--network=none", *HARDENED]
    found = json.loads(engine.run(*hardened, "--entrypoint", "python", image, "-c", INSPECT))
    maps = sorted(path.parent.name for path in (ROOT / "model_repository" / EMBEDDER / FOLDER).glob(f"*/{MAP}"))
    wanted = {"user": 10001, "unwanted": [], "commands": ["sameface"], "beside": 0, "maps": maps, "writable": []}
    if found != wanted:
        raise Failed(f"{image} holds {found}; expected {wanted}")
    told = engine.run(*hardened, "--entrypoint", "python", image, "-c", IMPORT_ALL)
    if not_imported := json.loads(told.splitlines()[-1])["failed"]:
        raise Failed(f"packages of {image} cannot be imported; tools/trim.py removes too much: {not_imported}")
    photos = [base64.b64encode((DATA / "odd" / name).read_bytes()).decode() for name in ("plain.heic", "plain.avif")]
    told = engine.run(*hardened, "--entrypoint", "python", image, "-c", USES, *photos)
    if failed := json.loads(told.splitlines()[-1]):
        raise Failed(f"in {image}, these checks of tests/images/uses.py failed: {failed}")
    version = engine.run(*hardened, image, "version").strip()
    print(f"{image}: sameface {version}, runs without a network and as user {found['user']}")


@contextmanager
def running(engine: Engine, image: str, *options: str) -> Iterator[str]:
    """Run a container of an image with a read-only root until it is healthy; yield its name."""
    name = f"sameface-images-{time.time_ns()}"
    began = time.monotonic()
    engine.run("run", "--detach", "--name", name, *HARDENED, *options, image)
    try:
        wait_for(lambda: engine.run("exec", name, "sameface", "health", seconds=20))
        print(f"{image}: SERVING after {time.monotonic() - began:.1f} s")
        yield name
        engine.run("stop", "--time", "20", name)
        status = engine.run("inspect", "--format", "{{.State.ExitCode}}", name).strip()
        if status != "0":
            raise Failed(f"{image} ended with {status} at SIGTERM: {engine.run('logs', name)[-1000:]}")
    finally:
        engine.run("rm", "--force", name)


def cost_of_a_check(engine: Engine, container: str) -> float:
    """Return the processor time of one health check in a container that serves, in seconds: the median of eleven.

    Raises:
        Failed: it is more than a health check should cost.
    """
    costs: list[float] = json.loads(engine.run("exec", container, "python", "-c", COST))
    median = costs[len(costs) // 2]
    if median > MOST_CPU_S:
        raise Failed(f"a health check takes {median:.3f} s of processor time; expected at most {MOST_CPU_S}")
    return median


def wait_for(question: Callable[[], object], seconds: float = 120) -> None:
    """Ask until no error comes back.

    Raises:
        Failed: the last error, after ``seconds``.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            question()
        except Failed:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)
        else:
            return
