"""The protocol between the pipeline and the runtime of the models."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Tensor: TypeAlias = NDArray[Any]
Tensors: TypeAlias = Mapping[str, Tensor]
FloatArray: TypeAlias = NDArray[np.float32]


class ModelRuns(Protocol):
    """Runs models."""

    async def run(self, model: str, version: int, inputs: Tensors) -> Tensors:
        """Run one model version on named input tensors (batch first) and return all its outputs.

        Raises:
            ModelNotFound: the repository does not serve this model version.
            ModelUnavailable: the model does not answer at the moment; ``retry_after_s`` is set.
            ModelCheckFailed: the model returned values that are not finite numbers.
            InvalidArgument: the model does not accept the name, shape or data type of a tensor.
        """
        ...


class Inference(ModelRuns, Protocol):
    """Runs the models of one model repository. Implementations: `triton.TritonInference`, `onnx.OnnxInference`.

    See `runs_off_loop` for what an implementation in process may state.
    """

    async def server_version(self) -> str:
        """Return the version that the runtime reports."""
        ...

    async def aclose(self) -> None:
        """Release connections, shared memory and sessions. Safe to call twice."""
        ...


def runs_off_loop(inference: ModelRuns) -> bool:
    """Whether a thread without an event loop may run `ModelRuns.run` to its end: nothing in it is awaited there.

    An implementation states it with the class attribute ``OFF_LOOP``.
    """
    return bool(getattr(type(inference), "OFF_LOOP", False))
