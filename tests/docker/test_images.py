"""The files of the images: linted, and their commands run here as far as possible without Docker."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sameface.client import Client
from sameface.models.source import fetch_wheel
from sameface.settings import Settings, cache_folder
from tests.docker import helm
from tools.pin_images import FILES, pinned

# Installing and building the models takes minutes on a busy machine.
pytestmark = pytest.mark.timeout(600)

DOCKER = Path("docker")


def dockerfile() -> str:
    return (DOCKER / "Dockerfile").read_text()


def stage(name: str) -> str:
    return next(part for part in re.split(r"^FROM ", dockerfile(), flags=re.M) if f" AS {name}\n" in part)


def instruction(stage_name: str, keyword: str) -> Any:
    text = re.sub(r"\\\n\s*", "", stage(stage_name))
    return json.loads(next(line.removeprefix(keyword) for line in text.splitlines() if line.startswith(keyword)))


def environment(stage_name: str) -> dict[str, str]:
    text = re.sub(r"\\\n\s*", "", stage(stage_name))
    line = next(line for line in text.splitlines() if line.startswith("ENV "))
    return dict(re.findall(r"(\w+)=(\S+)", line))


def test_hadolint_has_nothing_to_say() -> None:
    command = [str(Path(sys.executable).with_name("hadolint")), str(DOCKER / "Dockerfile")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")


def test_no_image_runs_as_root() -> None:
    for name in ("service", "triton"):
        assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", stage(name), re.M)


@pytest.mark.parametrize(("name", "base"), [("packages", "PYTHON_IMAGE"), ("triton", "TRITON_IMAGE")])
@pytest.mark.parametrize(
    ("image", "allowed", "built"),
    [
        (f"python:3.12@sha256:{'a' * 64}", "false", True),
        ("python:3.12", "false", False),
        ("true:3.12", "false", False),
        ("python:3.12", "", False),
        ("python:3.12", "true", True),
    ],
)
def test_nothing_is_built_from_an_image_without_a_digest(
    name: str, base: str, image: str, allowed: str, built: bool
) -> None:
    text = re.sub(r"\\\n\s*", "", stage(name))
    first = next(line for line in text.splitlines() if line.startswith(("RUN ", "COPY ")))
    variables = {base: image, "ALLOW_UNPINNED": allowed}
    ran = subprocess.run(["sh", "-c", first.removeprefix("RUN ")], env=variables, capture_output=True, text=True)
    assert (ran.returncode == 0) is built
    assert built or f"{image} has no digest; run make pin-images" in ran.stderr


def test_every_image_by_another_maker_is_one_that_gets_a_digest() -> None:
    digest = "sha256:" + "c" * 64
    asked: list[str] = []

    def answer(image: str) -> str:
        asked.append(image)
        return digest

    for file in FILES:
        text = file.read_text()
        once = pinned(text, answer)
        assert pinned(once, answer) == once
        for image in re.findall(r"^ARG \w+_IMAGE=(.*)$|^ *image: (.*)$", once, re.M):
            (named,) = filter(None, image)
            assert named.startswith("sameface") or re.fullmatch(rf"[^@ ]+:v?\d+\.\d+[^@ ]*@{digest}", named)
    assert {image.partition(":")[0] for image in asked} == {"python", "nvcr.io/nvidia/tritonserver", "qdrant/qdrant"}
    # Nothing else is fetched: stages build on these or on each other.
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", dockerfile(), re.M)
    names = {name for _, name in stages}
    assert {base for base, _ in stages} <= {"${PYTHON_IMAGE}", "${TRITON_IMAGE}", *names}
    assert set(re.findall(r"--from=(\S+)", dockerfile())) <= names
    assert not re.search(r"^# *syntax=", dockerfile(), re.M)


def copied(stage_name: str) -> list[str]:
    """The paths of the build context that a stage copies."""
    lines = re.findall(r"^COPY (?!--from)(.*) \S+$", stage(stage_name), re.M)
    return [path for line in lines for path in line.split()]


def test_the_build_context_holds_what_the_build_copies_and_nothing_else() -> None:
    kept = {line[1:] for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    needed = {path for name in re.findall(r" AS (\S+)$", dockerfile(), re.M) for path in copied(name)}
    assert {"requirements" if path.startswith("requirements/") else path for path in needed} == kept
    assert all(Path(path).exists() for path in needed)


def test_a_change_of_code_leaves_the_packages_as_they_are() -> None:
    for name in ("packages", "onnx"):
        assert not {"server", "plugins", "model_repository", "pyproject.toml"} & set(copied(name))
    layers = re.findall(r"^COPY .*$", stage("service"), re.M)
    assert layers[-1] == "COPY --from=code /opt/sameface/code /opt/sameface/venv"
    assert layers[0] == "COPY --from=packages /opt/sameface/venv /opt/sameface/venv"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stages' commands make, in another folder and put together as the image without Triton is."""
    target = tmp_path_factory.mktemp("image") / "sameface"
    weights = fetch_wheel(cache_folder()).parent
    local = {"PYTHON": sys.executable, "PIP_FIND_LINKS": str(weights), "PIP_COMPILE": "0"}
    steps = re.findall(r"^RUN (docker/install\.sh) (\S+) /opt/sameface$", dockerfile(), re.M)
    for command, step in steps:
        subprocess.run([command, step, str(target)], check=True, env={**os.environ, **local})
    layers = [
        found
        for name in ("service", "service-onnx")
        for found in re.findall(r"^COPY --from=\S+ /opt/sameface/(\S+) /opt/sameface/(\S+)$", stage(name), re.M)
    ]
    for source, place in layers:
        if source != place:
            shutil.copytree(target / source, target / place, dirs_exist_ok=True, symlinks=True)
    return target


