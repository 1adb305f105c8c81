"""`sameface serve` as a process: its output, its recovery, and its cleanup."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from sameface.client import ServiceError, connect
from sameface.client.connection import Connection
from sameface.errors import ServerEnded
from sameface.inference.cards import read_cards
from sameface.inference.local.runtime import find_runtime
from sameface.inference.local.server import LocalTriton
from sameface.launcher import Service, served
from sameface.settings import cache_folder, model_repository_source
from sameface.v1 import decision_pb2, face_pb2, face_service_pb2, gallery_service_pb2, system_service_pb2
from tests.cli.conftest import Run
from tests.cli.conftest import sameface as sameface
from tests.conftest import SINGLE_PASS, default_version
from tests.processes import descendants, living, regions, until, until_no_more_regions
from tools.transcripts.places import stale

SERVICES = {
    "sameface.v1.FaceService",
    "sameface.v1.GalleryService",
    "sameface.v1.MigrationService",
    "sameface.v1.SystemService",
}


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `sameface` as a separate process."""
    command = [sys.executable, "-m", "sameface.cli", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}, timeout=60
    )


def enroll_and_verify(
    connection: Connection, portraits: Path, gallery: str = "people", version: int = 0
) -> decision_pb2.Decision:
    """Enrol and verify a person in a new gallery of a version of the embedder; 0 is the service's default."""
    connection.galleries.CreateGallery(
        gallery_service_pb2.CreateGalleryRequest(gallery_id=gallery, embedder_version=version)
    )
    name = f"galleries/{gallery}/identities/macron"
    photo = (portraits / "emmanuel_macron_2014.jpg").read_bytes()
    connection.faces.EnrollTemplate(
        face_service_pb2.EnrollTemplateRequest(parent=name, sample=face_pb2.Sample(photo=photo), allow_missing=True)
    )
    return verify(connection, portraits, name)


def verify(
    connection: Connection, portraits: Path, name: str = "galleries/people/identities/macron"
) -> decision_pb2.Decision:
    probe = face_pb2.Sample(photo=(portraits / "emmanuel_macron_2025.jpg").read_bytes())
    answer: face_service_pb2.VerifyFaceResponse = connection.faces.VerifyFace(
        face_service_pb2.VerifyFaceRequest(name=name, sample=probe)
    )
    return answer.decision


def test_health_answers_for_the_server_and_each_service(connection: Connection) -> None:
    stub: Any = health_pb2_grpc.HealthStub(connection.channel)
    for name in ("", *SERVICES):
        assert stub.Check(health_pb2.HealthCheckRequest(service=name)).status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as refused:
        stub.Check(health_pb2.HealthCheckRequest(service="sameface.v1.Nothing"))
    assert ServiceError.of(refused.value).code == grpc.StatusCode.NOT_FOUND


def test_reflection_describes_every_service(connection: Connection) -> None:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(connection.channel)
    ask = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = stub.ServerReflectionInfo(iter([ask]))
    assert {service.name for service in answer.list_services_response.service} >= SERVICES


def test_server_info_names_every_part_and_the_version_that_the_setting_names(connection: Connection) -> None:
    info = connection.system.GetServerInfo(system_service_pb2.GetServerInfoRequest())
    assert (info.inference_runtime, info.inference_version) == ("triton", "2.51.0")
    assert (info.store_engine, info.store_version) == ("edge", "0.9.0")
    models = {(model.name, model.version): model for model in info.models}
    (default,) = (key for key, model in models.items() if model.default_embedder)
    assert {model.runtime for model in models.values()} == {"onnxruntime"}
    assert default == ("face_embedder", SINGLE_PASS)
    assert info.default_embedder_origin == "settings"
    assert models[default].contract.dimension == 128
    assert not models["face_detector", 1].HasField("contract")


@dataclass(frozen=True, slots=True)
class Used:
    """What a service without Triton did from its start to its end."""

    children: set[int]
    decision: decision_pb2.Decision
    refused: list[ServiceError]
    """The errors of verifications that were asked for at the same time, where one request is allowed."""
    embedding: list[float]
    log: str
    info: system_service_pb2.GetServerInfoResponse
    contract_version: int
    """The version of the embedder that its gallery is bound to. No setting names one."""


