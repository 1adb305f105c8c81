"""The wheel alone in an empty environment: docs/plugin.md works there, and no heavy package is installed."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "plugin.md"
EXAMPLE = re.compile(r"```python\n(?P<code>.*?)```\n+```\n(?P<printed>.*?)```", re.S)
END = "-- the end of an example --"
HEAVY = ("onnxruntime", "cv2", "tritonclient", "torch")

CLIENT = """
import io
import numpy as np
from PIL import Image
from sameface.client import Client
from sameface.client.samples import as_sample
pixels = np.arange(48 * 64 * 3, dtype=np.uint32).reshape(48, 64, 3).astype(np.uint8)
sent = as_sample(pixels).photo
assert np.array_equal(np.asarray(Image.open(io.BytesIO(sent))), pixels)
"""


def run(*command: str | Path, cwd: Path) -> str:
    ended = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def install(python: Path, requirement: str | Path, wheels: Path) -> None:
    """Install a requirement and its declared dependencies, and nothing else, from a folder of wheels."""
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", python, "install"]
    pip += ["--quiet", "--no-compile", "--no-index", "--find-links", wheels]
    run(*pip, requirement, cwd=wheels)


@pytest.fixture(scope="session")
def wheel(wheels: Path) -> Path:
    return next(wheels.glob("sameface-*.whl"))


@pytest.fixture(scope="session")
def alone(wheel: Path, wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel, without extras and other packages."""
    folder = tmp_path_factory.mktemp("alone")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    install(python, wheel, wheels)
    return python


def absent(python: Path, modules: tuple[str, ...]) -> None:
    program = f"import importlib.util as u; print([name for name in {modules!r} if u.find_spec(name)])"
    assert run(python, "-c", program, cwd=python.parent).strip() == "[]"


def test_the_wheel_ships_its_types(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "sameface_qdrant/py.typed" in names
    assert "sameface_qdrant/blocking/store.py" in names
    assert "sameface_qdrant/calibration/report.html.j2" in names
    # The golden set and the template maps.
    arrays = {name for name in names if name.endswith(".npz")}
    assert arrays == {f"sameface/{path.relative_to(ROOT)}" for path in (ROOT / "model_repository").rglob("*.npz")}
    assert "sameface/model_repository/face_embedder/maps/1-3/map.npz" in arrays
    assert {name.replace("map.npz", "card.json") for name in arrays if "/maps/" in name} <= {*names}
    assert not [name for name in names if name.startswith("tests/")]


def test_the_examples_print_what_the_document_shows(alone: Path, tmp_path: Path) -> None:
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    absent(alone, (*HEAVY, "pydantic_settings", "typer"))
    examples = list(EXAMPLE.finditer(DOCUMENT.read_text()))
    assert len(examples) == DOCUMENT.read_text().count("```python")
    # In one process, because the imports take most of the time; no example sees the names of another one.
    codes = [example["code"] for example in examples]
    program = f"for code in {codes!r}: exec(code, {{'__name__': '__main__'}}); print({END!r})"
    printed = run(alone, "-c", program, cwd=tmp_path).split(f"{END}\n")
    assert printed == [*(example["printed"] for example in examples), ""]


def test_galleries_survive_on_disk(alone: Path, tmp_path: Path) -> None:
    program = f"""
import numpy as np
from sameface_qdrant import Contract, NewTemplate, Policy, Probe
from sameface_qdrant.blocking import Store
contract = Contract("voices", version=1, sha256="0" * 64, dimension=4, preprocessing="none")
with Store.open("edge://{tmp_path}/store") as store:
    store.galleries.create("g", contract, policy=Policy(verify_threshold=0.5))
    store.enroll("g", "ada", [NewTemplate(np.ones(4), contract)])
with Store.open("edge://{tmp_path}/store") as store:
    print(store.verify("g", "ada", Probe(np.ones(4), contract)).outcome)
"""
    assert run(alone, "-c", program, cwd=tmp_path) == "MATCH\n"


def test_the_client_extra_brings_the_client_and_nothing_heavy(
    wheel: Path, wheels: Path, alone: Path, tmp_path: Path
) -> None:
    """Last in this file, because it adds to the environment."""
    install(alone, f"{wheel}[client]", wheels)
    run(alone, "-c", CLIENT, cwd=tmp_path)
    absent(alone, HEAVY)
    absent(alone, ("typer", "rich", "platformdirs"))
    for command, extra in (("sameface", "server"), ("sameface-train", "train")):
        ended = subprocess.run([alone.with_name(command), "--help"], capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stdout) == (3, "")
        assert ended.stderr.startswith(f"{command}: ")
        assert f"pip install 'sameface[{extra}]'" in ended.stderr
        assert len(ended.stderr.splitlines()) == 1
