"""What a model returned is checked alike in every runtime, for the detector as for the embedder."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper
from tritonclient.grpc import service_pb2, service_pb2_grpc

from sameface.errors import ModelCheckFailed, ModelUnavailable
from sameface.inference.base import Inference
from sameface.inference.onnx import OnnxInference
from sameface.inference.triton import TritonInference

MODELS = ("face_detector", "face_embedder")
OUTPUTS = ("first", "second")
TENSORS = arrays.arrays(np.float32, (2, 3), elements=st.floats(width=32))


class Echo(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Returns its inputs, as a Triton with the models below does."""

    async def ModelInfer(self, request: Any, context: object) -> Any:  # noqa: N802
        answer = service_pb2.ModelInferResponse(model_name=request.model_name, model_version=request.model_version)
        for name, tensor in zip(OUTPUTS, request.inputs, strict=True):
            answer.outputs.add(name=name, datatype=tensor.datatype, shape=tensor.shape)
        answer.raw_output_contents.extend(request.raw_input_contents)
        return answer


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that return their two inputs."""
    folder = tmp_path_factory.mktemp("repository")
    names = [f"{output}_in" for output in OUTPUTS]
    graph = helper.make_graph(
        [helper.make_node("Identity", [name], [output]) for name, output in zip(names, OUTPUTS, strict=True)],
        "echo",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in names],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in OUTPUTS],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    for name in MODELS:
        (folder / name / "1").mkdir(parents=True)
        onnx.save(model, folder / name / "1" / "model.onnx")
    return folder


@asynccontextmanager
async def runtimes(repository: Path) -> AsyncIterator[tuple[Inference, ...]]:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Echo(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    both = OnnxInference(repository), TritonInference(f"127.0.0.1:{port}", recovery_s=30.0)
    try:
        yield both
    finally:
        for one in both:
            await one.aclose()
        await server.stop(None)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=TENSORS, second=TENSORS, model=st.sampled_from(MODELS))
def test_values_that_are_no_numbers_are_one_kind_of_failure_in_every_runtime(
    repository: Path, first: Any, second: Any, model: str
) -> None:
    async def compare() -> None:
        async with runtimes(repository) as both:
            inputs = {f"{name}_in": values for name, values in zip(OUTPUTS, (first, second), strict=True)}
            for runtime in both:
                if np.isfinite(first).all() and np.isfinite(second).all():
                    outputs = await runtime.run(model, 1, inputs)
                    np.testing.assert_array_equal(outputs["first"], first)
                    np.testing.assert_array_equal(outputs["second"], second)
                    continue
                with pytest.raises(ModelCheckFailed) as failed:
                    await runtime.run(model, 1, inputs)
                assert failed.value.retry_after_s is None
                assert failed.value.metadata == {"model": model, "version": "1"}

    asyncio.run(compare())


async def test_an_answer_that_is_no_message_of_triton_says_so() -> None:
    async def garbage(request: bytes, context: object) -> bytes:
        return b"\xff" * 9

    server = grpc.aio.server()
    handlers: dict[str, Any] = {"ModelInfer": grpc.unary_unary_rpc_method_handler(garbage)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    inference = TritonInference(f"127.0.0.1:{port}", recovery_s=0.0)
    try:
        with pytest.raises(ModelUnavailable, match="something else than a ModelInferResponse"):
            await inference.run("face_detector", 1, {"images": np.zeros((1, 3), np.float32)})
    finally:
        await inference.aclose()
        await server.stop(None)
