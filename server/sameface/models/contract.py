"""Tensor contracts. All versions of a model share one, because a Triton config applies to all versions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from sameface.errors import ModelCheckFailed
from sameface.inference.base import FloatArray
from sameface.inference.cards import EMBEDDER, PAD, ModelCard, golden_input
from sameface.inference.onnx import open_session

# The newest that ONNX Runtime 1.19 loads, the one of the Triton image.
NEWEST_OPSET, NEWEST_IR = 21, 10
# fp32 and the order of summation in a batch change only the last digits.
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class TensorContract:
    """Input ``images`` UINT8 [N, *shape]; one output FP32 [N,size]."""

    model: str
    shape: tuple[int, int, int]
    """Channels, height and width of an image."""
    output: str
    size: int
    unit_norm: bool

    @property
    def input_signature(self) -> str:
        """Name, type and shape of the input."""
        return f"images UINT8 [N,{','.join(map(str, self.shape))}]"

    @property
    def output_signature(self) -> str:
        """Name, type and shape of the output."""
        return f"{self.output} FLOAT [N,{self.size}]"


FACE_EMBEDDER = TensorContract(EMBEDDER, (3, 112, 112), "embedding", 128, unit_norm=True)
FACE_PAD = TensorContract(PAD, (3, 128, 128), "logits", 2, unit_norm=False)
"""Logit 0: bona fide presentation, logit 1: presentation attack. Their softmax is the score."""


def contract_of(card: ModelCard) -> TensorContract:
    """Return the tensor contract that an embedder's card states."""
    channels, height, width = card.input.shape[1:]
    return TensorContract(
        card.model, (channels, height, width), card.output.name, card.output.shape[-1], unit_norm=True
    )


def check_tensor_contract(content: bytes, contract: TensorContract = FACE_EMBEDDER) -> None:
    """Check that an ONNX file may be served as a version of a model.

    The output must be finite, and of unit norm if the contract says so. An image in a batch must have the same output
    as the image alone. Opset ≤ 21, IR ≤ 10, only operators of ONNX, one file.

    Raises:
        ModelCheckFailed: the file breaks the contract. The message says what was found and what is expected.
    """
    try:
        _check(content, contract)
    except _Broken as broken:
        found, expected = broken.args
        raise ModelCheckFailed(
            f"the file does not keep the tensor contract of {contract.model}: found {found}; expected {expected}",
            metadata={"found": found, "expected": expected},
        ) from broken.__cause__


class _Broken(Exception):
    """What was found and what is expected."""


def _check(content: bytes, contract: TensorContract) -> None:
    try:
        model = onnx.load_from_string(content)
    except DecodeError as error:
        raise _Broken("a file that is not ONNX", "an ONNX file") from error
    if not model.graph.node:
        raise _Broken("no graph", "an ONNX file with a graph")
    _check_format(model)
    _check_signature(model.graph, contract)
    try:
        session = open_session(content, threads=1)
    except Exception as error:  # ONNX Runtime's exception types are private
        raise _Broken(f"a file that ONNX Runtime does not load ({error})", "a file that ONNX Runtime loads") from error
    _check_numbers(session, contract)


def _check_format(model: onnx.ModelProto) -> None:
    if model.ir_version > NEWEST_IR:
        raise _Broken(f"IR {model.ir_version}", f"IR {NEWEST_IR} or below")
    for entry in model.opset_import:
        if entry.domain not in ("", "ai.onnx"):
            raise _Broken(f"operators of {entry.domain}", "only operators of ONNX")
        if entry.version > NEWEST_OPSET:
            raise _Broken(f"opset {entry.version}", f"opset {NEWEST_OPSET} or below")
    external = [tensor.name for tensor in model.graph.initializer if tensor.external_data]
    if external:
        raise _Broken(f"{len(external)} weights in another file", "every weight in this file")


def _check_signature(graph: onnx.GraphProto, contract: TensorContract) -> None:
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [_signature(entry) for entry in graph.input if entry.name not in constants]
    if inputs != [contract.input_signature]:
        raise _Broken(f"input {', '.join(inputs) or 'none'}", contract.input_signature)
    outputs = list(map(_signature, graph.output))
    if outputs != [contract.output_signature]:
        raise _Broken(f"output {', '.join(outputs) or 'none'}", contract.output_signature)


def _signature(entry: onnx.ValueInfoProto) -> str:
    """Return name, type and shape of a tensor. A free batch dimension is N."""
    tensor = entry.type.tensor_type
    first, *others = [
        str(size.dim_value) if size.HasField("dim_value") else (size.dim_param or "?") for size in tensor.shape.dim
    ] or ["?"]
    batch = first if first.isdecimal() else "N"
    return f"{entry.name} {onnx.TensorProto.DataType.Name(tensor.elem_type)} [{','.join((batch, *others))}]"


def _check_numbers(session: Any, contract: TensorContract) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (2, *contract.shape), np.uint8)
    images = np.concatenate([golden_input((1, *contract.shape)), np.zeros_like(noise[:1]), noise])
    together = _run(session, images, contract)
    if not np.isfinite(together).all():
        raise _Broken("numbers that are not finite", "finite numbers for every image")
    norms = np.linalg.norm(together, axis=1)
    if contract.unit_norm and (worst := _beyond(norms - 1.0)):
        raise _Broken(f"a norm of {norms[worst[0]]:.6g}", "embeddings of unit norm")
    alone = np.concatenate([_run(session, image[np.newaxis], contract) for image in images])
    if _beyond((np.abs(together - alone) / np.maximum(1.0, np.abs(together))).max(axis=1)):
        raise _Broken(
            f"{contract.output} that differs by {np.abs(together - alone).max():.2g} in a batch",
            f"the same {contract.output} for an image in a batch and alone",
        )


def _run(session: Any, images: np.ndarray[Any, Any], contract: TensorContract) -> FloatArray:
    try:
        (output,) = session.run(None, {"images": images})
    except Exception as error:  # ONNX Runtime's exception types are private
        raise _Broken(f"an error for {len(images)} images ({error})", "an output for every batch") from error
    if output.shape != (len(images), contract.size):
        raise _Broken(f"an output of {output.shape} for {len(images)} images", f"({len(images)}, {contract.size})")
    answer: FloatArray = output
    return answer


def _beyond(differences: np.ndarray[Any, Any]) -> Sequence[int]:
    """Return the positions of differences above the tolerance, and of numbers that are not finite."""
    return [int(position) for position in np.flatnonzero(~(np.abs(differences) <= TOLERANCE))]