@pytest.fixture(scope="module")
def used(portraits: Path, tmp_path_factory: pytest.TempPathFactory) -> Used:
    """A service that runs the models itself, writes the log of debugging, and takes one request at a time."""
    folder = tmp_path_factory.mktemp("used")
    refused: list[ServiceError] = []

    def call(connection: Connection) -> None:
        try:
            verify(connection, portraits)
        except grpc.RpcError as error:
            refused.append(ServiceError.of(error))

    flags = ["--inference", "onnx", "--log-level", "debug"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAMEFACE_MAX_REQUESTS", "1")
        with served(folder / "data", folder / "log", flags) as service, connect(service.address) as connection:
            children = descendants(service.pid)
            decision = enroll_and_verify(connection, portraits)
            flying = [threading.Thread(target=call, args=[connection]) for _ in range(8)]
            for thread in flying:
                thread.start()
            for thread in flying:
                thread.join()
            (embedded,) = connection.faces.EmbedFaces(
                face_service_pb2.EmbedFacesRequest(photo=(portraits / "emmanuel_macron_2025.jpg").read_bytes())
            ).faces
            info = connection.system.GetServerInfo(system_service_pb2.GetServerInfoRequest())
            bound = connection.galleries.GetGallery(gallery_service_pb2.GetGalleryRequest(name="galleries/people"))
    log = (folder / "log").read_text()
    return Used(children, decision, refused, list(embedded.embedding.values), log, info, bound.contract.version)


def test_without_a_setting_new_galleries_are_bound_to_the_default_of_the_repository(used: Used) -> None:
    assert used.contract_version == default_version()
    assert used.info.default_embedder_origin == "model repository"
    (default,) = (model for model in used.info.models if model.default_embedder)
    assert (default.name, default.version) == ("face_embedder", default_version())


def test_in_process_inference_decides_as_triton_does(connection: Connection, portraits: Path, used: Used) -> None:
    by_triton = enroll_and_verify(connection, portraits, "in-process-twin", used.contract_version)
    connection.galleries.DeleteGallery(
        gallery_service_pb2.DeleteGalleryRequest(name="galleries/in-process-twin", force=True)
    )
    assert used.children == set()
    assert used.decision.outcome == by_triton.outcome == decision_pb2.OUTCOME_MATCH
    assert used.decision.score == pytest.approx(by_triton.score, abs=1e-6)


def test_more_requests_than_allowed_are_told_to_come_back(used: Used) -> None:
    assert used.refused
    for error in used.refused:
        assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVER_BUSY")
        assert error.retry_after_s


def test_no_biometric_data_is_logged(used: Used) -> None:
    assert "INFO sameface.service: stopping" in used.log
    for value in used.embedding:
        assert f"{abs(value):.5f}" not in used.log
    assert "JFIF" not in used.log


@pytest.mark.usefixtures("every_version")
def test_the_start_up_line_says_what_is_served_where_and_a_health_watch_does_not_hold_up_the_drain(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-m", "sameface.cli", "serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path)]
    environment = {**os.environ, "SAMEFACE_DRAIN_S": "150"}
    with subprocess.Popen(
        [*command, "--inference", "onnx"], env=environment, stdout=subprocess.PIPE, text=True
    ) as serving:
        try:
            assert serving.stdout is not None
            line = serving.stdout.readline()
            default = f"face_embedder v{default_version()} (default)"
            for part in ("127.0.0.1:", "face_detector v1", default, "onnxruntime", "Qdrant edge 0.9.0"):
                assert part in line
            assert str(tmp_path) in line
            (models,) = re.findall(r"\| models: (.*?) on ", line)
            assert not stale("docs/operations.md", {"models": models}), (
                "docs/operations.md shows others: make transcripts"
            )
            address = line.partition(" serves on ")[2].partition(" ")[0]
            with connect(address) as connection:
                stub: Any = health_pb2_grpc.HealthStub(connection.channel)
                watch = stub.Watch(health_pb2.HealthCheckRequest(service=""))
                assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
                serving.terminate()
                assert serving.wait(60) == 0
        finally:
            serving.kill()


async def test_a_remote_triton_is_used_and_left_alone(portraits: Path, tmp_path: Path) -> None:
    runtime = find_runtime(cache_folder())
    assert runtime is not None
    repository = model_repository_source()
    triton = LocalTriton(repository, runtime, read_cards(repository))
    await triton.start()
    pid = triton.pid

    def use() -> decision_pb2.Decision:
        flags = ["--triton-url", triton.grpc_url]
        with served(tmp_path / "data", tmp_path / "log", flags) as service, connect(service.address) as remote:
            assert descendants(service.pid) == set()
            return enroll_and_verify(remote, portraits)

    assert (await asyncio.to_thread(use)).outcome == decision_pb2.OUTCOME_MATCH
    assert triton.pid == pid
    assert living({pid}) == {pid}
    await triton.stop()


