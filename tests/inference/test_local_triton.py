"""The local Triton gives correct outputs, recovers when a process dies, and leaves nothing behind."""

import asyncio
import functools
import os
import signal
import stat
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sameface.errors import ModelCheckFailed, ModelNotFound, ModelUnavailable, RuntimeMissing
from sameface.inference.cards import ModelCard, golden_input, read_cards
from sameface.inference.check import check_models
from sameface.inference.local.metrics import read_inference_counts
from sameface.inference.local.process import SHARED_MEMORY, TritonProcess
from sameface.inference.local.runtime import Runtime, find_runtime
from sameface.inference.local.server import LocalTriton
from sameface.inference.onnx import OnnxInference, open_session
from sameface.inference.shared_inputs import SLOTS, SharedInputs
from sameface.inference.triton import TritonInference
from sameface.pipeline.photos import PhotoPipeline
from sameface.settings import cache_folder, model_repository_source
from sameface_qdrant.errors import InvalidArgument
from tests.processes import descendants, living, regions

pytestmark = pytest.mark.triton

REPOSITORY = model_repository_source()
CARDS = read_cards(REPOSITORY)
Images: TypeAlias = NDArray[Any]
IMAGES = np.random.default_rng(11).integers(0, 256, (2, 3, 112, 112), np.uint8)


def runtime() -> Runtime:
    found = find_runtime(cache_folder())
    assert found is not None, "prepare it with `sameface triton install`"
    return found


@pytest.fixture(scope="module")
async def triton() -> AsyncIterator[LocalTriton]:
    """One server for all tests here. It repairs what they break."""
    server = LocalTriton(REPOSITORY, runtime(), CARDS, cores=2)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def client(triton: LocalTriton) -> AsyncIterator[TritonInference]:
    # Bounds, not pauses: a server that starts beside other tests takes its time.
    opened = TritonInference(triton.grpc_url, timeout_s=20.0, recovery_s=60.0)
    yield opened
    await opened.aclose()


@pytest.fixture(scope="module")
def expected_alone() -> tuple[list[Images], list[Images]]:
    """Twelve pictures, and the embedding of each from ONNX Runtime in this process."""
    session = open_session(REPOSITORY / "face_embedder" / "1" / "model.onnx", 1)
    pictures = list(np.random.default_rng(14).integers(0, 256, (12, 1, 3, 112, 112), np.uint8))
    return pictures, [session.run(None, {"images": one})[0] for one in pictures]


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


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given_up=st.lists(st.tuples(st.integers(0, 11), st.floats(0.0, 0.05)), max_size=8))
async def test_no_call_reads_the_answer_of_another_one_that_was_given_up(
    client: TritonInference, expected_alone: tuple[list[Images], list[Images]], given_up: list[tuple[int, float]]
) -> None:
    pictures, expected = expected_alone
    calls = [asyncio.create_task(client.run("face_embedder", 1, {"images": one})) for one in pictures]
    loop = asyncio.get_running_loop()
    for number, after_s in given_up:
        loop.call_later(after_s, calls[number].cancel)
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for number, answer in enumerate(answers):
        if isinstance(answer, BaseException):
            assert isinstance(answer, asyncio.CancelledError)
            assert number in {number for number, _ in given_up}
        else:
            np.testing.assert_allclose(answer["embedding"], expected[number], atol=1e-6)


async def test_a_late_answer_reaches_nobody(
    triton: LocalTriton, client: TritonInference, expected_alone: tuple[list[Images], list[Images]]
) -> None:
    pictures, expected = expected_alone
    # Times between those of the fastest and the slowest answer, so that some calls are given up while they run.
    hurried = [TritonInference(triton.grpc_url, timeout_s=0.002 * (n + 1), recovery_s=0.0) for n in range(12)]
    calls = (one.run("face_embedder", 1, {"images": each}) for one, each in zip(hurried, pictures, strict=True))
    for late, wanted in zip(await asyncio.gather(*calls, return_exceptions=True), expected, strict=True):
        if isinstance(late, BaseException):
            assert isinstance(late, ModelUnavailable)
        else:
            np.testing.assert_allclose(late["embedding"], wanted, atol=1e-6)
    for each, wanted in zip(pictures, expected, strict=True):
        answer = await client.run("face_embedder", 1, {"images": each})
        np.testing.assert_allclose(answer["embedding"], wanted, atol=1e-6)
    for one in hurried:
        await one.aclose()


async def test_one_process_serves_each_version_and_a_call_alone_has_the_same_answer(
    triton: LocalTriton, expected_alone: tuple[list[Images], list[Images]]
) -> None:
    assert sorted(triton.stubs.values()) == sorted(card.model for card in CARDS)
    pictures, expected = expected_alone
    telling = triton.client(timeout_s=20.0, recovery_s=60.0)
    for one, wanted in zip(pictures, expected, strict=True):
        answer = await telling.run("face_embedder", 1, {"images": one})
        np.testing.assert_allclose(answer["embedding"], wanted, atol=1e-6)
    together = (telling.run("face_embedder", 1, {"images": one}) for one in pictures)
    for found, wanted in zip(await asyncio.gather(*together), expected, strict=True):
        np.testing.assert_allclose(found["embedding"], wanted, atol=1e-6)
    await telling.aclose()


