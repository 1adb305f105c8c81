"""`make images`: builds the images, looks at what they hold, runs them, and runs the compose file.

Needs docker, or podman with buildah, and a compose. PYTHON_IMAGE, TRITON_IMAGE and QDRANT_IMAGE of the environment
stand in for images that cannot be pulled; the report says which. IMAGES_BUILD_OPTIONS are further options of the build.
"""

import argparse
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.conftest import ROOT
from tests.images.composed import ADDRESS, Compose, start_ask_restart_stop
from tests.images.contents import cost_of_a_check, look_inside, running
from tests.images.engine import Engine, Failed, Layer, find_engine

TAGS = {"service": "sameface:images", "service-onnx": "sameface-onnx:images", "triton": "sameface-triton:images"}
CONTEXT = (
    "docker",
    "plugins",
    "server",
    "model_repository",
    "requirements",
    "tools",
    "pyproject.toml",
    "LICENSE",
    "README.md",
)
MOST_BYTES = 327_500_000
"""Of the layers of our own, in the image of a service with a Triton. Half of the 655 MB that they were."""


def bases(engine: Engine) -> dict[str, str]:
    """Return the images to build on and to run, and print which stand in for others.

    Raises:
        Failed: one can neither be pulled nor is named.
    """
    text = (ROOT / "docker" / "Dockerfile").read_text() + (ROOT / "docker" / "compose.yaml").read_text()
    real = dict(re.findall(r"^ARG (\w+_IMAGE)=(\S+)$", text, re.M))
    (real["QDRANT_IMAGE"],) = re.findall(r"^ *image: (qdrant/\S+)$", text, re.M)
    found = {}
    for name, image in real.items():
        if stand_in := os.environ.get(name):
            print(f"NOT {image}: {stand_in} stands in for it")
            found[name] = stand_in
        elif engine.has(image):
            found[name] = image
        elif name == "QDRANT_IMAGE":
            print(f"NOT RUN: {image} cannot be pulled and QDRANT_IMAGE is not set; the service uses its own store")
        else:
            raise Failed(f"{image} cannot be pulled; set {name} to an image that stands in for it")
    return found


def build(engine: Engine, context: Path, arguments: dict[str, str]) -> float:
    """Build every image and return how many seconds it took."""
    began = time.monotonic()
    for target, tag in TAGS.items():
        engine.build(context, target, tag, arguments)
    return time.monotonic() - began


def copy_of_the_repository(folder: Path) -> Path:
    """Return a copy of what images are built from, to be changed."""
    unwanted = shutil.ignore_patterns("__pycache__", "model.onnx")
    for name in CONTEXT:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=unwanted)
        else:
            shutil.copy2(source, folder / name)
    return folder


def own_layers(engine: Engine, image: str, base: str) -> list[Layer]:
    """Return the layers that an image adds to another.

    Raises:
        Failed: it does not build on the other.
    """
    below, layers = engine.layers(base), engine.layers(image)
    if [layer.digest for layer in layers[: len(below)]] != [layer.digest for layer in below]:
        raise Failed(f"{image} does not build on {base}")
    return layers[len(below) :]


def check_layers(engine: Engine, context: Path, arguments: dict[str, str]) -> None:
    """Print the layers; change a line of code, build again, and check that only the last two layers are other ones.

    Raises:
        Failed: there is more in them than there should be, or more changes than the code.
    """
    before = {target: own_layers(engine, tag, arguments[_base(target)]) for target, tag in TAGS.items()}
    for target, layers in before.items():
        print(f"{target}: {sum(layer.size for layer in layers) / 1e6:.0f} MB in {len(layers)} layers of our own")
        for layer in layers:
            print(f"  {layer.size / 1e6:8.1f} MB  {layer.made_by[:90]}")
    if (size := sum(layer.size for layer in before["service"])) > MOST_BYTES:
        raise Failed(f"the layers of the service have {size} bytes; expected at most {MOST_BYTES}")
    changed = context / "server" / "sameface" / "turn.py"
    changed.write_text(changed.read_text() + "\n# A change of code.\n")
    seconds = build(engine, context, arguments)
    after = {target: own_layers(engine, tag, arguments[_base(target)]) for target, tag in TAGS.items()}
    for target in TAGS:
        other = [layer for layer in after[target] if layer.digest not in {one.digest for one in before[target]}]
        print(f"{target}, code changed: {sum(layer.size for layer in other) / 1e6:.1f} MB in {len(other)} other layers")
        if len(other) > (0 if target == "triton" else 2):
            raise Failed(f"a change of code changes these layers of {target}: {[layer.made_by for layer in other]}")
    print(f"built again after a change of code in {seconds:.0f} s")


def _base(target: str) -> str:
    return "TRITON_IMAGE" if target == "triton" else "PYTHON_IMAGE"


def run_them(engine: Engine, folder: Path, qdrant: str | None) -> None:
    """Run the images alone, then with the compose file."""
    for target in ("service", "service-onnx"):
        look_inside(engine, TAGS[target])
    alone = ("--env", "SAMEFACE_INFERENCE=onnx", "--env", "SAMEFACE_ALLOW_PLAINTEXT=true", "--network=none")
    with running(engine, TAGS["service-onnx"], *alone) as container:
        cost = cost_of_a_check(engine, container)
        print(f"a health check takes {cost * 1000:.0f} ms of processor time: every 10 s, {cost * 10:.1f} % of a core")
    compose = Compose(folder, {name: TAGS[name] for name in ("service", "triton")}, qdrant)
    for what, seconds in start_ask_restart_stop(compose):
        print(f"compose at {ADDRESS}, {what}: a call is answered after {seconds:.1f} s")


def main() -> int:
    """Return 0 where everything is as it should be, 3 where there is no engine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-build", action="store_true", help="use the images of the last run")
    arguments = parser.parse_args()
    engine = find_engine()
    if engine is None:
        print("NOT RUN: neither docker nor podman is installed", file=sys.stderr)
        return 3
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = bases(engine)
            built_from = {name: found[name] for name in ("PYTHON_IMAGE", "TRITON_IMAGE")}
            if any("@sha256:" not in image for image in built_from.values()):
                built_from["ALLOW_UNPINNED"] = "true"
            if not arguments.no_build:
                context = copy_of_the_repository(Path(folder) / "context")
                print(f"built in {build(engine, context, built_from):.0f} s")
                check_layers(engine, context, built_from)
            run_them(engine, Path(folder), found.get("QDRANT_IMAGE"))
        except Failed as failed:
            print(f"FAILED: {failed}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