def test_an_address_in_use_is_named_and_nothing_is_left_running(service: Service, tmp_path: Path) -> None:
    before = regions()
    result = process("serve", "--listen", service.address, "--data-dir", str(tmp_path))
    assert result.returncode == 3
    assert f"ADDRESS_UNAVAILABLE: cannot listen on {service.address}: another program listens there" in result.stderr
    # It is told before models and store are opened.
    assert not list(tmp_path.iterdir())
    until_no_more_regions(before)


def test_sigterm_lets_requests_in_flight_finish(portraits: Path, tmp_path: Path) -> None:
    finished: list[int] = []
    refused: list[grpc.StatusCode] = []

    def call(connection: Connection) -> None:
        try:
            finished.append(verify(connection, portraits).outcome)
        except grpc.RpcError as error:
            refused.append(ServiceError.of(error).code)

    with served(tmp_path / "data", tmp_path / "log") as service, connect(service.address) as connection:
        enroll_and_verify(connection, portraits)
        processes = {service.pid} | descendants(service.pid)
        assert len(processes) >= 5
        flying = [threading.Thread(target=call, args=[connection]) for _ in range(8)]
        for thread in flying:
            thread.start()
        until(lambda: bool(finished), "the first answer")
        os.kill(service.pid, signal.SIGTERM)
        for thread in flying:
            thread.join()

        def is_refused() -> bool:
            try:
                verify(connection, portraits)
            except grpc.RpcError:
                return True
            return False

        # The signal may be handled after the last request.
        until(is_refused, "new requests are refused")
        # A second signal would end it before its time.
        until(lambda: not living({service.pid}), "the service has ended")
    # Accepted requests got a response. Refused ones got an error. No call was cut off.
    assert len(finished) + len(refused) == 8
    assert set(finished) == {decision_pb2.OUTCOME_MATCH}
    assert set(refused) <= {grpc.StatusCode.UNAVAILABLE}
    until(lambda: not living(processes), "every process has ended")


def test_a_killed_service_takes_its_triton_along_loses_nothing_and_the_next_one_holds_the_folder(
    portraits: Path, tmp_path: Path
) -> None:
    before = regions()

    def use_and_kill() -> None:
        with served(tmp_path / "data", tmp_path / "first.log") as service, connect(service.address) as connection:
            enroll_and_verify(connection, portraits)
            processes = {service.pid} | descendants(service.pid)
            os.kill(service.pid, signal.SIGKILL)
            until(lambda: not living(processes), "every process has ended")

    with pytest.raises(ServerEnded, match="-9"):
        use_and_kill()
    until_no_more_regions(before)
    with (
        served(tmp_path / "data", tmp_path / "second.log", ["--inference", "onnx"]) as again,
        connect(again.address) as connection,
    ):
        assert verify(connection, portraits).outcome == decision_pb2.OUTCOME_MATCH
        flags = ["--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data"), "--inference", "onnx"]
        result = process("serve", *flags)
    assert result.returncode == 3
    assert "STORE_LOCKED" in result.stderr
    assert f'"pid": {again.pid}' in result.stderr
    assert "Traceback" not in result.stderr


