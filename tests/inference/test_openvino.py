"""OpenVINO runs the embedder: with equal answers where a number says so, and never with others."""

import asyncio
import ctypes
import gc
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sameface.api.system_service import ServedParts
from sameface.errors import ModelCheckFailed, ModelNotFound, RuntimeMissing
from sameface.inference.base import Tensors
from sameface.inference.cards import OPENVINO_EMBEDDER, ModelCard, check_golden, golden_input, read_all_cards
from sameface.inference.check import check_models
from sameface.inference.defaults import ChosenVersion
from sameface.inference.embedders import EmbedderRuntime, embedder_versions, served_models
from sameface.inference.golden_set import check_golden_set, read_golden_faces
from sameface.inference.local.runtime import require_runtime
from sameface.inference.local.server import LocalTriton
from sameface.inference.onnx import OnnxInference
from sameface.inference.openvino import OpenVinoSession, core_of, import_openvino
from sameface.inference.triton import TritonInference
from sameface.models.seal import seal, write_card
from sameface.pipeline.operations import FaceOperations
from sameface.pipeline.photos import PhotoPipeline
from sameface.pipeline.samples import PhotoSample
from sameface.settings import cache_folder, model_repository_source
from sameface_qdrant import Policy, Store
from sameface_qdrant.errors import InvalidArgument

REPOSITORY = model_repository_source()
CARDS = read_all_cards(REPOSITORY)
SERVED = served_models(CARDS, "openvino")
FACES = read_golden_faces(REPOSITORY / "face_embedder" / "golden_set.npz")
QUANTISED = 102


def card(model: str, version: int) -> ModelCard:
    return next(one for one in CARDS if (one.model, one.version) == (model, version))


@pytest.fixture(scope="module")
async def inference() -> AsyncIterator[OnnxInference]:
    opened = OnnxInference(REPOSITORY)
    yield opened
    await opened.aclose()


async def test_every_version_reproduces_its_golden_set_and_tells_the_people_apart(inference: OnnxInference) -> None:
    await check_models(inference, SERVED.run)
    for version in embedder_versions(SERVED.run).values():
        assert version.model == OPENVINO_EMBEDDER
        report = await check_golden_set(inference, version, FACES)
        threshold = {point.fmr: point.threshold for point in version.points}[1e-4]
        assert report.non_mated[-1] < threshold < report.mated[0]


async def test_a_version_that_face_embedder_has_too_gives_equal_answers(inference: OnnxInference) -> None:
    twins = [one for one in SERVED.cards if one.model == "face_embedder"]
    assert [one.version for one in twins] == [1, 2, 3, 4]
    for twin in twins:
        outputs = await inference.run(OPENVINO_EMBEDDER, twin.version, {"images": FACES.images})
        assert twin.golden_set is not None
        assert (np.array(twin.golden_set.outputs) * outputs["embedding"]).sum(axis=1).min() >= 0.9999


async def test_calls_at_a_time_and_batches_give_the_answers_of_each_face_alone(inference: OnnxInference) -> None:
    alone = [
        (await inference.run(OPENVINO_EMBEDDER, QUANTISED, {"images": face[np.newaxis]}))["embedding"]
        for face in FACES.images
    ]
    calls = [inference.run(OPENVINO_EMBEDDER, QUANTISED, {"images": FACES.images}) for _ in range(6)]
    for together in await asyncio.gather(*calls):
        np.testing.assert_array_equal(together["embedding"], np.concatenate(alone))


@pytest.mark.parametrize(
    "inputs",
    [
        {"pixels": FACES.images},
        {"images": FACES.images[:, :, 1:]},
        {"images": FACES.images / 1},
        {"images": FACES.images[:0]},
    ],
    ids=["name", "shape", "data type", "no image"],
)
async def test_a_wrong_input_is_refused(inference: OnnxInference, inputs: Tensors) -> None:
    with pytest.raises(InvalidArgument, match="version 2 does not accept its input"):
        await inference.run(OPENVINO_EMBEDDER, 2, inputs)


