"""Opens an ONNX file in OpenVINO, with the interface of an ONNX Runtime session.

The extra ``openvino`` installs it. Nothing here is imported unless a model of `face_embedder_openvino` is used.
"""

import functools
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from sameface.errors import RuntimeMissing
from sameface.inference.base import Tensor, Tensors

PRECISION = "f32"
"""Precision of whatever is not quantised. By itself OpenVINO takes bf16 on processors that have it, and an embedding
then differs from the card's (cosine 0.9997)."""


class _Output(NamedTuple):
    name: str


class OpenVinoSession:
    """A model in OpenVINO that several threads may run at a time, each with a request of its own.

    The images of a batch run one after the other. Together they would take 0.93 of the time (of the quantised version
    0.7 to 0.8), but OpenVINO prepares itself for each size of a batch when it first comes: that takes longer than the
    batch, and up to 240 MiB for ever.
    """

    def __init__(self, model: Path | bytes, threads: int = 1, requests: int = 1, precision: str = PRECISION) -> None:
        """Compile an ONNX file or its bytes for the CPU: ``requests`` at a time with ``threads`` each.

        Raises:
            RuntimeMissing: OpenVINO is not installed.
        """
        core = core_of(import_openvino())
        read = core.read_model(model if isinstance(model, bytes) else str(model))
        options = {
            "INFERENCE_PRECISION_HINT": precision,
            "NUM_STREAMS": requests,
            "INFERENCE_NUM_THREADS": requests * threads,
            # Pinned, the threads of several processes would share the first cores.
            "ENABLE_CPU_PINNING": False,
            # Activations before weights of 8 bits would be rounded too, and kernels for that need AVX-512.
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
        }
        self._compiled = core.compile_model(read, "CPU", options)
        # Asked once: each question crosses into C++, and a call takes only some milliseconds.
        self._inputs = {
            port.any_name: (
                np.dtype(port.element_type.to_dtype()),
                tuple(size.get_length() for size in tuple(port.partial_shape)[1:]),
            )
            for port in self._compiled.inputs
        }
        self._outputs = [_Output(port.any_name) for port in self._compiled.outputs]
        self._request = threading.local()

    def get_outputs(self) -> list[_Output]:
        """Return the outputs in order; each has a ``name``."""
        return self._outputs

    def run(self, outputs: Sequence[str] | None, inputs: Tensors) -> list[Tensor]:
        """Return the outputs of these names, or all, in the model's order; otherwise as ONNX Runtime does.

        Raises:
            ValueError: the model does not accept the name, shape or data type of a tensor.
        """
        self._check(inputs)
        if not hasattr(self._request, "own"):
            self._request.own = self._compiled.create_infer_request()
        size = len(next(iter(inputs.values())))
        each = [self._run_one({name: values[at : at + 1] for name, values in inputs.items()}) for at in range(size)]
        places = [place for place, one in enumerate(self._outputs) if outputs is None or one.name in outputs]
        return [each[0][place] if size == 1 else np.concatenate([one[place] for one in each]) for place in places]

    def _run_one(self, inputs: Tensors) -> Sequence[Tensor]:
        found: Sequence[Tensor] = self._request.own.infer(dict(inputs), share_inputs=True).to_tuple()
        return found

    def _check(self, inputs: Tensors) -> None:
        if inputs.keys() != self._inputs.keys():
            raise ValueError(f"inputs {sorted(inputs)}; expected {sorted(self._inputs)}")
        for name, values in inputs.items():
            datatype, shape = self._inputs[name]
            if values.dtype != datatype or values.ndim == 0 or len(values) == 0 or values.shape[1:] != shape:
                raise ValueError(f"{name} is {values.dtype} {values.shape}; expected {datatype} (N, {shape})")


@functools.cache
def core_of(openvino: ModuleType) -> Any:
    """Return the one ``Core`` of the module `openvino` in this process.

    It stays until the process ends. OpenVINO gives the thread that loads its CPU plugin another stack for signals, and
    frees it with the last user of the plugin, in whatever thread that is. The next signal to the first thread would
    then end the process.
    """
    core = openvino.Core()
    core.get_property("CPU", "FULL_DEVICE_NAME")  # loads the plugin
    return core


def import_openvino() -> Any:
    """Return the module `openvino`.

    Raises:
        RuntimeMissing: it is not installed.
    """
    # OpenVINO reports its import and the computer's kind to its maker through this package. Without it, it does not.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None forbids an import
    try:
        import openvino
    except ImportError as error:
        raise RuntimeMissing(
            f"OpenVINO cannot be imported ({error}), but face_embedder_openvino runs in it; install it with "
            "pip install 'sameface[openvino]', let a Triton run the models, or choose --embedder-runtime onnxruntime",
            metadata={"package": "openvino"},
        ) from error
    return openvino
