"""What is sent to Triton is the message that its protos describe, and what comes back is read with care."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tritonclient.grpc import service_pb2
from tritonclient.utils import np_to_triton_dtype

from sameface.inference import messages, shared_inputs
from sameface.inference.messages import decoded_response, encoded_request
from sameface.inference.shared_inputs import Place, SharedInputs

KINDS = st.sampled_from([np.uint8, np.float32, np.int64, np.float64])
TENSORS = KINDS.flatmap(lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=1, max_dims=4, max_side=9)))
NAMED = st.dictionaries(st.text(max_size=5), TENSORS, max_size=3)


@settings(max_examples=40)
@given(st.text(max_size=5), st.integers(1, 1 << 40), NAMED, st.booleans())
def test_a_request_holds_its_tensors(model: str, version: int, inputs: dict[str, Any], turned: bool) -> None:
    if turned:  # not contiguous
        inputs = {name: values.T for name, values in inputs.items()}
    request = service_pb2.ModelInferRequest.FromString(encoded_request(model, version, inputs))
    expected = service_pb2.ModelInferRequest(model_name=model, model_version=str(version))
    for name, values in inputs.items():
        expected.inputs.add(name=name, datatype=np_to_triton_dtype(values.dtype), shape=values.shape)
        expected.raw_input_contents.append(values.tobytes())
    assert request == expected


@settings(max_examples=40)
@given(NAMED, st.integers(0, 40))
def test_an_answer_is_read_as_it_was_written_or_not_at_all(outputs: dict[str, Any], missing: int) -> None:
    answer = service_pb2.ModelInferResponse()
    for name, values in outputs.items():
        answer.outputs.add(name=name, datatype=np_to_triton_dtype(values.dtype), shape=values.shape)
        answer.raw_output_contents.append(values.tobytes()[missing:])
    found = decoded_response(answer.SerializeToString())
    assert found.keys() == outputs.keys()
    for name, values in outputs.items():
        if missing:
            assert found[name] is None
        else:
            np.testing.assert_array_equal(found[name], values)


def test_an_answer_without_values_or_of_an_unknown_kind_has_none() -> None:
    answer = service_pb2.ModelInferResponse(raw_output_contents=[bytes(math.prod((2, 3)))])
    answer.outputs.add(name="strange", datatype="UINT99", shape=[2, 3])
    answer.outputs.add(name="negative", datatype="UINT8", shape=[-1, 3])
    answer.outputs.add(name="missing", datatype="UINT8", shape=[2, 3])
    assert decoded_response(answer.SerializeToString()) == {"strange": None, "negative": None, "missing": None}


@pytest.mark.parametrize(
    ("datatype", "shape"), [("BYTES", [1]), ("UINT8", [-2, -4]), ("UINT8", [-1, -8]), ("BOOL", [])]
)
def test_an_answer_that_holds_no_array_has_none(datatype: str, shape: list[int]) -> None:
    answer = service_pb2.ModelInferResponse(raw_output_contents=[bytes(8)])
    answer.outputs.add(name="strange", datatype=datatype, shape=shape)
    assert decoded_response(answer.SerializeToString()) == {"strange": None}


def test_only_the_first_call_with_images_of_a_size_builds_a_message() -> None:
    messages._header.cache_clear()
    images = np.zeros((1, 3, 112, 112), np.uint8)
    sizes = {len(messages.encoded_request("face_embedder", 1, {"images": images + one})) for one in range(5)}
    assert messages._header.cache_info().misses == 1
    # One copy of the pixels, and little else.
    assert images.nbytes < min(sizes) == max(sizes) < images.nbytes + 100
    shared = encoded_request("face_embedder", 1, {"images": images}, places={"images": Place("region", 8)})
    assert len(shared) < 200


@settings(max_examples=20)
@given(st.integers(1, 8), st.integers(0, 1 << 40), st.booleans())
def test_a_request_says_where_shared_inputs_are(images: int, offset: int, alone: bool) -> None:
    pixels = np.zeros((images, 3, 4, 4), np.uint8)
    size = np.zeros(2, np.int64)
    content = encoded_request(
        "a", 1, {"pixels": pixels, "size": size}, alone=alone, places={"pixels": Place("region", offset)}
    )
    request = service_pb2.ModelInferRequest.FromString(content)
    first, second = request.inputs
    assert first.parameters["shared_memory_region"].string_param == "region"
    assert first.parameters["shared_memory_offset"].int64_param == offset
    assert first.parameters["shared_memory_byte_size"].int64_param == pixels.nbytes
    assert not second.parameters
    assert list(request.raw_input_contents) == [size.tobytes()]
    assert request.parameters["alone"].bool_param == alone


def test_shared_memory_for_which_there_is_no_room_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_inputs, "SLOTS", 1 << 40)
    with pytest.raises(OSError, match=r"No space|too large"):
        SharedInputs("sameface_test_no_room")
    assert not (shared_inputs.FOLDER / "sameface_test_no_room").exists()
