"""The tensor contract of `face_embedder`. All versions share it, because a Triton config applies to all versions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from sameface.errors import ModelCheckFailed
from sameface.inference.base import FloatArray
from sameface.inference.cards import golden_input
from sameface.inference.onnx import open_session

# The newest that ONNX Runtime 1.19 loads, the one of the Triton image.
NEWEST_OPSET, NEWEST_IR = 21, 10
INPUT = "images UINT8 [N,3,112,112]"
OUTPUT = "embedding FLOAT [N,128]"
# fp32 and the order of summation in a batch change only the last digits.
TOLERANCE = 1e-4


def check_tensor_contract(content: bytes) -> None:
    """Check that an ONNX file may be served as a version of `face_embedder`.

    Input ``images`` UINT8 [N,3,112,112] RGB, output ``embedding`` FP32 [N,128], finite and of unit norm. An image in a
    batch must have the same embedding as the image alone. Opset ≤ 21, IR ≤ 10, only operators of ONNX, one file.

    Raises:
        ModelCheckFailed: the file breaks the contract. The message says what was found and what is expected.
    """
    try:
        model = onnx.load_from_string(content)
    except DecodeError as error:
        raise _broken("a file that is not ONNX", "an ONNX file") from error
    if not model.graph.node:
        raise _broken("no graph", "an ONNX file with a graph")
    _check_format(model)
    _check_signature(model.graph)
    try:
        session = open_session(content, threads=1)
    except Exception as error:  # ONNX Runtime's exception types are private
        raise _broken(f"a file that ONNX Runtime does not load ({error})", "a file that ONNX Runtime loads") from error
    _check_numbers(session)


def _broken(found: str, expected: str) -> ModelCheckFailed:
    return ModelCheckFailed(
        f"the file does not keep the tensor contract of face_embedder: found {found}; expected {expected}",
        metadata={"found": found, "expected": expected},
    )


def _check_format(model: onnx.ModelProto) -> None:
    if model.ir_version > NEWEST_IR:
        raise _broken(f"IR {model.ir_version}", f"IR {NEWEST_IR} or below")
    for entry in model.opset_import:
        if entry.domain not in ("", "ai.onnx"):
            raise _broken(f"operators of {entry.domain}", "only operators of ONNX")
        if entry.version > NEWEST_OPSET:
            raise _broken(f"opset {entry.version}", f"opset {NEWEST_OPSET} or below")
    external = [tensor.name for tensor in model.graph.initializer if tensor.external_data]
    if external:
        raise _broken(f"{len(external)} weights in another file", "every weight in this file")


def _check_signature(graph: onnx.GraphProto) -> None:
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [_signature(entry) for entry in graph.input if entry.name not in constants]
    if inputs != [INPUT]:
        raise _broken(f"input {', '.join(inputs) or 'none'}", INPUT)
    outputs = list(map(_signature, graph.output))
    if outputs != [OUTPUT]:
        raise _broken(f"output {', '.join(outputs) or 'none'}", OUTPUT)


def _signature(entry: onnx.ValueInfoProto) -> str:
    """Return name, type and shape of a tensor. A free batch dimension is N."""
    tensor = entry.type.tensor_type
    first, *others = [
        str(size.dim_value) if size.HasField("dim_value") else (size.dim_param or "?") for size in tensor.shape.dim
    ] or ["?"]
    batch = first if first.isdecimal() else "N"
    return f"{entry.name} {onnx.TensorProto.DataType.Name(tensor.elem_type)} [{','.join((batch, *others))}]"


def _check_numbers(session: Any) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (2, 3, 112, 112), np.uint8)
    images = np.concatenate([golden_input((1, 3, 112, 112)), np.zeros_like(noise[:1]), noise])
    together = _run(session, images)
    if not np.isfinite(together).all():
        raise _broken("numbers that are not finite", "finite numbers for every image")
    norms = np.linalg.norm(together, axis=1)
    if worst := _beyond(norms - 1.0):
        raise _broken(f"a norm of {norms[worst[0]]:.6g}", "embeddings of unit norm")
    alone = np.concatenate([_run(session, image[np.newaxis]) for image in images])
    if worst := _beyond(np.abs(together - alone).max(axis=1)):
        raise _broken(
            f"an embedding that differs by {np.abs(together - alone).max():.2g} in a batch",
            "the same embedding for an image in a batch and alone",
        )


def _run(session: Any, images: np.ndarray[Any, Any]) -> FloatArray:
    try:
        (output,) = session.run(None, {"images": images})
    except Exception as error:  # ONNX Runtime's exception types are private
        raise _broken(f"an error for {len(images)} images ({error})", "an output for every batch") from error
    if output.shape != (len(images), 128):
        raise _broken(f"an output of {output.shape} for {len(images)} images", f"({len(images)}, 128)")
    answer: FloatArray = output
    return answer


def _beyond(differences: np.ndarray[Any, Any]) -> Sequence[int]:
    """Return the positions of differences above the tolerance, and of numbers that are not finite."""
    return [int(position) for position in np.flatnonzero(~(np.abs(differences) <= TOLERANCE))]
