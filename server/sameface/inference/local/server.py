"""Starts the local Triton, watches it and repairs it.

Four failures happen in practice, and Triton's readiness shows none of them. A stub process of a model dies: every
later call fails, and Triton does not restart it. The server dies. The server hangs. A model silently gives wrong
outputs. The kernel tells us when a process ends. A server that answers no question hangs. A canary shows wrong outputs:
the golden vector of each model card.
"""

import asyncio
import contextlib
import logging
import math
import os
import signal
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from sameface.errors import ModelCheckFailed, ModelUnavailable, RuntimeMissing
from sameface.inference.cards import ModelCard
from sameface.inference.check import check_models
from sameface.inference.local.canaries import ANSWER_S, failed_canaries, hangs
from sameface.inference.local.configs import write_repository
from sameface.inference.local.process import (
    Endings,
    Sockets,
    TritonProcess,
    private_folder,
    remove_regions,
    stub_processes,
)
from sameface.inference.local.runtime import Runtime
from sameface.inference.shared_inputs import SharedInputs
from sameface.inference.triton import TritonInference
from sameface_qdrant.errors import SamefaceError

log = logging.getLogger(__name__)

START_S = 60.0
WATCH_S, LOOK_S = 0.25, 2.0
"""Seconds between two looks at the processes. The first is for a kernel that does not tell, and after trouble."""
CANARY_S, CANARY_TIMEOUT_S = 5.0, 5.0
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 30.0
MOST_CORES_ALONE = 4
"""Most cores for a model's call that is alone. Further ones would gain little."""
HAPPENED = ("restart", "reload", "failed check")
FIRST_ANSWER_S = 20.0
"""After a restart a model answers within this time, or the server is started once more. Seldom, one that was started
right after another one was killed never answers for a version of a model."""
STABLE_S = 60.0
"""A server that ran for this many seconds has recovered. One that ends sooner is restarted after a growing pause."""


async def _ignore(serving: bool) -> None:
    """Do nothing: the default of `LocalTriton.on_state_change`."""


def _one() -> int:
    """Return 1: the default of `LocalTriton.photos_in_work`."""
    return 1