@pytest.mark.triton
async def test_the_local_triton_gives_the_answers_of_this_process(inference: OnnxInference, tmp_path: Path) -> None:
    run = [card(OPENVINO_EMBEDDER, version) for version in (2, QUANTISED)]
    folder = tmp_path / OPENVINO_EMBEDDER
    folder.mkdir()
    config = (REPOSITORY / OPENVINO_EMBEDDER / "config.pbtxt").read_text()
    (folder / "config.pbtxt").write_text(config.replace("{ count: 2", "{ count: 1"))  # starts faster
    for one in run:
        (folder / str(one.version)).symlink_to(REPOSITORY / OPENVINO_EMBEDDER / str(one.version))
    triton = LocalTriton(tmp_path, require_runtime(cache_folder()), run)
    await triton.start()  # which checks the golden vectors
    client = TritonInference(triton.grpc_url, timeout_s=20.0)
    try:
        for one in run:
            theirs = await client.run(one.model, one.version, {"images": FACES.images})
            ours = await inference.run(one.model, one.version, {"images": FACES.images})
            np.testing.assert_allclose(theirs["embedding"], ours["embedding"], atol=1e-5)
    finally:
        await client.aclose()
        await triton.stop()


async def test_a_gallery_keeps_its_contract_and_its_scores_when_openvino_runs_its_version(
    inference: OnnxInference, portraits: Path, tmp_path: Path
) -> None:
    photos = [PhotoSample((portraits / f"emmanuel_macron_{year}.jpg").read_bytes()) for year in (2014, 2025)]
    scores = {}
    runtimes: tuple[EmbedderRuntime, ...] = ("onnxruntime", "openvino")
    store = await Store.open(f"edge://{tmp_path}")
    for runtime in runtimes:
        models = served_models(CARDS, runtime)
        pipeline = PhotoPipeline(inference, embedders=models.folders)
        operations = FaceOperations(pipeline, store, models.cards, default_embedder=2)
        if runtime == "onnxruntime":
            await operations.create_gallery(
                "people", embedder_version=None, display_name="", policy=Policy(), request_id=""
            )
            await operations.enroll(
                "people",
                "macron",
                photos[0],
                allow_missing=True,
                display_name="",
                selection=None,
                expire_time=None,
                request_id="",
                validate_only=False,
            )
        decision, _ = await operations.verify(
            "people", "macron", photos[1], scope=None, threshold=None, margin=None, selection=None
        )
        scores[runtime] = decision.score
    await store.aclose()
    assert scores["openvino"] == pytest.approx(scores["onnxruntime"], abs=1e-3)
    assert scores["openvino"] != scores["onnxruntime"]


def test_only_what_the_runtime_allows_is_served() -> None:
    numbers = sorted(int(path.parent.name) for path in (REPOSITORY / OPENVINO_EMBEDDER).glob("*/card.json"))
    assert QUANTISED in numbers
    assert sorted(embedder_versions(SERVED.cards)) == numbers
    assert set(SERVED.folders.values()) == {OPENVINO_EMBEDDER}
    plain = served_models(CARDS, "onnxruntime")
    assert plain.cards == plain.run
    assert sorted(embedder_versions(plain.cards)) == [1, 2, 3, 4]
    parts = ServedParts("", "", "", None, SERVED.cards, ChosenVersion(2, "settings", ""), SERVED.folders)  # type: ignore[arg-type]
    assert {one.model: parts.model_runtime(one) for one in SERVED.cards} == {
        "face_detector": "onnxruntime",
        "face_embedder": "openvino",
        OPENVINO_EMBEDDER: "openvino",
    }


@given(st.sets(st.sampled_from([1, 2, 3, 4, QUANTISED])), st.sampled_from(["onnxruntime", "openvino"]))
def test_of_the_faces_embedder_only_the_chosen_versions_are_served(chosen: set[int], runtime: EmbedderRuntime) -> None:
    everything = served_models(CARDS, runtime)
    there = set(everything.folders)
    if chosen - there:
        with pytest.raises(ModelNotFound, match=rf"\[{min(chosen - there)}.*leave them out"):
            served_models(CARDS, runtime, chosen)
        return
    models = served_models(CARDS, runtime, chosen)
    assert set(models.folders) == (chosen or there)
    assert set(embedder_versions(models.cards)) == (chosen or there)
    # The detector and embedders of other things stay.
    assert [one for one in models.run if not one.embeds_faces] == [
        one for one in everything.run if not one.embeds_faces
    ]


