"""Models in the process of the service, in ONNX Runtime."""

import sys
from pathlib import Path

import numpy as np
import pytest

from sameface.errors import RuntimeMissing
from sameface.inference.onnx import OnnxInference


async def test_where_onnx_runtime_is_not_installed_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # None forbids an import
    # The image without ONNX Runtime holds no ONNX files either: which of the two is missing is not the same.
    inference = OnnxInference(tmp_path)
    with pytest.raises(RuntimeMissing, match=r"--triton-url.*sameface-onnx.*pip install 'sameface\[server\]'"):
        await inference.run("face_detector", 1, {"images": np.zeros(1)})
    await inference.aclose()
