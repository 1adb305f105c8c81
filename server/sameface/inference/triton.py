"""Triton over gRPC, on this host or elsewhere."""

import asyncio
import logging
import time
from typing import Any

import numpy as np
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from sameface.errors import ModelNotFound, ModelUnavailable
from sameface.inference.base import Tensors
from sameface_qdrant.errors import InvalidArgument, SamefaceError

log = logging.getLogger(__name__)

RETRY_AFTER_S = 1.0
RETRY_PAUSE_S = 0.1
RESOLVE_AGAIN_S = 30.0
"""How often the name of a Triton elsewhere is looked up, so that calls reach replicas that were added."""
ANSWER_S = 5.0
CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Replicas behind a headless Service: spread calls over all of them.
    ("grpc.lb_policy_name", "round_robin"),
    # A restarted server is found again at once instead of after gRPC's default of up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # gRPC looks a name up again when a connection is lost, but at most this often; a replaced pod has a new address.
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    # A host that vanished without a word is given up once it has acknowledged nothing for the second of these times,
    # instead of after a quarter of an hour. Pings are sent only beside calls that last: Triton takes many for abuse.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
]


class TritonTimedOut(ModelUnavailable):
    """No answer before the deadline: the model hangs, or is busy with others."""


class TritonInference:
    """Implements `Inference` with one channel. A failing Triton is asked again for a while before callers hear.

    A healthy gRPC channel never looks its name up again, so replicas that are added later would get no calls. With
    ``resolve_again_s`` the channel is replaced that often, at the next call. It costs a look-up and no calls:
    channels of one process share their connections, and the old one is left until its calls have ended.
    """

    def __init__(
        self, url: str, *, timeout_s: float = 10.0, recovery_s: float = 5.0, resolve_again_s: float | None = None
    ) -> None:
        """Talk to ``host:port``: ``timeout_s`` for one call, ``recovery_s`` for a Triton that recovers."""
        self._url = url
        self._timeout_s = timeout_s
        self._recovery_s = recovery_s
        self._resolve_again_s = resolve_again_s
        self._client = self._connect()
        self._connected = time.monotonic()
        self._replacing: asyncio.Task[None] | None = None

    async def run(self, model: str, version: int, inputs: Tensors) -> Tensors:
        """See `Inference.run`; waits up to ``recovery_s`` while the model is unavailable."""
        self._look_around()
        deadline = time.monotonic() + self._recovery_s
        while True:
            try:
                return await self._run_once(model, version, inputs)
            except ModelUnavailable:
                if time.monotonic() + RETRY_PAUSE_S >= deadline:
                    raise
                await asyncio.sleep(RETRY_PAUSE_S)

    async def server_version(self) -> str:
        """Return the version that the server reports of itself."""
        try:
            metadata = await self._client.get_server_metadata(client_timeout=self._timeout_s)
        except InferenceServerException as error:
            raise self._unavailable("its metadata", error) from None
        return str(metadata.version)

    async def ready(self) -> bool:
        """Return whether the server says that it is ready (which says nothing about correctness)."""
        try:
            return bool(await self._client.is_server_ready(client_timeout=1.0))
        except InferenceServerException:
            return False

    async def reload(self, model: str) -> None:
        """Unload and load a model; what a dead stub needs, since loading alone does nothing.

        Raises:
            ModelUnavailable: the server refused; only a server in explicit control mode does this.
        """
        try:
            await self._client.unload_model(model, client_timeout=self._timeout_s)
            await self._client.load_model(model, client_timeout=self._timeout_s)
        except InferenceServerException as error:
            raise self._unavailable(model, error) from None

    async def aclose(self) -> None:
        """See `Inference.aclose`."""
        if self._replacing is not None:
            self._replacing.cancel()
            await asyncio.wait([self._replacing])
        await self._client.close()

    def _connect(self) -> Any:
        return triton.InferenceServerClient(self._url, channel_args=CHANNEL_OPTIONS)

    def _look_around(self) -> None:
        if self._resolve_again_s is None or time.monotonic() - self._connected < self._resolve_again_s:
            return
        if self._replacing is None or self._replacing.done():
            self._connected = time.monotonic()
            self._replacing = asyncio.create_task(self._replace())

    async def _replace(self) -> None:
        """Put a channel that has looked the name up in the place of the present one, once it answers."""
        spare = self._connect()
        try:
            if await spare.is_server_live(client_timeout=ANSWER_S):
                self._client, spare = spare, self._client
                # No call lasts longer than this.
                await asyncio.sleep(self._timeout_s)
        except InferenceServerException as error:
            # A name server that is away must not take a Triton along that is there.
            log.warning("no second connection to Triton at %s: %s", self._url, error.message())
        finally:
            await spare.close()

    async def _run_once(self, model: str, version: int, inputs: Tensors) -> Tensors:
        try:
            result = await self._client.infer(
                model,
                [_tensor(name, values) for name, values in inputs.items()],
                model_version=str(version),
                client_timeout=self._timeout_s,
            )
        except InferenceServerException as error:
            raise self._translate(model, version, error) from None
        outputs = {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}
        for name, values in outputs.items():
            if values is None or not np.isfinite(values).all():
                raise ModelUnavailable(
                    f"{model} version {version} gave values in {name!r} that are not finite numbers",
                    metadata={"model": model, "version": version},
                    retry_after_s=RETRY_AFTER_S,
                )
        return outputs

    def _translate(self, model: str, version: int, error: Any) -> SamefaceError:
        status, text = str(error.status() or ""), str(error.message() or "")
        metadata = {"model": model, "version": version}
        if status.endswith("INVALID_ARGUMENT"):
            return InvalidArgument(
                f"{model} version {version} refuses its input: {text}", metadata={"field": "inputs", **metadata}
            )
        # A model that is being loaded or unloaded answers "is not ready" or "is not found" as well; one that was never
        # in the repository is told apart by the missing version.
        if status.endswith("NOT_FOUND") and "unknown model" in text and "not found" in text:
            return ModelNotFound(f"{self._url} does not serve {model} version {version}: {text}", metadata=metadata)
        unavailable = self._unavailable(f"{model} version {version}", error)
        if status.endswith("DEADLINE_EXCEEDED"):
            return TritonTimedOut(unavailable.message, metadata=unavailable.metadata, retry_after_s=RETRY_AFTER_S)
        return unavailable

    def _unavailable(self, what: str, error: Any) -> ModelUnavailable:
        return ModelUnavailable(
            f"Triton at {self._url} does not answer for {what}: {error.status() or 'error'}, {error.message()}",
            metadata={"triton_url": self._url},
            retry_after_s=RETRY_AFTER_S,
        )


def _tensor(name: str, values: Any) -> Any:
    tensor = triton.InferInput(name, values.shape, np_to_triton_dtype(values.dtype))
    tensor.set_data_from_numpy(np.ascontiguousarray(values))
    return tensor
