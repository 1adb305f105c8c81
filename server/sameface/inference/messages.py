"""Messages of Triton's ModelInfer. Pure.

All calls of a model with images of one size differ only in the pixels. So what precedes these is encoded once, and a
request is one join of it and the pixels, without a message object.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from tritonclient.grpc import service_pb2
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype

from sameface.inference.base import Tensor, Tensors
from sameface.inference.shared_inputs import Place

MOST_HEADERS = 1024
"""Photos have many shapes; a header takes some 100 bytes."""
_Described: TypeAlias = tuple[str, np.dtype[Any], tuple[int, ...], Place | None]
_LENGTH_DELIMITED = 2
_RAW = bytes([service_pb2.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER << 3 | _LENGTH_DELIMITED])


NOWHERE: Mapping[str, Place] = MappingProxyType({})


def encoded_request(
    model: str, version: int, inputs: Tensors, *, alone: bool = False, places: Mapping[str, Place] = NOWHERE
) -> bytes:
    """Return a serialized ModelInferRequest for all outputs of a model version.

    ``alone`` tells the local runtime that no other request is in work. ``places`` are of the inputs that are in shared
    memory.
    """
    shapes = tuple([(name, one.dtype, one.shape, places.get(name)) for name, one in inputs.items()])
    parts: list[bytes | memoryview] = [_header(model, version, shapes, alone)]
    for name, values in inputs.items():
        if name not in places:
            parts += (_RAW, _varint(values.nbytes), np.ascontiguousarray(values).data)
    return b"".join(parts)


def decoded_response(content: bytes) -> Mapping[str, Tensor | None]:
    """Return the outputs in a serialized ModelInferResponse; None for one whose values are missing or no numbers.

    Raises:
        DecodeError: it is no such message.
    """
    response = service_pb2.ModelInferResponse.FromString(content)
    values = response.raw_output_contents
    return {
        output.name: _tensor(output, values[index] if index < len(values) else b"")
        for index, output in enumerate(response.outputs)
    }


def _tensor(output: service_pb2.ModelInferResponse.InferOutputTensor, content: bytes) -> Tensor | None:
    shape = tuple(output.shape)
    layout = _layout(output.datatype, shape)
    if layout is None or len(content) != layout[1]:
        return None
    return np.frombuffer(content, layout[0]).reshape(shape)


@lru_cache(MOST_HEADERS)
def _layout(datatype: str, shape: tuple[int, ...]) -> tuple[np.dtype[Any], int] | None:
    """Return the type of a tensor's numbers and its bytes; None if it holds none."""
    kind = triton_to_np_dtype(datatype)
    if kind is None or np.dtype(kind).hasobject or any(side < 0 for side in shape):
        return None
    return np.dtype(kind), np.dtype(kind).itemsize * math.prod(shape)


@lru_cache(MOST_HEADERS)
def _header(model: str, version: int, tensors: tuple[_Described, ...], alone: bool) -> bytes:
    """Return the serialized request without its pixels."""
    request = service_pb2.ModelInferRequest(model_name=model, model_version=str(version))
    for name, kind, shape, place in tensors:
        described = request.inputs.add(name=name, datatype=np_to_triton_dtype(kind), shape=shape)
        if place is not None:
            described.parameters["shared_memory_region"].string_param = place.region
            described.parameters["shared_memory_offset"].int64_param = place.offset
            described.parameters["shared_memory_byte_size"].int64_param = kind.itemsize * math.prod(shape)
    if alone:
        request.parameters["alone"].bool_param = True
    header: bytes = request.SerializeToString()
    return header


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    digits.append(number)
    return bytes(digits)
