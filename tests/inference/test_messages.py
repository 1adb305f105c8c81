"""What is sent to Triton is the message that its protos describe, and what comes back is read with care."""

import math
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tritonclient.grpc import service_pb2
from tritonclient.utils import np_to_triton_dtype

from sameface.inference.messages import decoded_response, encoded_request

KINDS = st.sampled_from([np.uint8, np.float32, np.int64, np.float64])
TENSORS = KINDS.flatmap(lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=1, max_dims=4, max_side=9)))
NAMED = st.dictionaries(st.text(max_size=5), TENSORS, max_size=3)


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
