"""Stages and calls reach observers, and cost no Python call while there are none."""

import asyncio
import inspect
import sys
import threading
from collections.abc import AsyncIterator
from contextvars import ContextVar
from types import FrameType
from typing import Any, cast

import pytest

from sameface.inference.base import Inference, runs_off_loop
from sameface.observation.calls import CANCELLED, PRESENT, observed_stream, observed_unary
from sameface.observation.observers import STAGE_NAMES, Details, End, Metadata, ObservedCall, StageName, observers
from sameface.observation.parts import (
    OPERATIONS,
    observed_engine,
    observed_inference,
    observed_threads,
    unobserved,
)
from sameface.observation.stages import UNOBSERVED, observing, stage, stage_with
from sameface_qdrant import EdgeOptions, ServerOptions
from sameface_qdrant.engines.base import Engine, Where
from sameface_qdrant.store.opening import open_engine
from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.decision import Decision


class Told:
    """An observer that writes down what it is told."""

    def __init__(self, name: str = "", lines: list[str] | None = None) -> None:
        self.name, self.lines = name, [] if lines is None else lines

    def begin_call(self, rpc: str, metadata: Metadata) -> ObservedCall:
        self.lines.append(f"{self.name}call {rpc} {dict(metadata())}")
        return self

    def answered(self, reason: str, answer: Any) -> None:
        self.lines.append(f"{self.name}answer {answer} {reason}".rstrip())

    def decided(self, decision: Decision, contract: Contract) -> None:
        self.lines.append(f"{self.name}decided {decision.outcome} under {contract.model}")

    def ended(self, reason: str) -> None:
        self.lines.append(f"{self.name}end of call {reason}".rstrip())

    def begin_stage(self, name: StageName, details: Details) -> End:
        self.lines.append(f"{self.name}begin {name} {dict(details) or ''}".rstrip())
        return lambda error: self.lines.append(
            f"{self.name}end {name} {type(error).__name__ if error else ''}".rstrip()
        )


def python_calls_in(work: Any) -> list[str]:
    called: list[str] = []

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            called.append(frame.f_code.co_qualname)

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return called


def every_stage() -> None:
    for name in STAGE_NAMES:
        with stage(name):
            pass


def test_a_stage_costs_no_python_call_while_nobody_observes() -> None:
    assert python_calls_in(every_stage) == ["every_stage"]
    with observing(Told()):
        assert len(python_calls_in(every_stage)) > len(STAGE_NAMES)
    assert python_calls_in(every_stage) == ["every_stage"]


def test_an_unobserved_stage_lets_exceptions_through() -> None:
    with pytest.raises(KeyError), stage("decode"):
        raise KeyError


def test_a_stage_that_does_not_exist_is_refused() -> None:
    with pytest.raises(KeyError):
        stage(cast(StageName, "dcode"))


def test_each_observer_is_told_of_a_stage_and_its_error_and_the_last_one_of_its_end_first() -> None:
    lines: list[str] = []
    with observing(Told("a ", lines)), observing(Told("b ", lines)):
        with pytest.raises(ValueError, match="no"), stage_with("inference", {"model": "m", "version": 2}):
            raise ValueError("no")
        with stage("decode"):
            pass
    details = {"model": "m", "version": 2}
    assert lines == [
        f"a begin inference {details}",
        f"b begin inference {details}",
        "b end inference ValueError",
        "a end inference ValueError",
        "a begin decode",
        "b begin decode",
        "b end decode",
        "a end decode",
    ]


def test_what_was_observed_ends_with_the_observer() -> None:
    told = Told()
    with observing(told):
        assert observers() == (told,)
    assert observers() == ()
    assert stage("decode") is UNOBSERVED


