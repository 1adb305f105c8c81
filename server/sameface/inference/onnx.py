"""Runs the ONNX files of the model repository in process: in ONNX Runtime, or in OpenVINO those made for it."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sameface.errors import ModelNotFound, ModelUnavailable, RuntimeMissing
from sameface.inference.base import Tensors
from sameface.inference.cards import OPENVINO_EMBEDDER
from sameface.inference.outputs import checked_outputs
from sameface.malloc_arenas import give_back_freed_memory
from sameface_qdrant.concurrency import in_thread
from sameface_qdrant.errors import InvalidArgument


class OnnxInference:
    """Implements `Inference`. Opens each session on first use.

    On an event loop it runs models in worker threads, and in a thread without one right there.
    """

    OFF_LOOP = True

    def __init__(self, repository: Path, *, threads: int = 1, workers: int = 2) -> None:
        """Serve the models in ``repository``, with ``threads`` per run and at most ``workers`` runs at a time."""
        self._repository = repository
        self._threads = threads
        self._at_once = workers
        self._sessions: dict[tuple[str, int], tuple[Any, list[str]]] = {}
        self._opening = threading.Lock()
        self._workers = ThreadPoolExecutor(workers, thread_name_prefix="models")

    async def run(self, model: str, version: int, inputs: Tensors) -> Tensors:
        """See `Inference.run`."""
        here = not on_event_loop()
        opened = self._sessions.get((model, version))
        if opened is None:
            opened = self._open(model, version) if here else await asyncio.to_thread(self._open, model, version)
        session, names = opened
        try:
            if here:
                outputs = session.run(None, dict(inputs))
            else:
                outputs = await in_thread(self._workers, session.run, None, dict(inputs))
        except Exception as error:
            # ONNX Runtime's exception types are private, so compare names. These two mean a wrong name, shape or type.
            kind = type(error).__name__
            if kind in ("InvalidArgument", "ValueError"):
                raise InvalidArgument(
                    f"{model} version {version} does not accept its input: {error}", metadata={"field": "inputs"}
                ) from None
            raise ModelUnavailable(
                f"{model} version {version} failed: {kind}",
                metadata={"model": model, "version": version},
                retry_after_s=1.0,
            ) from error
        return checked_outputs(model, version, dict(zip(names, outputs, strict=True)))

    async def server_version(self) -> str:
        """Return ONNX Runtime's version."""
        return str(onnx_runtime().__version__)

    async def aclose(self) -> None:
        """See `Inference.aclose`."""
        self._workers.shutdown(wait=True, cancel_futures=True)
        self._sessions.clear()

    def _open(self, model: str, version: int) -> tuple[Any, list[str]]:
        """Return the session of a model and the names of its outputs."""
        with self._opening:
            if (model, version) not in self._sessions:
                # First: where it is missing, the files are too.
                onnx_runtime()
                path = self._repository / model / str(version) / "model.onnx"
                if not path.is_file():
                    raise ModelNotFound(
                        f"{path} does not exist; build the models with `sameface model build`",
                        metadata={"model": model, "version": version},
                    )
                session = open_model(model, path, self._threads, self._at_once)
                give_back_freed_memory()
                self._sessions[model, version] = session, [output.name for output in session.get_outputs()]
            return self._sessions[model, version]


def on_event_loop() -> bool:
    """Whether this thread runs an event loop, which must not be blocked."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def open_model(model: str, file: Path | bytes, threads: int = 1, at_once: int = 1) -> Any:
    """Open an ONNX file of a model in its runtime: in OpenVINO if the model is `face_embedder_openvino`.

    Raises:
        RuntimeMissing: OpenVINO is needed and not installed.
    """
    if model == OPENVINO_EMBEDDER:
        from sameface.inference.openvino import OpenVinoSession

        return OpenVinoSession(file, threads, at_once)
    return open_session(file, threads)


def open_session(model: Path | bytes, threads: int) -> Any:
    """Open an ONNX Runtime session on CPU without spinning threads, from a file or from its bytes."""
    onnxruntime = onnx_runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(
        model if isinstance(model, bytes) else str(model), options, providers=["CPUExecutionProvider"]
    )


def onnx_runtime() -> Any:
    """Return the module ``onnxruntime``.

    Raises:
        RuntimeMissing: it is not installed. The message says how to get it.
    """
    # Imported here, because it needs about 60 MB of memory and a service with Triton does not use it.
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        raise RuntimeMissing(
            "ONNX Runtime is not installed, so models cannot run in this process; name a running Triton with "
            "--triton-url, use the image sameface-onnx (the stage service-onnx of docker/Dockerfile), or pip install "
            "'sameface[server]'",
            metadata={"package": "onnxruntime"},
        ) from None
    return onnxruntime