class LocalTriton:
    """A tritonserver that only its own user can reach. It serves every model that has a card."""

    def __init__(self, repository: Path, runtime: Runtime, cards: Sequence[ModelCard], cores: int = 1) -> None:
        """Prepare a server on ``repository``. A call that is alone may use ``cores`` cores."""
        self._repository = repository.absolute()
        self._cores = min(cores, MOST_CORES_ALONE)
        self._photos_with_room = max(1, cores // self._cores)
        self._runtime = runtime
        self._cards = tuple(cards)
        self._models = sorted({card.model for card in cards})
        self._folder = private_folder()
        self._sockets = Sockets(Path(self._folder.name))
        self._region_prefix = f"sameface_{os.getpid()}_{uuid.uuid4().hex[:8]}_"
        self._process: TritonProcess | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._stubs: dict[int, str] = {}
        self._endings = Endings()
        self._told = False
        """Whether the kernel tells when a process ends."""
        self._serving = False
        self._ready_at = -math.inf
        self.shared_inputs: SharedInputs | None = None
        """Memory that the present server reads large inputs from."""
        self._quick_ends = 0
        # Neither client waits for a recovery, because failures must be noticed at once. After a start or a reload the
        # calls of waiting clients come first, so checks need a longer timeout then.
        self._client = TritonInference(self.grpc_url, timeout_s=CANARY_TIMEOUT_S, recovery_s=0.0)
        self._long_timeout_client = TritonInference(self.grpc_url, timeout_s=START_S, recovery_s=0.0)
        self._asking_client = TritonInference(self.grpc_url, timeout_s=ANSWER_S, recovery_s=0.0)
        self._restarted_client = TritonInference(self.grpc_url, timeout_s=FIRST_ANSWER_S, recovery_s=0.0)
        self._clients: list[TritonInference] = []
        self.on_state_change: Callable[[bool], Awaitable[None]] = _ignore
        """Called with False when outputs cannot be trusted, and with True when they can be trusted again."""
        self.happened: Counter[str] = Counter()
        """Number of restarts, of models that were loaded again, and of golden vectors that were not reproduced, see
        `HAPPENED`."""
        self.photos_in_work: Callable[[], int] = _one
        """Tells how many photos the service works on. A call is alone while there are cores enough for each of them."""

    @property
    def grpc_url(self) -> str:
        """The URL for clients of the same user: ``unix:`` and the path of a socket."""
        return self._sockets.grpc_url

    def client(
        self,
        *,
        timeout_s: float,
        recovery_s: float,
        metadata: Callable[[], tuple[tuple[str, str], ...]] | None = None,
    ) -> TritonInference:
        """Return a client that shares memory with the server, and tells it which calls are alone."""
        client = TritonInference(
            self.grpc_url,
            timeout_s=timeout_s,
            recovery_s=recovery_s,
            tells_alone=lambda: self.photos_in_work() <= self._photos_with_room,
            shared_inputs=lambda: self.shared_inputs,
            metadata=metadata,
        )
        self._clients.append(client)
        return client

    @property
    def serving(self) -> bool:
        """Whether the outputs of all models can be trusted at the moment."""
        return self._serving

    @property
    def metrics(self) -> Path:
        """The unix socket that serves Prometheus metrics over HTTP."""
        return self._sockets.metrics

    @property
    def pid(self) -> int:
        """Process id of the present tritonserver."""
        assert self._process is not None
        return self._process.pid

    @property
    def stubs(self) -> dict[int, str]:
        """Process id of each stub process → its model."""
        return dict(self._stubs)

    async def start(self) -> None:
        """Start the server, check every model's golden vector, and start to watch it.

        Raises:
            RuntimeMissing: the server ended, or was not ready within a minute. The message ends with its log.
            ModelCheckFailed: a model does not reproduce its golden vector.
        """
        try:
            await self._launch(self._long_timeout_client)
        except BaseException:
            await self.stop()
            raise
        self._serving = True
        self._watcher = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop the server and remove its shared memory and sockets. Safe to call twice."""
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
            self._watcher = None
        self._endings.close()
        await self._client.aclose()
        await self._long_timeout_client.aclose()
        await self._asking_client.aclose()
        await self._restarted_client.aclose()
        await self._end_process()
        self._folder.cleanup()

    async def _launch(self, client: TritonInference) -> None:
        """Start a server, and have ``client`` check its models."""
        self._write_repository()
        self._process = await TritonProcess.start(self._runtime, self._models, self._sockets, self._region_prefix)
        deadline = time.monotonic() + START_S
        while not await self._client.ready():
            if not self._process.alive or time.monotonic() > deadline:
                raise RuntimeMissing(
                    f"tritonserver did not become ready; the end of its log:\n{self._process.last_lines()}",
                    metadata={"repository": self._repository},
                )
            await asyncio.sleep(0.05)
        self.shared_inputs = await self._shared_memory()
        await check_models(client, self._cards)
        self._note_stubs()
        self._ready_at = time.monotonic()

    async def _shared_memory(self) -> SharedInputs | None:
        """Return memory that the server has opened; None if there is no room for it, or the server cannot open it."""
        memory = None
        try:
            memory = SharedInputs(f"sameface_{os.getpid()}_{uuid.uuid4().hex[:8]}-inputs")
            await self._client.share(memory)
        except (OSError, ModelUnavailable) as error:
            log.warning("large photos go to tritonserver over gRPC, not through shared memory: %s", error)
            return None
        finally:
            if memory is not None:
                memory.unlink()
        return memory

    def _write_repository(self) -> None:
        # Again at each start and repair: versions may have come.
        versions = {model: {card.version for card in self._cards if card.model == model} for model in self._models}
        write_repository(self._sockets.repository, self._repository, versions, self._cores)

    async def _end_process(self) -> None:
        self.shared_inputs = None
        if self._process is not None:
            await self._process.stop()
            self._process = None
        remove_regions(self._region_prefix)

    async def _watch(self) -> None:
        next_canary = time.monotonic() + CANARY_S
        troubled = False
        while True:
            pause = LOOK_S if self._told and not troubled else WATCH_S
            ended = await self._endings.wait(min(pause, next_canary - time.monotonic()))
            troubled = bool(ended)
            try:
                if self._process is None or not self._process.alive or self.pid in ended:
                    troubled = True
                    log.error("tritonserver ended; restarting it")
                    await self._restart()
                elif dead := await asyncio.to_thread(self._models_without_stub):
                    troubled = True
                    log.error("the stub process of %s ended; loading the model again", ", ".join(dead))
                    await self._repair(dead)
                elif await hangs(self._asking_client, self._answered):
                    troubled = True
                    log.error("tritonserver hangs; restarting it")
                    self._process.kill()
                    await self._restart()
                elif time.monotonic() >= next_canary:
                    next_canary = time.monotonic() + CANARY_S
                    if failed := await self._failed_canaries():
                        # A model that is away has given no wrong outputs.
                        self.happened["failed check"] += list(failed.values()).count(ModelCheckFailed.reason)
                        troubled = True
                        told = ", ".join(f"{model} ({reason})" for model, reason in failed.items())
                        log.error("%s failed the canary; loading the model again", told)
                        await self._repair(list(failed))
            except Exception:
                troubled = True
                # The watcher must not end, whatever the error is.
                log.exception("watching tritonserver failed; trying again")

    async def _restart(self) -> None:
        await self._set_serving(False)
        if time.monotonic() - self._ready_at > STABLE_S:
            self._quick_ends = 0
        while True:
            if self._quick_ends:
                backoff = min(FIRST_BACKOFF_S * 2 ** (self._quick_ends - 1), LONGEST_BACKOFF_S)
                log.error("tritonserver ended %d times in short order; restarting in %g s", self._quick_ends, backoff)
                await asyncio.sleep(backoff)
            self._quick_ends += 1
            self.happened["restart"] += 1
            await self._end_process()
            try:
                await self._launch(self._restarted_client)
            except SamefaceError as error:
                log.error("tritonserver did not restart: %s", error.message)
            else:
                await self._set_serving(True)
                return

    async def _repair(self, models: Sequence[str]) -> None:
        self.happened["reload"] += len(models)
        await self._set_serving(False)
        for pid, model in self._stubs.items():
            if model in models:
                # A hanging stub process would survive the unloading of its model.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._stubs = {pid: model for pid, model in self._stubs.items() if model not in models}
        try:
            self._write_repository()
            # Loading alone has no effect on a model that Triton considers ready.
            await asyncio.gather(*(self._long_timeout_client.reload(model) for model in models))
            await check_models(self._long_timeout_client, [card for card in self._cards if card.model in models])
        except SamefaceError as error:
            log.error("loading again did not help; restarting tritonserver: %s", error.message)
            await self._restart()
            return
        self._note_stubs()
        await self._set_serving(True)

    async def _failed_canaries(self) -> dict[str, str]:
        return await failed_canaries(self._client, self._cards, self.metrics)

    def _answered(self) -> int:
        return sum(client.answered.total() for client in self._clients)

    def _note_stubs(self) -> None:
        commands = stub_processes(self.pid)
        self._stubs = {
            pid: model for pid, command in commands.items() for model in self._models if f"/{model}/" in command
        }
        self._told = self._endings.watch([self.pid, *self._stubs])

    def _models_without_stub(self) -> list[str]:
        alive = stub_processes(self.pid)
        return sorted({model for pid, model in self._stubs.items() if pid not in alive})

    async def _set_serving(self, serving: bool) -> None:
        if serving != self._serving:
            self._serving = serving
            await self.on_state_change(serving)
