"""Runs models on a Triton server over gRPC."""

import asyncio
import logging
import time
from typing import Any

import numpy as np
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from sameface.deadline import within
from sameface.errors import ModelNotFound, ModelUnavailable
from sameface.inference.base import Tensors
from sameface.inference.outputs import checked_outputs
from sameface.inference.triton_tls import PLAIN, TritonTls
from sameface_qdrant.errors import InvalidArgument, SamefaceError

log = logging.getLogger(__name__)

RETRY_AFTER_S = 1.0
RETRY_PAUSE_S = 0.1
RESOLVE_AGAIN_S = 30.0
"""Seconds between look-ups of a remote Triton's name, so that calls reach new replicas."""
ANSWER_S = 5.0
CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Spread calls over all replicas behind a headless Service.
    ("grpc.lb_policy_name", "round_robin"),
    # Reconnect to a restarted server at once. gRPC's default is up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A replaced pod has a new address. gRPC looks the name up again when a connection is lost, but at most this often.
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    # Give up a vanished host when it does not acknowledge a ping within the second of these times. The default is a
    # quarter of an hour. Pings are sent only during long calls, because Triton treats many pings as abuse.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
]


class TritonTimedOut(ModelUnavailable):
    """The model did not answer before the deadline: it hangs, or is busy with other calls."""


class TritonInference:
    """Implements `Inference` with one channel. Retries a failing Triton for a while before it raises an error.

    A healthy gRPC channel never looks its name up again, so new replicas would get no calls. ``resolve_again_s`` is the
    age in seconds after which the next call replaces the channel. This costs a look-up and interrupts no call: channels
    of one process share connections, and the old channel stays open until its calls have ended.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 10.0,
        recovery_s: float = 5.0,
        resolve_again_s: float | None = None,
        tls: TritonTls = PLAIN,
    ) -> None:
        """Connect to ``url``. A call may take ``timeout_s``; it is retried for ``recovery_s`` while Triton recovers.

        Raises:
            InvalidArgument: a file of ``tls`` cannot be read.
        """
        self._url = url
        self._tls = tls
        self._timeout_s = timeout_s
        self._recovery_s = recovery_s
        self._resolve_again_s = resolve_again_s
        self._client = self._connect()
        self._connected = time.monotonic()
        self._replacing: asyncio.Task[None] | None = None

    async def run(self, model: str, version: int, inputs: Tensors) -> Tensors:
        """See `Inference.run`. Waits up to ``recovery_s`` while the model is unavailable."""
        self._replace_old_channel()
        deadline = time.monotonic() + within(self._recovery_s)
        while True:
            try:
                return await self._run_once(model, version, inputs)
            except ModelUnavailable:
                if time.monotonic() + RETRY_PAUSE_S >= deadline:
                    raise
                await asyncio.sleep(RETRY_PAUSE_S)

    async def server_version(self) -> str:
        """Return the version that the server reports."""
        try:
            metadata = await self._client.get_server_metadata(client_timeout=self._timeout_s)
        except InferenceServerException as error:
            raise self._unavailable("its metadata", error) from None
        return str(metadata.version)

    async def ready(self) -> bool:
        """Return whether the server reports that it is ready. It may still give wrong outputs."""
        try:
            return bool(await self._client.is_server_ready(client_timeout=1.0))
        except InferenceServerException:
            return False

    async def reload(self, model: str) -> None:
        """Unload and load a model. This restarts a dead stub process; loading alone does nothing.

        Raises:
            ModelUnavailable: the server refused. Only a server in explicit model control mode accepts it.
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
        # Read again for each channel, so that renewed certificates are used without a restart.
        name = [("grpc.ssl_target_name_override", self._tls.server_name)] if self._tls.server_name else []
        return triton.InferenceServerClient(
            self._url, creds=self._tls.credentials(), channel_args=[*CHANNEL_OPTIONS, *name]
        )

    def _replace_old_channel(self) -> None:
        if self._resolve_again_s is None or time.monotonic() - self._connected < self._resolve_again_s:
            return
        if self._replacing is None or self._replacing.done():
            self._connected = time.monotonic()
            self._replacing = asyncio.create_task(self._replace())

    async def _replace(self) -> None:
        """Replace the channel by a new one, which has looked the name up, once the new one answers."""
        try:
            spare = self._connect()
        except InvalidArgument as error:
            log.warning("no second connection to Triton at %s: %s", self._url, error.message)
            return
        try:
            if await spare.is_server_live(client_timeout=ANSWER_S):
                self._client, spare = spare, self._client
                # No call lasts longer than this.
                await asyncio.sleep(self._timeout_s)
        except InferenceServerException as error:
            # The old channel still works, for example if only the name server does not answer.
            log.warning("no second connection to Triton at %s: %s", self._url, error.message())
        finally:
            await spare.close()

    async def _run_once(self, model: str, version: int, inputs: Tensors) -> Tensors:
        try:
            result = await self._client.infer(
                model,
                [_tensor(name, values) for name, values in inputs.items()],
                model_version=str(version),
                client_timeout=within(self._timeout_s),
            )
        except InferenceServerException as error:
            raise self._translate(model, version, error) from None
        outputs = {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}
        return checked_outputs(model, version, outputs)

    def _translate(self, model: str, version: int, error: Any) -> SamefaceError:
        status, text = str(error.status() or ""), str(error.message() or "")
        metadata = {"model": model, "version": version}
        if status.endswith("INVALID_ARGUMENT"):
            return InvalidArgument(
                f"{model} version {version} does not accept its input: {text}", metadata={"field": "inputs", **metadata}
            )
        # A model that is being loaded or unloaded also answers "is not ready" or "is not found". Both of these texts
        # together mean that the model or version was never in the repository.
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