def test_a_second_signal_ends_the_service_while_a_photo_is_decoded(portraits: Path, tmp_path: Path) -> None:
    # A decoder that never returns, in place of a photo that takes long on this machine alone.
    script = """
import sys, threading
from sameface.pipeline import photos

def never(*arguments, **options):
    print("decoding", file=sys.stderr, flush=True)
    threading.Event().wait()

photos.decode_image = never
from sameface.cli.main import main
main()
"""
    command = [sys.executable, "-c", script, "serve", "--json", "--inference", "onnx", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(
        [*command, "--data-dir", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            with connect(json.loads(process.stdout.readline())["address"]) as connection:
                photo = (portraits / "emmanuel_macron_2014.jpg").read_bytes()
                call: Any = connection.faces.DetectFaces.future(face_service_pb2.DetectFacesRequest(photo=photo))
                while "decoding" not in process.stderr.readline():
                    assert process.poll() is None
                process.send_signal(signal.SIGTERM)
                while "draining" not in process.stderr.readline():
                    assert process.poll() is None
                process.send_signal(signal.SIGTERM)
                assert process.wait(30) == 128 + signal.SIGTERM
                assert call.exception() is not None
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("flags", "waited_for"),
    [(["--triton-url", "127.0.0.1:9"], "Triton"), (["--qdrant-url", "http://127.0.0.1:9"], "Qdrant")],
)
def test_a_signal_ends_a_start_that_waits(tmp_path: Path, flags: list[str], waited_for: str) -> None:
    command = [sys.executable, "-m", "sameface.cli", "serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path)]
    environment = {**os.environ, "SAMEFACE_STARTUP_S": "1000", "SAMEFACE_TRITON_RECOVERY_S": "0"}
    with subprocess.Popen([*command, *flags], env=environment, stderr=subprocess.PIPE, text=True) as starting:
        assert starting.stderr is not None
        while f"waiting for {waited_for}" not in starting.stderr.readline():
            assert starting.poll() is None
        starting.terminate()
        # Otherwise it would wait for a quarter of an hour.
        assert starting.wait(60) == 0


def test_a_command_that_is_told_to_end_takes_its_service_along(tmp_path: Path) -> None:
    before = regions()
    process = subprocess.Popen([sys.executable, "-m", "sameface.cli", "demo", "--output", str(tmp_path)])
    until(lambda: len(descendants(process.pid)) >= 4, "service and tritonserver are running")
    processes = descendants(process.pid)
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    until(lambda: not living(processes), "every process has ended")
    until_no_more_regions(before)


def print_config(*flags: str, **environment: str) -> dict[str, Any]:
    result = process("serve", "--print-config", *flags, **environment)
    assert result.returncode == 0, result.stderr
    settings: dict[str, Any] = json.loads(result.stdout)
    return settings


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "sameface.toml"
    file.write_text('listen = "127.0.0.1:1"\nmax_requests = 7\ndrain_s = 1.5\n[quality]\nmax_yaw = 30\n')
    flags = ["--config", str(file), "--listen", "127.0.0.1:3"]
    environment = {
        "SAMEFACE_LISTEN": "127.0.0.1:2",
        "SAMEFACE_MAX_REQUESTS": "8",
        "SAMEFACE_QUALITY__MIN_SHARPNESS": "33",
        "SAMEFACE_QDRANT_API_KEY": "a secret",
    }
    settings = print_config(*flags, **environment)
    assert (settings["listen"], settings["max_requests"], settings["drain_s"]) == ("127.0.0.1:3", 8, 1.5)
    assert (settings["quality"]["min_sharpness"], settings["quality"]["max_yaw"]) == (33, 30)
    assert settings["max_faces"] == 100
    assert "a secret" not in json.dumps(settings)


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"SAMEFACE_LISTEN": "nowhere"}, "listen"),
        ({"SAMEFACE_LISTEN": "unix:1"}, "listen"),
        ({"SAMEFACE_LISTEN": "dns:///localhost:1"}, "listen"),
        ({"SAMEFACE_LISTEN": "::1:50051"}, "listen"),
        ({"SAMEFACE_MAX_REQUESTS": "0"}, "max_requests"),
        ({"SAMEFACE_QDRANT_URL": "host:6334"}, "qdrant_url"),
        ({"SAMEFACE_INFERENCE": "magic"}, "inference"),
        ({"SAMEFACE_INFERENCE": "onnx", "SAMEFACE_TRITON_URL": "gpu:8001"}, "triton_url"),
        ({"SAMEFACE_IMAGE__MAX_SIDE": "0"}, "max_side"),
        ({"SAMEFACE_QUALITY__MIN_SHARPNESS": "-5"}, "min_sharpness"),
        ({"SAMEFACE_QUALITY__MAX_YAW": "nan"}, "max_yaw"),
        ({"SAMEFACE_CONFIG": "/nothing.toml"}, "/nothing.toml"),
    ],
)
def test_a_wrong_setting_is_named(sameface: Run, environment: dict[str, str], named: str) -> None:
    result = sameface("serve", "--print-config", **environment)
    assert result.returncode == 3
    assert named in result.stderr
    assert "Traceback" not in result.stderr


def test_an_unknown_setting_in_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "sameface.toml").write_text("lissten = 1\n")
    result = process("serve", "--print-config", "--config", str(tmp_path / "sameface.toml"))
    assert result.returncode == 3
    assert "lissten" in result.stderr


def test_a_missing_triton_runtime_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    result = process(
        "serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data"), SAMEFACE_CACHE_DIR=str(tmp_path)
    )
    assert result.returncode == 3
    assert "sameface triton install" in result.stderr