async def test_a_unary_call_is_told_with_its_answer_or_with_its_reason() -> None:
    async def handler(requests: str, context: dict[str, str]) -> str | None:
        call = PRESENT.get()
        assert call is not None
        if requests == "leave":
            raise asyncio.CancelledError
        failed = requests == "fail"
        call.note("SERVER_BUSY" if failed else "", None if failed else "yes")
        return None if failed else "yes"

    told = Told()
    with observing(told):
        call = observed_unary("VerifyFace", handler, lambda context: context.items)
        assert await asyncio.create_task(cast(Any, call("ask", {"key": "1"}))) == "yes"
        assert await asyncio.create_task(cast(Any, call("fail", {}))) is None
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(cast(Any, call("leave", {})))
    assert told.lines == [
        "call VerifyFace {'key': '1'}",
        "answer yes",
        "end of call",
        "call VerifyFace {}",
        "end of call SERVER_BUSY",
        "call VerifyFace {}",
        f"end of call {CANCELLED}",
    ]


async def test_a_stream_is_told_with_each_answer_and_once_with_its_end() -> None:
    async def handler(requests: int, context: dict[str, str]) -> AsyncIterator[int]:
        call = PRESENT.get()
        assert call is not None
        for number in range(requests):
            call.note("FACE_NOT_FOUND" if number else "", number)
            yield number

    told = Told()
    with observing(told):
        async for _ in observed_stream("StreamIdentifyFaces", handler, lambda context: context.items)(2, {}):
            pass
    assert told.lines == [
        "call StreamIdentifyFaces {}",
        "answer 0",
        "answer 1 FACE_NOT_FOUND",
        "end of call",
    ]


class Echo:
    """An inference that returns its inputs."""

    async def run(self, model: str, version: int, inputs: Any) -> Any:
        return inputs


class EchoHere(Echo):
    OFF_LOOP = True


async def test_an_observed_inference_runs_where_its_own_does_and_is_the_same_while_nobody_observes() -> None:
    for plain in (cast(Inference, Echo()), cast(Inference, EchoHere())):
        assert observed_inference(plain) is plain
        told = Told()
        with observing(told):
            observed = observed_inference(plain)
            assert runs_off_loop(observed) is runs_off_loop(plain)
            assert await observed.run("face_detector", 1, {"images": 1}) == {"images": 1}  # type: ignore[dict-item]
        assert told.lines == ["begin inference {'model': 'face_detector', 'version': 1}", "end inference"]


def test_every_request_of_an_engine_is_observed() -> None:
    requests = {name for name, one in vars(Engine).items() if inspect.iscoroutinefunction(one)}
    assert set(OPERATIONS) == requests - {"aclose"}


async def test_an_observed_engine_passes_on_what_it_is_asked(tmp_path: Any) -> None:
    plain = await open_engine(f"edge://{tmp_path}", None, ServerOptions(), EdgeOptions())
    assert observed_engine(plain) is plain
    told = Told()
    with observing(told):
        engine = observed_engine(plain)
        await engine.ensure("things", 4)
        assert await engine.get("things", []) == {}

        async def probe() -> None:
            await engine.count("things", Where({}))

        await unobserved(probe)()
        assert (engine.exclusive, engine.description) == (plain.exclusive, plain.description)
        await engine.get("things", [])
        await engine.aclose()
    assert [line for line in told.lines if line.startswith("begin")] == [
        "begin store {'operation': 'ensure', 'engine': 'edge'}",
        "begin store {'operation': 'get', 'engine': 'edge'}",
        "begin store {'operation': 'get', 'engine': 'edge'}",
    ]


def test_threads_work_in_the_context_of_their_caller_while_somebody_observes() -> None:
    variable = ContextVar("variable", default="nothing")
    variable.set("of the caller")
    with observing(Told()), observed_threads(1, "seen") as threads:
        assert threads.submit(variable.get).result() == "of the caller"
        assert threads.submit(lambda: threading.current_thread().name).result().startswith("seen")
    with observed_threads(1, "unseen") as threads:
        assert threads.submit(variable.get).result() == "nothing"
