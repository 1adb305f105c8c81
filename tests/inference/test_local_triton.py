"""The local Triton gives correct outputs, recovers when a process dies, and leaves nothing behind."""

import asyncio
import functools
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from sameface.errors import ModelCheckFailed, ModelNotFound, ModelUnavailable, RuntimeMissing
from sameface.inference.cards import ModelCard, golden_input, read_cards
from sameface.inference.check import check_models
from sameface.inference.local.metrics import read_inference_counts
from sameface.inference.local.process import TritonProcess
from sameface.inference.local.runtime import Runtime, find_runtime
from sameface.inference.local.server import LocalTriton
from sameface.inference.onnx import OnnxInference
from sameface.inference.triton import TritonInference
from sameface.pipeline.photos import PhotoPipeline
from sameface.settings import cache_folder, model_repository_source
from sameface_qdrant.errors import InvalidArgument
from tests.processes import descendants, living, regions

pytestmark = pytest.mark.triton

REPOSITORY = model_repository_source()
CARDS = read_cards(REPOSITORY)
IMAGES = np.random.default_rng(11).integers(0, 256, (2, 3, 112, 112), np.uint8)


def runtime() -> Runtime:
    found = find_runtime(cache_folder())
    assert found is not None, "prepare it with `sameface triton install`"
    return found