async def test_a_version_for_openvino_is_not_served_without_it_and_the_error_says_how() -> None:
    operations = FaceOperations(None, None, served_models(CARDS, "onnxruntime").cards)  # type: ignore[arg-type]
    with pytest.raises(ModelNotFound, match="--embedder-runtime openvino"):
        operations.embedder_card(QUANTISED)


def test_a_copied_card_is_sealed_with_the_thresholds_of_its_equal_and_no_figures(tmp_path: Path) -> None:
    for model, file in (("face_embedder", "golden_set.npz"), ("face_embedder", "2/card.json")):
        (tmp_path / model / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / model / file).write_bytes((REPOSITORY / model / file).read_bytes())
    path = tmp_path / OPENVINO_EMBEDDER / "2" / "card.json"
    path.parent.mkdir(parents=True)
    copied, expected = card("face_embedder", 2), card(OPENVINO_EMBEDDER, 2)
    write_card(path, copied.model_copy(update={"model": OPENVINO_EMBEDDER, "figures": {"note": "of the other"}}))
    sealed = seal(path, (REPOSITORY / OPENVINO_EMBEDDER / "2" / "model.onnx").read_bytes())
    assert (sealed.sha256, sealed.equivalent_to) == (expected.sha256, expected.equivalent_to)
    assert sealed.operating_points == copied.operating_points != ()
    assert (sealed.evaluation, sealed.groups, sealed.figures) == (None, (), {})


def test_a_twin_with_other_answers_is_refused() -> None:
    other = card(OPENVINO_EMBEDDER, QUANTISED).model_copy(update={"version": 2})
    named = other.model_copy(update={"equivalent_to": {card("face_embedder", 2).sha256: 0.99999}})
    for wrong, found in ((other, "does not name it"), (named, r"has the cosine 0\.8")):
        cards = [one for one in CARDS if (one.model, one.version) != (OPENVINO_EMBEDDER, 2)]
        with pytest.raises(ModelCheckFailed, match=found):
            served_models([*cards, wrong], "openvino")


def test_bf16_does_not_reproduce_the_golden_vector() -> None:
    if "BF16" not in core_of(import_openvino()).get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bf16, so OpenVINO does not use it")
    two = card(OPENVINO_EMBEDDER, 2)
    session = OpenVinoSession(REPOSITORY / two.model / "2" / "model.onnx", precision="bf16")
    (output,) = session.run(None, {"images": golden_input(two.golden.shape)})
    with pytest.raises(ModelCheckFailed, match="does not reproduce its golden vector"):
        check_golden(two, output)


class SignalStack(ctypes.Structure):
    """`stack_t` of Linux: where a thread handles signals."""

    _fields_: ClassVar = [("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]


def signal_stack() -> int | None:
    stack = SignalStack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)) == 0
    start: int | None = stack.start
    return start


def is_mapped(address: int) -> bool:
    ranges = [line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines()]
    return any(int(first, 16) <= address < int(end, 16) for first, end in ranges)


def test_a_session_that_is_closed_leaves_its_thread_able_to_handle_signals() -> None:
    two = card(OPENVINO_EMBEDDER, 2)
    with ThreadPoolExecutor(1) as pool:
        session = pool.submit(OpenVinoSession, REPOSITORY / two.model / "2" / "model.onnx").result()
        del session  # here, in another thread than it was opened in
        gc.collect()
        stack = pool.submit(signal_stack).result()
        assert stack is None or is_mapped(stack)


async def test_without_openvino_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    opened = OnnxInference(REPOSITORY)
    with pytest.raises(RuntimeMissing, match=r"pip install 'sameface\[openvino\]'"):
        await opened.run(OPENVINO_EMBEDDER, 2, {"images": FACES.images})
    await opened.aclose()


def test_openvino_has_no_way_to_report_to_its_maker() -> None:
    import_openvino()
    assert sys.modules["openvino_telemetry"] is None
