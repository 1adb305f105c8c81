"""Writes ONNX graphs with the same bytes on every machine."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sameface.errors import ModelCheckFailed

# ONNX Runtime 1.19, the one of the Triton image, loads opset ≤ 21 and IR ≤ 10. Our graphs need no more than these.
OPSET = 17
IR_VERSION = 8
LARGEST_HALF = float(np.finfo(np.float16).max)


class GraphWriter:
    """Collects nodes and constants in order. The caller chooses all names, so the bytes are deterministic."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, NDArray[Any]] = {}

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add a constant and return its name. Floats become fp32."""
        self._constants[name] = np.ascontiguousarray(values, dtype=np.float32 if values.dtype.kind == "f" else None)
        return name

    def half_constant(self, name: str, values: NDArray[Any]) -> str:
        """Add a constant that is stored in half precision and cast to fp32 in the graph. Return its fp32 name.

        Raises:
            ModelCheckFailed: a value is not finite, or above 65504, the largest number of half precision.
        """
        largest = float(np.max(np.abs(values), initial=0.0))
        if not largest <= LARGEST_HALF:
            raise ModelCheckFailed(
                f"{name} has the value {largest:g}; half precision holds only finite numbers up to {LARGEST_HALF:g}; "
                "store it in single precision",
                metadata={"constant": name},
            )
        stored = f"{name}_half"
        self._constants[stored] = np.ascontiguousarray(values, dtype=np.float16)
        return self.node("Cast", [stored], name, to=TensorProto.FLOAT)

    def node(self, op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node with one output and return the output's name."""
        self._nodes.append(helper.make_node(op_type, inputs, [output], name=output, **attributes))
        return output

    def model(self, image_shape: list[int | str], output: str, output_shape: list[int | str]) -> bytes:
        """Return the ONNX file, with one UINT8 input ``images`` and one FP32 output."""
        graph = helper.make_graph(
            self._nodes,
            self._name,
            [helper.make_tensor_value_info("images", TensorProto.UINT8, image_shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, output_shape)],
            [numpy_helper.from_array(values, name) for name, values in self._constants.items()],
        )
        model = helper.make_model(
            graph,
            producer_name="sameface",
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
        )
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))