@pytest.fixture(scope="module")
async def triton() -> AsyncIterator[LocalTriton]:
    """One server for all tests here. It repairs what they break."""
    server = LocalTriton(REPOSITORY, runtime(), CARDS)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def client(triton: LocalTriton) -> AsyncIterator[TritonInference]:
    # Bounds, not pauses: a server that starts beside other tests takes its time.
    opened = TritonInference(triton.grpc_url, timeout_s=20.0, recovery_s=60.0)
    yield opened
    await opened.aclose()


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until other processes make a condition true. The time limit of the test bounds it."""
    for _ in range(600):
        if condition():
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"did not happen: {what}")


async def test_answers_are_those_of_onnxruntime_in_process(triton: LocalTriton, client: TritonInference) -> None:
    in_process = OnnxInference(REPOSITORY)
    photo = np.random.default_rng(12).integers(0, 256, (1, 3, 96, 160), np.uint8)
    for model, images in (("face_embedder", IMAGES), ("face_detector", photo)):
        ours = await client.run(model, 1, {"images": images})
        theirs = await in_process.run(model, 1, {"images": images})
        assert ours.keys() == theirs.keys()
        for name, values in ours.items():
            np.testing.assert_array_equal(values, theirs[name])
    await in_process.aclose()


async def test_concurrent_calls_of_several_sizes_do_not_mix(client: TritonInference) -> None:
    rng = np.random.default_rng(13)
    batches = [rng.integers(0, 256, (size, 3, 112, 112), np.uint8) for size in (1, 3, 2, 1, 4, 1, 2, 1)]
    alone = [(await client.run("face_embedder", 1, {"images": batch}))["embedding"] for batch in batches]
    together = await asyncio.gather(*(client.run("face_embedder", 1, {"images": batch}) for batch in batches))
    for expected, actual in zip(alone, together, strict=True):
        np.testing.assert_allclose(actual["embedding"], expected, atol=1e-6)


@pytest.mark.parametrize(
    "inputs",
    [
        {"images": IMAGES.astype(np.float32)},
        {"images": IMAGES[:, :, :100]},
        {"pictures": IMAGES},
        {"images": np.zeros((33, 3, 112, 112), np.uint8)},
    ],
    ids=["data type", "shape", "name", "batch"],
)
async def test_a_wrong_input_is_the_callers_and_is_told_at_once(
    client: TritonInference, inputs: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]
) -> None:
    with pytest.raises(InvalidArgument):
        await client.run("face_embedder", 1, inputs)


async def test_a_model_that_is_not_served_is_not_waited_for(client: TritonInference) -> None:
    with pytest.raises(ModelNotFound):
        await client.run("face_embedder", 99, {"images": IMAGES})
    with pytest.raises(ModelNotFound):
        await client.run("no_model", 1, {"images": IMAGES})


async def test_metrics_count_what_was_inferred(triton: LocalTriton, client: TritonInference) -> None:
    before = await asyncio.to_thread(read_inference_counts, triton.metrics)
    await client.run("face_embedder", 1, {"images": IMAGES})

    def counted() -> bool:
        # The canary's calls are counted too.
        after = read_inference_counts(triton.metrics)
        return after["face_embedder", 1] - before["face_embedder", 1] >= len(IMAGES)

    # Triton counts a call after its answer.
    await until(counted, "the batch is counted")


async def test_a_killed_model_process_is_mended_while_callers_wait(
    triton: LocalTriton, client: TritonInference
) -> None:
    expected = (await client.run("face_embedder", 1, {"images": IMAGES}))["embedding"]
    states: list[bool] = []

    async def note(serving: bool) -> None:
        states.append(serving)

    triton.on_state_change = note
    server = triton.pid
    killed = {pid for pid, model in triton.stubs.items() if model == "face_embedder"}
    assert killed
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    answer = await client.run("face_embedder", 1, {"images": IMAGES})
    np.testing.assert_array_equal(answer["embedding"], expected)
    await until(lambda: states[-1:] == [True], "serving again")
    assert states == [False, True]
    assert not (await check_models(client, CARDS)).keys() ^ {(card.model, card.version) for card in CARDS}
    assert triton.pid == server
    assert not killed & triton.stubs.keys()


async def test_a_caller_that_cannot_wait_is_told_when_to_come_back(triton: LocalTriton) -> None:
    hurried = TritonInference(triton.grpc_url, timeout_s=5.0, recovery_s=0.0)
    for pid in triton.stubs:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(ModelUnavailable) as refused:
        await hurried.run("face_embedder", 1, {"images": IMAGES})
    assert refused.value.retry_after_s
    await hurried.aclose()


async def test_a_hung_model_process_is_mended(triton: LocalTriton, client: TritonInference) -> None:
    hung = [pid for pid, model in triton.stubs.items() if model == "face_detector"]
    for pid in hung:
        os.kill(pid, signal.SIGSTOP)
    patient = TritonInference(triton.grpc_url, timeout_s=5.0, recovery_s=60.0)
    answer = await patient.run("face_detector", 1, {"images": np.zeros((1, 3, 64, 64), np.uint8)})
    assert answer["faces"].shape[0] == 1
    # The watcher records the new process at its next check.
    await until(lambda: not set(hung) & triton.stubs.keys(), "the hung processes are gone")
    await patient.aclose()


async def test_a_busy_model_is_not_taken_for_a_broken_one(triton: LocalTriton, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = TritonInference(triton.grpc_url, timeout_s=150.0, recovery_s=0.0)
    batch = np.zeros((12, 3, 112, 112), np.uint8)
    began = time.monotonic()
    await patient.run("face_embedder", 1, {"images": batch})
    # Each of the two instances runs twelve calls. The canary times out after four.
    monkeypatch.setattr(triton._client, "_timeout_s", 4 * (time.monotonic() - began))
    flood = [asyncio.create_task(patient.run("face_embedder", 1, {"images": batch})) for _ in range(24)]
    await asyncio.sleep(0.2)
    with pytest.raises(ModelUnavailable):
        await check_models(triton._client, [card for card in CARDS if card.is_embedder])
    assert await triton._failed_canaries() == []
    assert len(await asyncio.gather(*flood)) == 24
    await patient.aclose()


async def test_a_server_that_keeps_ending_is_started_at_growing_intervals(
    triton: LocalTriton, client: TritonInference, caplog: pytest.LogCaptureFixture
) -> None:
    def another(first: int) -> bool:
        return triton._process is not None and triton.pid != first

    triton._quick_ends = 0
    for _ in range(3):
        first = triton.pid
        os.kill(first, signal.SIGKILL)
        await until(functools.partial(another, first), "another server")
        await client.run("face_embedder", 1, {"images": IMAGES})
        await until(lambda: triton._serving, "serving again")
    pauses = [float(record.args[1]) for record in caplog.records if "in short order" in record.msg]  # type: ignore[index,arg-type]
    assert pauses[-2:] == [0.5, 1.0]


async def test_more_faces_than_a_batch_holds_are_embedded(client: TritonInference) -> None:
    rng = np.random.default_rng(15)
    crops = [rng.integers(0, 256, (112, 112, 3), np.uint8) for _ in range(70)]
    vectors = await PhotoPipeline(client).embed(crops, 1)
    assert len(vectors) == 70
    (alone,) = await PhotoPipeline(client).embed([crops[69]], 1)
    np.testing.assert_allclose(vectors[69], alone, atol=1e-6)


async def test_a_line_without_end_does_not_stop_the_reader() -> None:
    talker = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import sys; sys.stdout.write('x' * 3_000_000); print(); print('the end', flush=True); sys.stdin.read()",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    process = TritonProcess(talker)
    await until(lambda: "the end" in process.last_lines(), "the last line was read")
    await process.stop()
    assert not process.alive


async def test_a_killed_server_is_started_again_on_the_same_socket(
    triton: LocalTriton, client: TritonInference
) -> None:
    expected = (await client.run("face_embedder", 1, {"images": IMAGES}))["embedding"]
    first = triton.pid
    os.kill(first, signal.SIGKILL)
    answer = await client.run("face_embedder", 1, {"images": IMAGES})
    np.testing.assert_array_equal(answer["embedding"], expected)
    assert triton.pid != first


async def test_nothing_is_left_behind(triton: LocalTriton) -> None:
    before = regions(os.getpid())
    second = LocalTriton(REPOSITORY, runtime(), CARDS)
    await second.start()
    processes = {second.pid} | descendants(second.pid)
    assert len(processes) >= 4
    # A killed stub leaks its shared memory, which must be removed too.
    os.kill(next(iter(second.stubs)), signal.SIGKILL)
    await second.stop()
    await second.stop()
    assert living(processes) == set()
    assert regions(os.getpid()) <= before
    assert not second.metrics.parent.exists()


async def test_a_model_that_does_not_reproduce_its_golden_vector_is_not_served(tmp_path: Path) -> None:
    def spoiled(card: ModelCard) -> ModelCard:
        output = tuple(reversed(card.golden.output))
        return card.model_copy(update={"golden": card.golden.model_copy(update={"output": output})})

    before = regions(os.getpid())
    server = LocalTriton(REPOSITORY, runtime(), [spoiled(card) for card in CARDS])
    with pytest.raises(ModelCheckFailed, match="golden vector"):
        await server.start()
    assert regions(os.getpid()) <= before


async def test_a_folder_whose_path_is_too_long_for_a_socket_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(RuntimeMissing, match="TMPDIR"):
        LocalTriton(REPOSITORY, runtime(), CARDS)
    assert list(long.iterdir()) == []


async def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    server = LocalTriton(tmp_path, runtime(), CARDS)
    with pytest.raises(RuntimeMissing, match="did not become ready"):
        await server.start()


async def test_the_golden_check_covers_every_card(client: TritonInference) -> None:
    cosines = await check_models(client, CARDS)
    assert cosines.keys() == {(card.model, card.version) for card in CARDS}
    assert min(cosines.values()) > 0.999999


async def test_in_process_the_same_errors_mean_the_same() -> None:
    inference = OnnxInference(REPOSITORY)
    with pytest.raises(InvalidArgument):
        await inference.run("face_embedder", 1, {"images": IMAGES.astype(np.float32)})
    with pytest.raises(InvalidArgument):
        await inference.run("face_embedder", 1, {"pictures": IMAGES})
    with pytest.raises(ModelNotFound):
        await inference.run("face_embedder", 99, {"images": IMAGES})
    answers: list[Awaitable[object]] = [
        inference.run("face_embedder", 1, {"images": golden_input((1, 3, 112, 112))}) for _ in range(4)
    ]
    assert len(await asyncio.gather(*answers)) == 4
    await inference.aclose()
