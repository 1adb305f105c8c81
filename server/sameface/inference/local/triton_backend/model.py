"""Triton's python-based backends `onnxruntime` and `openvino`: serve any ONNX model of the repository.

Both folders have this file; the model's config names the backend, and so the library. It runs inside Triton's python
stub, in the runtime's own environment. The official image has native backends of the same names, which Triton finds
first.

Requests that come together run at a time, in threads that share one copy of the weights. While the service works on
nothing else, a request runs on more threads, with a copy of its own. It is answered sooner, but takes more of the
processors, which others would lack. `sameface.inference.local.configs` sets the two parameters.
"""

import ctypes
import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import triton_python_backend_utils as pb_utils


def open_onnxruntime(path, parameters, outputs, at_once, threads):
    """Open a file in ONNX Runtime, and return a function from named inputs to the outputs in order.

    ``at_once`` threads may call it, and each call runs on ``threads``; None says as many as the config.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or int(parameters.get("intra_op_thread_count", 1))
    options.inter_op_num_threads = int(parameters.get("inter_op_thread_count", 1))
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda feed: session.run(outputs, feed)


def open_openvino(path, parameters, outputs, at_once, threads):
    """Open a file in OpenVINO, as `open_onnxruntime` does.

    The native backend shares the streams and threads of the config among all instances. Here each call has a stream.
    The rest, one image after the other too, is as in `sameface.inference.openvino`, which says why.
    """
    # OpenVINO reports its import to its maker through this package. None forbids that import.
    sys.modules["openvino_telemetry"] = None
    import openvino

    streams = int(parameters.get("NUM_STREAMS", 1))
    threads = threads or max(1, int(parameters.get("INFERENCE_NUM_THREADS", streams)) // streams)
    options = {
        "INFERENCE_PRECISION_HINT": parameters.get("INFERENCE_PRECISION_HINT", "f32"),
        "INFERENCE_NUM_THREADS": threads * at_once,
        "NUM_STREAMS": at_once,
        "ENABLE_CPU_PINNING": False,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
    }
    compiled = openvino.Core().compile_model(path, "CPU", options)
    places = [[port.any_name for port in compiled.outputs].index(name) for name in outputs]
    mine = threading.local()

    def run(feed):
        if not hasattr(mine, "request"):
            mine.request = compiled.create_infer_request()
        size = len(next(iter(feed.values())))
        each = [
            mine.request.infer(
                {name: values[at : at + 1] for name, values in feed.items()}, share_inputs=True
            ).to_tuple()
            for at in range(size)
        ]
        return [np.concatenate([one[place] for one in each]) for place in places]

    return run


WARM_SIDE = 256
"""Stands for a free dimension: photos of 250 pixels are that large as an input of the detector."""
OPENERS = {"onnxruntime": open_onnxruntime, "openvino": open_openvino}


class TritonPythonModel:
    """One version of a model."""

    def initialize(self, args):
        """Open the version's model.onnx."""
        config = json.loads(args["model_config"])
        self.inputs = [entry["name"] for entry in config["input"]]
        self.outputs = [entry["name"] for entry in config["output"]]
        parameters = {name: entry["string_value"] for name, entry in config.get("parameters", {}).items()}
        path = os.path.join(args["model_repository"], args["model_version"], "model.onnx")
        self.at_once, alone = (int(parameters.get(name, 1)) for name in ("requests_at_once", "threads_alone"))
        open_model = OPENERS[config["backend"]]
        self.shared = open_model(path, parameters, self.outputs, self.at_once, None)
        self.alone = open_model(path, parameters, self.outputs, 1, alone) if alone > 1 else self.shared
        self.threads = ThreadPoolExecutor(self.at_once)
        for run in {self.shared, self.alone}:
            _warm_up(run, config["input"])
        _give_back_freed_memory()

    def execute(self, requests):
        """Answer requests. No further ones come before these are done."""
        if len(requests) > 1:
            return list(self.threads.map(self._answer, requests, [self.shared] * len(requests)))
        return [self._answer(requests[0], self.alone if _is_alone(requests[0]) else self.shared)]

    def finalize(self):
        """End the threads."""
        self.threads.shutdown()

    def _answer(self, request, run):
        if request.is_cancelled():
            error = pb_utils.TritonError("the caller has gone", pb_utils.TritonError.CANCELLED)
            return pb_utils.InferenceResponse(error=error)
        try:
            feed = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
            results = zip(self.outputs, run(feed))
        except Exception as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, np.ascontiguousarray(one)) for name, one in results])


def _warm_up(run, inputs):
    """Run once, so that the first call is as fast as later ones. A model that wants other inputs is left cold."""
    kinds = {entry["name"]: pb_utils.triton_string_to_numpy(entry["data_type"]) for entry in inputs}
    sides = {entry["name"]: [WARM_SIDE if int(side) < 0 else int(side) for side in entry["dims"]] for entry in inputs}
    try:
        run({name: np.zeros([1, *sides[name]], kinds[name]) for name in kinds})
    except Exception as error:
        pb_utils.Logger.log_verbose(f"no warm-up: {error}")


def _is_alone(request):
    """Return whether the service says that no other request is in work, of any model."""
    return bool(json.loads(request.parameters() or "{}").get("alone"))


def _give_back_freed_memory():
    """Hand what reading the model's file took back to the kernel: a sixth of an instance's memory.

    Does nothing where the C library is not glibc, whose malloc_trim(3) this is.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
