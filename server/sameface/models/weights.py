"""`weights.onnx`: the committed form of our weights, beside their card. `sameface model build` builds the served form.

It is plain ONNX (see `plain`) that keeps the tensor contract and can be loaded. Convolution and dense weights are
stored in half precision behind a Cast, which halves the file. Batch norms are already folded in.

The fast, served form is never stored in half precision. For a slope near 1 its constants differ by orders of magnitude,
and their rounding errors would not cancel.
"""

from collections.abc import Iterable

from sameface.models.contract import FACE_EMBEDDER, TensorContract, check_tensor_contract
from sameface.models.embedder import write_embedder
from sameface.models.folding import fold, fold_casts
from sameface.models.graph import GraphWriter
from sameface.models.layers import Layer, read_layers
from sameface.models.plain import write_plain

FILE_NAME = "weights.onnx"
LARGEST_BYTES = 20_000_000
"""Largest file to commit, because every clone of the repository contains it."""


def write_weights(layers: Iterable[Layer]) -> bytes:
    """Return the committed ONNX file of these layers, as described in the module.

    Raises:
        ModelCheckFailed: a weight is not finite, or too large for half precision.
    """
    return write_plain(layers, convolution=GraphWriter.half_constant, dense=GraphWriter.half_constant)


def build_from_weights(content: bytes, contract: TensorContract = FACE_EMBEDDER) -> bytes:
    """Return the served ONNX file of a committed one. It has the same bytes on every machine.

    A chain of convolutions for faces gets the fast form of version 1. Another backbone (residual, pooled, …) keeps its
    nodes; only its half-precision constants become fp32.

    Raises:
        ModelCheckFailed: the file does not keep the tensor contract.
    """
    check_tensor_contract(content, contract)
    layers = read_layers(fold(content)) if contract == FACE_EMBEDDER else None
    return fold_casts(content) if layers is None else write_embedder(layers)