def wake_ups(triton: LocalTriton, model: str) -> dict[Path, int]:
    """Each thread of the model's processes → how often it has had a processor."""
    folders = [Path(f"/proc/{pid}/task") for pid, one in triton.stubs.items() if one == model]
    tasks = (task for folder in folders for task in folder.iterdir())
    return {task: int((task / "schedstat").read_text().split()[2]) for task in tasks}


async def test_a_call_runs_on_more_threads_only_where_nothing_else_is_in_work(triton: LocalTriton) -> None:
    telling = triton.client(timeout_s=20.0, recovery_s=60.0)

    async def woken() -> dict[Path, int]:
        before = wake_ups(triton, "face_embedder")
        for _ in range(8):
            await telling.run("face_embedder", 2, {"images": IMAGES})
        after = wake_ups(triton, "face_embedder")
        return {task: grown for task, count in after.items() if (grown := count - before.get(task, count))}

    triton.photos_in_work = lambda: 2
    try:
        beside_others = await woken()
    finally:
        triton.photos_in_work = lambda: 1
    alone = await woken()
    # A layer wakes the second thread. Others of the process look after it now and then.
    assert [count for task, count in alone.items() if task not in beside_others and count > 40]
    await telling.aclose()


@pytest.fixture
async def sharing(triton: LocalTriton) -> AsyncIterator[TritonInference]:
    opened = triton.client(timeout_s=20.0, recovery_s=60.0)
    yield opened
    await opened.aclose()


async def test_large_inputs_through_shared_memory_give_the_same_answers(
    triton: LocalTriton, client: TritonInference, sharing: TritonInference
) -> None:
    memory = triton.shared_inputs
    assert memory is not None
    rng = np.random.default_rng(16)
    # Small ones, large ones, too large ones, and more at a time than there are places.
    sides = (64, 640, 160, 672, 320, 640, 288, 640, 640, 320, 320, 640, 640, 320)
    photos = [rng.integers(0, 256, (1, 3, side, side), np.uint8) for side in sides]
    photos[4] = photos[4].transpose(0, 1, 3, 2)  # not contiguous
    calls = (sharing.run("face_detector", 1, {"images": photo}) for photo in photos)
    for photo, found in zip(photos, await asyncio.gather(*calls), strict=True):
        expected = await client.run("face_detector", 1, {"images": photo})
        np.testing.assert_array_equal(found["faces"], expected["faces"])
    assert len(memory._free) == SLOTS


async def test_shared_memory_has_no_name_and_no_other_user_can_open_it(triton: LocalTriton) -> None:
    memory = triton.shared_inputs
    assert memory is not None
    assert not (SHARED_MEMORY / memory.name).exists()
    named = SharedInputs("sameface_test_of_the_mode")
    try:
        mode = (SHARED_MEMORY / named.name).stat().st_mode
        assert stat.S_IMODE(mode) == 0o600
        with pytest.raises(FileExistsError):
            SharedInputs(named.name)
    finally:
        named.unlink()


async def test_a_server_that_does_not_know_the_memory_gets_the_input_itself(
    triton: LocalTriton, client: TritonInference
) -> None:
    unknown = SharedInputs("sameface_test_unknown")
    unknown.unlink()
    sharing = TritonInference(triton.grpc_url, recovery_s=0.0, shared_inputs=lambda: unknown)
    photo = np.random.default_rng(17).integers(0, 256, (1, 3, 320, 320), np.uint8)
    found = await sharing.run("face_detector", 1, {"images": photo})
    expected = await client.run("face_detector", 1, {"images": photo})
    np.testing.assert_array_equal(found["faces"], expected["faces"])
    await sharing.aclose()


async def test_calls_that_are_given_up_give_their_places_back(triton: LocalTriton, sharing: TritonInference) -> None:
    memory = triton.shared_inputs
    assert memory is not None
    photo = np.zeros((1, 3, 640, 640), np.uint8)
    calls = [asyncio.create_task(sharing.run("face_detector", 1, {"images": photo})) for _ in range(2 * SLOTS)]
    await asyncio.sleep(0.01)
    for call in calls[::2]:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert len(memory._free) == SLOTS


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
    # The test before leaves the models without processes.
    def runs() -> bool:
        return "face_detector" in triton.stubs.values() and not triton._models_without_stub()

    await until(runs, "the detector runs again")
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
    assert await triton._failed_canaries() == {}
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
    triton: LocalTriton, client: TritonInference, sharing: TritonInference
) -> None:
    expected = (await client.run("face_embedder", 1, {"images": IMAGES}))["embedding"]
    photo = np.random.default_rng(18).integers(0, 256, (1, 3, 640, 640), np.uint8)
    faces = (await sharing.run("face_detector", 1, {"images": photo}))["faces"]
    first, memory = triton.pid, triton.shared_inputs
    os.kill(first, signal.SIGKILL)
    answer = await client.run("face_embedder", 1, {"images": IMAGES})
    np.testing.assert_array_equal(answer["embedding"], expected)
    assert triton.pid != first
    np.testing.assert_array_equal((await sharing.run("face_detector", 1, {"images": photo}))["faces"], faces)
    assert triton.shared_inputs not in (None, memory)


async def test_a_server_that_hangs_is_ended_and_started_again(triton: LocalTriton, client: TritonInference) -> None:
    hung = triton.pid
    os.kill(hung, signal.SIGSTOP)
    answer = await client.run("face_embedder", 1, {"images": IMAGES})
    assert answer["embedding"].shape == (2, 128)
    assert triton.pid != hung
    assert not living({hung})


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
    with pytest.raises(InvalidArgument, match="TMPDIR"):
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