def in_the_image(installed: Path, data: Path, **operator: str) -> dict[str, str]:
    """The environment of a container, with this machine's paths in the image's defaults."""
    defaults = installed / "defaults.toml"
    assert "COPY docker/defaults.toml /opt/sameface/defaults.toml" in stage("service")
    text = (DOCKER / "defaults.toml").read_text()
    defaults.write_text(text.replace("/opt/sameface", str(installed)).replace('"/data"', json.dumps(str(data))))
    assert environment("service")["SAMEFACE_DEFAULTS"] == "/opt/sameface/defaults.toml"
    assert environment("service")["PYTHONPYCACHEPREFIX"] == "/opt/sameface/bytecode"
    path = f"{installed}/venv/bin:/usr/bin:/bin"
    python = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(installed / "bytecode")}
    return {"PATH": path, "SAMEFACE_DEFAULTS": str(defaults), **python, **operator}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def notes(port: int) -> str:
    values = {"service": {"port": port}, "triton": {"enabled": False}}
    text: str = helm.Chart.load("docker/chart").render(values=values, name="mine")["sameface/templates/NOTES.txt"]
    return text


def test_what_is_installed_serves_from_outside_the_checkout(installed: Path, tmp_path: Path, portraits: Path) -> None:
    port = free_port()
    # As in the chart: every setting in the environment.
    variables = {"SAMEFACE_INFERENCE": "onnx", "SAMEFACE_LISTEN": f"0.0.0.0:{port}", "SAMEFACE_ALLOW_PLAINTEXT": "true"}
    served = in_the_image(installed, tmp_path / "data", **variables)
    command = [*instruction("service", "ENTRYPOINT "), *instruction("service", "CMD ["[:4]), "--json"]
    check = instruction("service", "HEALTHCHECK --interval=10s --timeout=5s --start-period=90s CMD ")
    with subprocess.Popen(command, cwd=tmp_path, env=served, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["address"] == f"0.0.0.0:{port}"
        healthy = subprocess.run(check, env=served, capture_output=True, text=True, check=False)
        with Client(f"127.0.0.1:{port}") as client:
            found = client.detect(portraits / "barack_obama.jpg")
            maps = {f"{one.old_version}-{one.new_version}" for one in client.server_info().template_maps}
        advised = re.findall(r"exec statefulset/mine -- (.*)$", notes(port), re.M)
        for each in advised:
            ran = subprocess.run(shlex.split(each), env=served, capture_output=True, text=True, check=False)
            assert ran.returncode == 0, f"{each}: {ran.stderr}"
        process.terminate()
        assert process.wait(30) == 0
    assert len(advised) == 2
    assert (healthy.returncode, healthy.stdout.strip()) == (0, "SERVING")
    assert len(found.faces) == 1
    assert maps == {path.parent.name for path in Path("model_repository/face_embedder/maps").glob("*/map.npz")} != set()
    gone = subprocess.run(check, env=served, capture_output=True, text=True, check=False)
    assert gone.returncode == 3
    assert f"127.0.0.1:{port}" in gone.stdout


def test_the_operators_file_wins_over_what_the_image_sets(installed: Path, tmp_path: Path) -> None:
    file = tmp_path / "sameface.toml"
    file.write_text('listen = "0.0.0.0:6000"\ndata_dir = "/templates"\n')
    served = in_the_image(installed, tmp_path / "data", SAMEFACE_CONFIG=str(file), SAMEFACE_MAX_REQUESTS="3")
    show = ["sameface", "serve", "--print-config"]
    result = subprocess.run(show, env=served, capture_output=True, text=True, check=True, cwd=tmp_path)
    settings = json.loads(result.stdout)
    assert (settings["listen"], settings["data_dir"], settings["max_requests"]) == ("0.0.0.0:6000", "/templates", 3)
    assert settings["model_repository"] == str(installed / "model_repository")
    check = instruction("service", "HEALTHCHECK --interval=10s --timeout=5s --start-period=90s CMD ")
    asked = subprocess.run(check, env=served, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "127.0.0.1:6000" in asked.stdout


def test_the_environment_of_the_image_holds_no_setting() -> None:
    assert set(environment("service")) == {
        "PATH",
        "PYTHONUNBUFFERED",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONPYCACHEPREFIX",
        "SAMEFACE_DEFAULTS",
        "ORT_DISABLE_TELEMETRY",
    }


def test_an_image_holds_what_it_runs(installed: Path) -> None:
    (packages,) = (installed / "venv").glob("lib/python*/site-packages")
    names = {path.name for path in packages.iterdir()}
    assert {"sameface", "sameface_qdrant", "cv2", "onnxruntime"} <= names
    assert not names & {"pip", "matplotlib", "sameface_train", "torch"}
    assert not [path for path in installed.glob("venv/bin/*") if path.name.startswith(("pip", "sameface-train"))]
    assert not [*packages.rglob("*.pyc"), *packages.rglob("tests"), *packages.rglob("libonnxruntime.so*")]
    # Entry points without their program would fail at their call.
    told = [path for path in packages.glob("sameface-*/*") if path.is_file()]
    assert not [path for path in told if re.search("sameface.train", path.read_text())]
    # The service with a Triton reads the cards alone.
    assert not list((installed / "models" / "cards").rglob("*.onnx"))
    assert not list((installed / "model_repository" / "face_embedder_openvino").rglob("*.onnx"))


NOT_COMPILED = """
import os, sys
import sameface.service
modules = list(sys.modules.values())
print(*sorted(name for module in modules if (name := getattr(module, "__cached__", None)) and not os.path.exists(name)))
"""


def test_a_start_compiles_nothing(installed: Path, tmp_path: Path) -> None:
    command = [str(installed / "venv" / "bin" / "python"), "-c", NOT_COMPILED]
    served = in_the_image(installed, tmp_path / "data")
    ran = subprocess.run(command, env=served, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []


def test_the_models_that_triton_serves_are_a_whole_repository(installed: Path) -> None:
    assert "COPY --from=models /opt/sameface/models/triton-${EMBEDDER_RUNTIME} /models" in stage("triton")
    served = {"onnxruntime": {"face_detector", "face_embedder"}}
    served["openvino"] = served["onnxruntime"] | {"face_embedder_openvino"}
    for runtime, names in served.items():
        models = installed / "models" / f"triton-{runtime}"
        assert {path.name for path in models.iterdir() if path.is_dir()} == names
        for model in names:
            assert (models / model / "config.pbtxt").is_file()
            assert (models / model / "1" / "model.onnx").is_file()
        assert not [*models.rglob("*.py"), *models.rglob("weights.onnx")]


def test_triton_is_started_with_flags_that_it_knows() -> None:
    from sameface.inference.local.runtime import require_runtime

    runtime = require_runtime(cache_folder())
    result = subprocess.run(
        [runtime.server, "--help"], env=runtime.environment(), capture_output=True, text=True, check=False
    )
    known = set(re.findall(r"--[a-z-]+", result.stdout + result.stderr))
    flags = instruction("triton", "CMD ")
    assert flags[0] == "tritonserver"
    assert {flag.partition("=")[0] for flag in flags[1:]} <= known


def test_compose_names_the_images_and_stages_that_exist() -> None:
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    services = compose["services"]
    for name in ("service", "triton"):
        build = services[name]["build"]
        assert (DOCKER / build["context"] / build["dockerfile"]).is_file()
        assert f" AS {build['target']}\n" in dockerfile()
        assert services[name]["read_only"] is True
    settings = services["service"]["environment"]
    assert settings["SAMEFACE_TRITON_URL"].partition(":")[0] in services
    assert re.fullmatch(r"http://(\w+):6334", settings["SAMEFACE_QDRANT_URL"])[1] in services  # type: ignore[index]
    for service in services.values():
        assert service["cap_drop"] == ["ALL"]
    major, minor = re.search(r":v(\d+)\.(\d+)", services["qdrant"]["image"]).groups()  # type: ignore[union-attr]
    assert (int(major), int(minor)) >= (1, 17)


MIB = 1 << 20
SIZES = {"Mi": MIB, "Gi": 1024 * MIB, "m": MIB, "g": 1024 * MIB}


def in_bytes(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(\w+)", quantity).groups()  # type: ignore[union-attr]
    return int(number) * SIZES[unit]


@pytest.mark.parametrize("where", ["chart", "compose"])
def test_the_worst_that_requests_can_ask_for_fits_the_memory_limit(where: str) -> None:
    if where == "chart":
        values = yaml.safe_load((DOCKER / "chart" / "values.yaml").read_text())["service"]
        settings, limit = values["env"], values["resources"]["limits"]["memory"]
    else:
        service = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]["service"]
        settings, limit = service["environment"], service["mem_limit"]
    # The calculation of docs/deployment.md.
    threads, streams = int(settings["SAMEFACE_VISION_THREADS"]), int(settings["SAMEFACE_MAX_STREAMS"])
    needed = (512 + 384 * threads + 288) * MIB + streams * 2 * Settings().max_message_bytes
    needed += 6 * int(settings["SAMEFACE_MAX_REQUEST_BYTES"]) + int(settings["SAMEFACE_MAX_ARRIVING_BYTES"])
    needed += 3 * int(settings["SAMEFACE_MAX_UNREAD_BYTES"])
    assert needed <= in_bytes(limit)
    assert f"{needed // MIB} MiB" in Path("docs/deployment.md").read_text()
