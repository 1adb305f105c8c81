"""What the images are made of: linted, and their own commands run here as far as they go without an engine."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sameface.client import Client

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


def test_no_image_runs_as_root_and_every_image_is_pinned() -> None:
    for name in ("service", "triton"):
        assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", stage(name), re.M)
    for image in re.findall(r"^ARG \w+_IMAGE=(\S+)", dockerfile(), re.M):
        assert re.search(r":\d+\.\d+", image), image


def test_the_build_context_holds_what_the_build_copies_and_nothing_else() -> None:
    kept = {line[1:] for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {"docker/install.sh", "server", "plugins", "model_repository", "pyproject.toml", "constraints.txt"} <= kept
    assert all(Path(path).exists() for path in kept)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the build stage makes, by its own command, in another folder."""
    target = tmp_path_factory.mktemp("image") / "sameface"
    (command,) = re.findall(r"^RUN (docker/install\.sh) /opt/sameface$", stage("build"), re.M)
    subprocess.run([command, str(target)], check=True, env={**os.environ, "PYTHON": sys.executable})
    return target


def test_what_is_installed_serves_from_outside_the_checkout(installed: Path, tmp_path: Path, portraits: Path) -> None:
    assert not list((installed / "venv").rglob("onnx/__init__.py"))
    served = {
        name: value.replace("/opt/sameface", str(installed)).replace("/data", str(tmp_path / "data"))
        for name, value in environment("service").items()
        if name.startswith("SAMEFACE_")
    }
    served |= {
        "SAMEFACE_INFERENCE": "onnx",
        "SAMEFACE_LISTEN": "127.0.0.1:0",
        "PATH": f"{installed}/venv/bin:/usr/bin:/bin",
    }
    command = [*instruction("service", "ENTRYPOINT "), *instruction("service", "CMD ["[:4]), "--json"]
    with subprocess.Popen(command, cwd=tmp_path, env=served, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = json.loads(process.stdout.readline())["address"]
        check = instruction("service", "HEALTHCHECK --interval=10s --timeout=5s --start-period=90s CMD ")
        check[check.index("--address") + 1] = address
        healthy = subprocess.run(check, env=served, capture_output=True, text=True, check=False)
        with Client(address) as client:
            found = client.detect(portraits / "barack_obama.jpg")
        process.terminate()
        assert process.wait(30) == 0
    assert (healthy.returncode, healthy.stdout.strip()) == (0, "SERVING")
    assert len(found.faces) == 1
    gone = subprocess.run(check, env=served, capture_output=True, text=True, check=False)
    assert gone.returncode == 3


def test_the_models_that_triton_serves_are_a_whole_repository(installed: Path) -> None:
    assert "COPY --from=build /opt/sameface/model_repository /models" in stage("triton")
    for model in ("face_detector", "face_embedder"):
        assert (installed / "model_repository" / model / "config.pbtxt").is_file()
        assert (installed / "model_repository" / model / "1" / "model.onnx").is_file()
    assert not list((installed / "model_repository").rglob("*.py"))


def test_triton_is_started_with_flags_that_it_knows() -> None:
    from sameface.inference.local.runtime import require_runtime
    from sameface.settings import cache_folder

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
    settings = services["service"]["environment"]
    assert settings["SAMEFACE_TRITON_URL"].partition(":")[0] in services
    assert re.fullmatch(r"http://(\w+):6334", settings["SAMEFACE_QDRANT_URL"])[1] in services  # type: ignore[index]
    for service in services.values():
        assert service["cap_drop"] == ["ALL"]
    major, minor = re.search(r":v(\d+)\.(\d+)", services["qdrant"]["image"]).groups()  # type: ignore[union-attr]
    assert (int(major), int(minor)) >= (1, 17)
