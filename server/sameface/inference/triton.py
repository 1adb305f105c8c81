"""Runs models on a Triton server over gRPC."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2, service_pb2_grpc

from sameface.addresses import TRITON, check_target, proxy_options
from sameface.connection_faults import Fault, fault_of, speaks_tls, unclear
from sameface.deadline import within
from sameface.errors import ModelNotFound, ModelUnavailable
from sameface.inference.base import Tensors
from sameface.inference.messages import decoded_response, encoded_request
from sameface.inference.outputs import checked_outputs
from sameface.inference.shared_inputs import SharedInputs
from sameface.inference.triton_options import CHANNEL_OPTIONS, SOCKET_OPTIONS
from sameface.inference.triton_tls import PLAIN, SPEAKS_TLS, WHAT_TO_DO, TritonTls
from sameface.inference.uncancelled import uncancelled
from sameface_qdrant.errors import InvalidArgument, SamefaceError

log = logging.getLogger(__name__)

RETRY_AFTER_S = 1.0
RETRY_PAUSE_S = 0.1
RESOLVE_AGAIN_S = 30.0
"""Seconds between look-ups of a remote Triton's name, so that calls reach new replicas."""
ANSWER_S, READY_S = 5.0, 2.0
INFER = "/inference.GRPCInferenceService/ModelInfer"


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
        tells_alone: Callable[[], bool] = lambda: False,
        shared_inputs: Callable[[], SharedInputs | None] = lambda: None,
        metadata: Callable[[], tuple[tuple[str, str], ...]] | None = None,
    ) -> None:
        """Connect to ``url``. A call may take ``timeout_s``; it is retried for ``recovery_s`` while Triton recovers.

        ``tells_alone`` returns whether the processors have nothing else to do at the moment. If no other call runs
        either, the request says so, and the local runtime runs it on more cores. ``shared_inputs`` returns the memory
        that is shared with Triton at the moment. ``metadata`` returns what is sent with a run of a model.

        Raises:
            InvalidArgument: ``url`` is no address, or a file of ``tls`` cannot be read.
        """
        try:
            self._url = check_target(url, TRITON)
        except ValueError as error:
            raise InvalidArgument(f"Triton's address: {error}", metadata={"field": "triton_url"}) from None
        self._tls = tls
        self._timeout_s = timeout_s
        self._recovery_s = recovery_s
        self._resolve_again_s = resolve_again_s
        self._tells_alone = tells_alone
        self._shared_inputs = shared_inputs
        self._metadata = metadata
        self._running = 0
        self.answered: Counter[tuple[str, int]] = Counter()
        """How many calls Triton has answered, by model and version."""
        self._looked = False
        self._client = self._connect()
        self._connected = time.monotonic()
        self._replacing: asyncio.Task[None] | None = None

    async def run(self, model: str, version: int, inputs: Tensors) -> Tensors:
        """See `Inference.run`. Waits up to ``recovery_s`` while the model is unavailable, if waiting can help."""
        self._replace_old_channel()
        deadline = time.monotonic() + within(self._recovery_s)
        while True:
            try:
                return await self._run_once(model, version, inputs)
            except ModelUnavailable as error:
                if error.retry_after_s is None or time.monotonic() + RETRY_PAUSE_S >= deadline:
                    raise
                await asyncio.sleep(RETRY_PAUSE_S)

    async def server_version(self) -> str:
        """Return the version that the server reports."""
        try:
            metadata = await self._client.stub.ServerMetadata(
                service_pb2.ServerMetadataRequest(), timeout=self._timeout_s
            )
        except grpc.aio.AioRpcError as error:
            raise await self._unavailable("its metadata", error) from None
        return str(metadata.version)

    async def ready(self) -> bool:
        """Return whether the server reports that it is ready. It may still give wrong outputs."""
        try:
            return bool((await self._client.stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=1.0)).ready)
        except grpc.aio.AioRpcError:
            return False

    async def check_ready(self) -> None:
        """Check what the server reports, without repeating.

        Raises:
            TritonTimedOut: it does not answer in time.
            ModelUnavailable: it reports that it is not ready, or cannot be reached.
        """
        try:
            answer = await self._client.stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=READY_S)
        except grpc.aio.AioRpcError as error:
            raise await self._translate("server", 0, error) from None
        if not answer.ready:
            raise ModelUnavailable(f"Triton at {self._url} is not ready", retry_after_s=RETRY_AFTER_S)

    async def reload(self, model: str) -> None:
        """Unload and load a model. This restarts a dead stub process; loading alone does nothing.

        Raises:
            ModelUnavailable: the server refused. Only a server in explicit model control mode accepts it.
        """
        try:
            unload = service_pb2.RepositoryModelUnloadRequest(model_name=model)
            await self._client.stub.RepositoryModelUnload(unload, timeout=self._timeout_s)
            load = service_pb2.RepositoryModelLoadRequest(model_name=model)
            await self._client.stub.RepositoryModelLoad(load, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            raise await self._unavailable(model, error) from None

    async def share(self, memory: SharedInputs) -> None:
        """Let Triton, which must be on this machine, open a memory.

        Raises:
            ModelUnavailable: it does not.
        """
        request = service_pb2.SystemSharedMemoryRegisterRequest(
            name=memory.name, key=f"/{memory.name}", byte_size=memory.size
        )
        try:
            await self._client.stub.SystemSharedMemoryRegister(request, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            raise await self._unavailable("its shared memory", error) from None

    async def aclose(self) -> None:
        """See `Inference.aclose`."""
        if self._replacing is not None:
            self._replacing.cancel()
            await asyncio.wait([self._replacing])
        await self._client.close()

    def _connect(self) -> "_Client":
        self._looked = False
        # Read again for each channel, so that renewed certificates are used without a restart.
        name = [("grpc.ssl_target_name_override", self._tls.server_name)] if self._tls.server_name else []
        near = SOCKET_OPTIONS if self._url.startswith("unix:") else []
        credentials, options = self._tls.credentials(), [*CHANNEL_OPTIONS, *near, *proxy_options(self._url), *name]
        return _Client(
            grpc.aio.secure_channel(self._url, credentials, options)
            if credentials
            else grpc.aio.insecure_channel(self._url, options)
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
            if (await spare.stub.ServerLive(service_pb2.ServerLiveRequest(), timeout=ANSWER_S)).live:
                self._client, spare = spare, self._client
                # No call lasts longer than this.
                await asyncio.sleep(self._timeout_s)
        except grpc.aio.AioRpcError as error:
            # The old channel still works, for example if only the name server does not answer.
            log.warning("no second connection to Triton at %s: %s", self._url, error.details())
        finally:
            await spare.close()

    async def _run_once(self, model: str, version: int, inputs: Tensors) -> Tensors:
        shared = self._shared_inputs()
        places = shared.write(inputs) if shared is not None else {}
        self._running += 1
        try:
            alone = self._running == 1 and self._tells_alone()
            try:
                answer = await self._infer(encoded_request(model, version, inputs, alone=alone, places=places))
            except grpc.aio.AioRpcError as error:
                if not places or "shared memory" not in (error.details() or ""):
                    raise
                # This Triton has just started, and does not know the memory yet.
                answer = await self._infer(encoded_request(model, version, inputs, alone=alone))
        except grpc.aio.AioRpcError as error:
            raise await self._translate(model, version, error) from None
        finally:
            self._running -= 1
            if shared is not None:
                shared.free(places.values())
        self.answered[model, version] += 1
        try:
            outputs = decoded_response(answer)
        except DecodeError:
            raise ModelUnavailable(
                f"Triton at {self._url} answers for {model} version {version} with something else than a "
                "ModelInferResponse; check that it is a Triton",
                metadata={"triton_url": self._url},
                retry_after_s=RETRY_AFTER_S,
            ) from None
        return checked_outputs(model, version, outputs)

    def _infer(self, request: bytes) -> Awaitable[bytes]:
        metadata = None if self._metadata is None else self._metadata()
        return uncancelled(self._client.infer(request, timeout=within(self._timeout_s), metadata=metadata))

    async def _translate(self, model: str, version: int, error: grpc.aio.AioRpcError) -> SamefaceError:
        status, text = str(error.code()), error.details() or ""
        metadata = {"model": model, "version": version}
        if status.endswith("INVALID_ARGUMENT"):
            return InvalidArgument(
                f"{model} version {version} does not accept its input: {text}", metadata={"field": "inputs", **metadata}
            )
        # A model that is being loaded or unloaded also answers "is not ready" or "is not found". Both of these texts
        # together mean that the model or version was never in the repository.
        if status.endswith("NOT_FOUND") and "unknown model" in text and "not found" in text:
            return ModelNotFound(f"{self._url} does not serve {model} version {version}: {text}", metadata=metadata)
        return await self._unavailable(f"{model} version {version}", error)

    async def _unavailable(self, what: str, error: grpc.aio.AioRpcError) -> ModelUnavailable:
        text = error.details() or ""
        told = f"Triton at {self._url} does not answer for {what}: {error.code()}, {text}"
        hint = await self._what_to_do(text)
        timed_out = str(error.code()).endswith("DEADLINE_EXCEEDED")
        return (TritonTimedOut if timed_out else ModelUnavailable)(
            f"{told}; {hint}" if hint else told,
            metadata={"triton_url": self._url},
            # Without a time where waiting does not help.
            retry_after_s=None if hint and not timed_out else RETRY_AFTER_S,
        )

    async def _what_to_do(self, text: str) -> str:
        """Return what to change before Triton can be reached; empty if it may be reached later."""
        if fault := fault_of(text):
            return WHAT_TO_DO[fault]
        if self._looked or not unclear(text):
            return ""
        spoken = await asyncio.to_thread(speaks_tls, self._url)
        # Once a channel, unless nothing answers yet.
        self._looked = spoken is not None
        if self._tls.enabled:
            return WHAT_TO_DO[Fault.NOT_TLS] if spoken is False else ""
        return SPEAKS_TLS if spoken else ""


class _Client:
    """A channel and its calls."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self.stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        self.infer: Any = channel.unary_unary(INFER)
        """Takes and returns serialized messages."""

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()
