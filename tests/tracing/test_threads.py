"""Spans keep their parents where the work on a photo changes between threads and the event loop."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from sameface.api.status import code_of
from sameface.errors import ModelUnavailable
from sameface.inference.base import Inference, Tensors
from sameface.observation.current import CURRENT
from sameface.observation.parts import observed_inference, observed_threads
from sameface.observation.stages import observing, stage
from sameface.pipeline.off_loop import OffLoop, off_loop
from sameface.tracing.spans import Span, Tracer
from tests.tracing.test_spans import Kept


class OnLoop:
    """Runs models as Triton's client does: it awaits an answer."""

    async def run(self, model: str, version: int, inputs: Tensors) -> Tensors:
        await asyncio.sleep(0)
        if model == "away":
            raise ModelUnavailable("away")
        return {}

    async def server_version(self) -> str:
        return ""

    async def aclose(self) -> None:
        """Close nothing."""


class InThread(OnLoop):
    """Runs models as ONNX Runtime does: in the thread, without an await."""

    OFF_LOOP = True

    async def run(self, model: str, version: int, inputs: Tensors) -> Tensors:
        if model == "away":
            raise ModelUnavailable("away")
        return {}


async def photo(place: OffLoop) -> None:
    """Mark stages as a photo does, before and after runs of models."""
    with stage("detect"):
        await place.run("detector", 1, {})
        with stage("decode"):
            pass
    with stage("embed"):
        await place.run("embedder", 1, {}, brief=True)
        with stage("quality"):
            pass
    with stage("audit"):
        await place.run("away", 1, {})


def roads(spans: list[Span]) -> set[str]:
    """Return each span as the names from the call down to it."""
    above: Mapping[int, Span] = {span.id: span for span in spans}

    def road(span: Span) -> str:
        return f"{road(above[span.parent])}/{span.name}" if span.parent in above else span.name

    return {road(span) for span in spans}


@pytest.mark.parametrize("inference", [OnLoop(), InThread()], ids=["on the loop", "in the thread"])
async def test_stages_are_below_the_stage_around_them(inference: Inference) -> None:
    kept = Kept()
    tracer = Tracer(kept, sample_ratio=1, follow_callers=False, methods={}, code_of=code_of, on_triton=True)
    with observing(tracer), observed_threads(2, "test") as threads:

        async def call() -> Any:
            spans = tracer.begin_call("VerifyFace", lambda: ())
            with pytest.raises(ModelUnavailable):
                await off_loop(threads, observed_inference(inference), photo)
            assert CURRENT.get() is spans.root
            spans.ended("MODEL_UNAVAILABLE")

        await asyncio.gather(*(asyncio.create_task(call()) for _ in range(3)))
    assert len(kept.spans) == 3 * 9
    assert roads(kept.spans) == {
        "VerifyFace",
        "VerifyFace/detect",
        "VerifyFace/detect/infer detector",
        "VerifyFace/detect/decode",
        "VerifyFace/embed",
        "VerifyFace/embed/infer embedder",
        "VerifyFace/embed/quality",
        "VerifyFace/audit",
        "VerifyFace/audit/infer away",
    }
