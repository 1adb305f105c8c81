"""Parts of the service whose every call is a stage. They are put around the real ones only while somebody observes."""

from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import Any, ParamSpec, TypeVar, cast

from sameface.inference.base import Inference, Tensors, runs_off_loop
from sameface.observation.observers import observers
from sameface.observation.stages import stage_with
from sameface_qdrant.engines.base import Engine

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

READS = ("get", "scroll", "count")
SEARCHES = ("nearest", "nearest_each")
WRITES = ("ensure", "upsert", "set_payload", "delete", "commit")
OPERATIONS = (*READS, *SEARCHES, *WRITES)
"""The requests of `Engine`, which are the values of ``operation``."""


_PROBING: ContextVar[bool] = ContextVar("probing", default=False)


def unobserved(probe: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """Return a probe whose requests to the store are no stages. There would be more of them than of calls."""

    async def quiet() -> None:
        token = _PROBING.set(True)
        try:
            await probe()
        finally:
            _PROBING.reset(token)

    return quiet


def observed_inference(inference: Inference) -> Inference:
    """Return the inference with a stage for each run of a model; unchanged while nobody observes."""
    if not observers():
        return inference
    return _InferenceOffLoop(inference) if runs_off_loop(inference) else _ObservedInference(inference)


def observed_engine(engine: Engine) -> Engine:
    """Return the engine of a store with a stage for each request; unchanged while nobody observes."""
    return cast(Engine, _ObservedEngine(engine)) if observers() else engine


def observed_threads(threads: int, name: str) -> ThreadPoolExecutor:
    """Return a pool of threads. While somebody observes, they work in the context of their caller."""
    return (_ThreadsOfCallers if observers() else ThreadPoolExecutor)(threads, thread_name_prefix=name)


class _ObservedInference:
    """Implements `Inference`."""

    observed = True
    """Asks the pipeline to keep the present span, see `sameface.pipeline.off_loop`."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    async def run(self, model: str, version: int, inputs: Tensors) -> Tensors:
        """See `Inference.run`."""
        with stage_with("inference", {"model": model, "version": version}):
            return await self._inference.run(model, version, inputs)

    async def server_version(self) -> str:
        """See `Inference.server_version`."""
        return await self._inference.server_version()

    async def aclose(self) -> None:
        """See `Inference.aclose`."""
        await self._inference.aclose()


class _InferenceOffLoop(_ObservedInference):
    """Around an inference that a thread without an event loop may run, see `runs_off_loop`."""

    OFF_LOOP = True


class _ObservedEngine:
    """Everything but the requests is the engine's own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.exclusive = engine.exclusive  # asked for several times by every decision
        for operation in OPERATIONS:
            setattr(self, operation, _observed(getattr(engine, operation), operation, engine.description.kind))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def _observed(
    request: Callable[Arguments, Awaitable[Result]], operation: str, kind: str
) -> Callable[Arguments, Awaitable[Result]]:
    details = {"operation": operation, "engine": kind}

    async def observed(*args: Arguments.args, **more: Arguments.kwargs) -> Result:
        if _PROBING.get():
            return await request(*args, **more)
        with stage_with("store", details):
            return await request(*args, **more)

    return observed


class _ThreadsOfCallers(ThreadPoolExecutor):
    """Threads do not take over a context variable, such as the present call, by themselves."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """See `ThreadPoolExecutor.submit`."""
        return super().submit(copy_context().run, fn, *args, **kwargs)
