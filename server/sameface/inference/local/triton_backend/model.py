"""Triton's python-based backends `onnxruntime` and `openvino`: serve any ONNX model of the repository.

Both folders have this file; the model's config names the backend, and so the library. It runs inside Triton's python
stub, in the runtime's own environment. The official image has native backends of the same names, which Triton finds
first.
"""

import ctypes
import json
import os
import sys

import numpy as np
import triton_python_backend_utils as pb_utils


def open_onnxruntime(path, parameters, outputs):
    """Open a file in ONNX Runtime, and return a function from named inputs to the outputs in order."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(parameters.get("intra_op_thread_count", 1))
    options.inter_op_num_threads = int(parameters.get("inter_op_thread_count", 1))
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda feed: session.run(outputs, feed)


def open_openvino(path, parameters, outputs):
    """Open a file in OpenVINO, and return a function from named inputs to the outputs in order.

    The native backend shares the streams and threads of the config among all instances. Here each instance has a
    process, and so its part of them. The rest is as in `sameface.inference.openvino`, which says why.
    """
    # OpenVINO reports its import to its maker through this package. None forbids that import.
    sys.modules["openvino_telemetry"] = None
    import openvino

    streams = int(parameters.get("NUM_STREAMS", 1))
    options = {
        "INFERENCE_PRECISION_HINT": parameters.get("INFERENCE_PRECISION_HINT", "f32"),
        "INFERENCE_NUM_THREADS": max(1, int(parameters.get("INFERENCE_NUM_THREADS", streams)) // streams),
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
    }
    compiled = openvino.Core().compile_model(path, "CPU", options)
    request = compiled.create_infer_request()

    places = [[port.any_name for port in compiled.outputs].index(name) for name in outputs]

    def run(feed):
        size = len(next(iter(feed.values())))
        each = [
            request.infer({name: values[at : at + 1] for name, values in feed.items()}, share_inputs=True).to_tuple()
            for at in range(size)
        ]
        return [np.concatenate([one[place] for one in each]) for place in places]

    return run


OPENERS = {"onnxruntime": open_onnxruntime, "openvino": open_openvino}


class TritonPythonModel:
    """One instance of one model version."""

    def initialize(self, args):
        """Open the version's model.onnx with the thread counts of its config."""
        config = json.loads(args["model_config"])
        self.inputs = [entry["name"] for entry in config["input"]]
        self.outputs = [entry["name"] for entry in config["output"]]
        parameters = {name: entry["string_value"] for name, entry in config.get("parameters", {}).items()}
        path = os.path.join(args["model_repository"], args["model_version"], "model.onnx")
        self.run = OPENERS[config["backend"]](path, parameters, self.outputs)
        _give_back_freed_memory()

    def execute(self, requests):
        """Answer each request; those of one shape run as one batch."""
        tensors = [
            [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs]
            for request in requests
        ]
        together = len({tuple(array.shape[1:] for array in row) for row in tensors}) == 1
        groups = [range(len(requests))] if together else [[index] for index in range(len(requests))]
        responses = [None] * len(requests)
        for group in groups:
            feed = {
                name: np.concatenate([tensors[index][position] for index in group])
                if len(group) > 1
                else tensors[group[0]][position]
                for position, name in enumerate(self.inputs)
            }
            results = self.run(feed)
            start = 0
            for index in group:
                stop = start + tensors[index][0].shape[0]
                responses[index] = pb_utils.InferenceResponse(
                    [
                        pb_utils.Tensor(name, np.ascontiguousarray(result[start:stop]))
                        for name, result in zip(self.outputs, results)
                    ]
                )
                start = stop
        return responses


def _give_back_freed_memory():
    """Hand what reading the model's file took back to the kernel: a sixth of an instance's memory.

    Does nothing where the C library is not glibc, whose malloc_trim(3) this is.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
