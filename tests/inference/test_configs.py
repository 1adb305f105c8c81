"""The local runtime serves models as the repository says, in one process for each version."""

from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from sameface.inference.cards import read_cards
from sameface.inference.local.configs import local_config, write_repository
from sameface.settings import model_repository_source

REPOSITORY = model_repository_source()
MODELS = sorted({card.model for card in read_cards(REPOSITORY)})


def of_file(model: str) -> model_config_pb2.ModelConfig:
    text = (REPOSITORY / model / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, model_config_pb2.ModelConfig())


@pytest.mark.parametrize("model", MODELS)
def test_one_process_answers_as_many_calls_at_a_time_as_there_are_instances(model: str) -> None:
    ours = text_format.Parse(local_config(REPOSITORY, model, 2), model_config_pb2.ModelConfig())
    file = of_file(model)
    assert [group.count for group in ours.instance_group] == [1]
    assert int(ours.parameters["requests_at_once"].string_value) == sum(group.count for group in file.instance_group)
    assert ours.parameters["threads_alone"].string_value == "2"
    instances = sum(group.count for group in file.instance_group)
    assert list(ours.dynamic_batching.preferred_batch_size) == ([instances] if instances > 1 else [])
    assert ours.dynamic_batching.max_queue_delay_microseconds == 0
    ours.ClearField("dynamic_batching")
    for config in (ours, file):
        del config.instance_group[:]
        for name in ("requests_at_once", "threads_alone"):
            config.parameters.pop(name, None)
    assert ours == file


@pytest.mark.parametrize("content", [b'backend: "python"', b'platform: "onnxruntime_onnx', b"\xff", None])
def test_other_models_and_broken_configs_are_left_to_triton(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "config.pbtxt").write_bytes(content)
    assert local_config(tmp_path, "other", 2) == ""


def test_a_config_that_says_nothing_of_instances_has_as_many_as_triton_makes(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "config.pbtxt").write_text('platform: "onnxruntime_onnx" max_batch_size: 8')
    config = text_format.Parse(local_config(tmp_path, "plain", 3), model_config_pb2.ModelConfig())
    assert config.parameters["requests_at_once"].string_value == "2"
    assert config.parameters["threads_alone"].string_value == "3"


def test_a_model_without_batches_answers_one_call_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "config.pbtxt").write_text('platform: "onnxruntime_onnx" instance_group { count: 4 }')
    config = text_format.Parse(local_config(tmp_path, "plain", 3), model_config_pb2.ModelConfig())
    assert config.parameters["requests_at_once"].string_value == "1"
    assert not config.HasField("dynamic_batching")


def test_a_model_whose_batch_is_a_free_dimension_gets_calls_together_too(tmp_path: Path) -> None:
    (tmp_path / "free").mkdir()
    (tmp_path / "free" / "config.pbtxt").write_text(
        'backend: "openvino" input { name: "a" data_type: TYPE_UINT8 dims: [ -1, 3, 112, 112 ] } '
        'output { name: "b" data_type: TYPE_FP32 dims: [ -1, 128 ] } instance_group { count: 2 }'
    )
    config = text_format.Parse(local_config(tmp_path, "free", 2), model_config_pb2.ModelConfig())
    assert config.max_batch_size == 32
    assert [list(one.dims) for one in (*config.input, *config.output)] == [[3, 112, 112], [128]]
    assert list(config.dynamic_batching.preferred_batch_size) == [2]


def test_a_written_repository_has_the_files_of_the_other_one(tmp_path: Path) -> None:
    (tmp_path / "own" / "python" / "1").mkdir(parents=True)
    (tmp_path / "own" / "python" / "config.pbtxt").write_text('backend: "python"')
    target = tmp_path / "models"
    cards = read_cards(REPOSITORY)
    versions = {model: {card.version for card in cards if card.model == model} for model in MODELS}
    for _ in range(2):
        write_repository(target, tmp_path / "own", {"python": {2}, "missing": {1}}, 2)
        write_repository(target, REPOSITORY, versions, 2)
    for card in cards:
        version = target / card.model / str(card.version)
        assert (version / "model.onnx").samefile(REPOSITORY / card.model / str(card.version) / "model.onnx")
    write_repository(target, REPOSITORY, {"face_embedder": {3}}, 2)
    assert {path.name for path in (target / "face_embedder").iterdir() if path.name.isdecimal()} == {"3"}
    write_repository(target, tmp_path / "own", {"python": {2}, "missing": {1}}, 2)
    assert (target / "python" / "1").is_dir(), "another backend chooses its versions itself"
    assert not (target / "missing").exists()
    assert sorted(path.name for path in target.iterdir()) == ["missing", "python"]
