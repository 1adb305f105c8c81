"""The configs of models as the local runtime serves them.

The repository says how many instances of a model there are. The native backend makes that many copies of the weights.
Here one process has one copy for requests that run together.
"""

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

CONFIG = "config.pbtxt"
BACKENDS = ("onnxruntime", "openvino")
"""Served by this runtime's own backend."""
UNSAID = 2
"""Instances that Triton makes where the config does not say, on a processor."""
FREE_BATCH = 32
"""Most images of a call to a model whose batch is a free dimension, which Triton itself does not bound."""


def write_repository(target: Path, repository: Path, models: Mapping[str, Collection[int]], cores: int) -> None:
    """Write a repository with configs of our own to ``target``. All else in it are links to ``repository``.

    ``models`` names the versions of each model that are served; what this runtime's own backend does not serve has all.
    ``cores`` is on how many cores a request runs that is alone.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for model, versions in models.items():
        config = local_config(repository, model, cores)
        if not config:
            (target / model).symlink_to(repository / model)
            continue
        (target / model).mkdir()
        for entry in (repository / model).iterdir():
            if entry.name != CONFIG and (not entry.name.isdecimal() or int(entry.name) in versions):
                (target / model / entry.name).symlink_to(entry)
        (target / model / CONFIG).write_text(config, encoding="utf-8")


def local_config(repository: Path, model: str, cores: int) -> str:
    """Return the config of a model that this runtime's own backend serves; empty for others."""
    path = repository / model / CONFIG
    try:
        config = text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError):
        return ""  # tritonserver says what is wrong with it
    if (config.backend or config.platform.removesuffix("_onnx")) not in BACKENDS:
        return ""
    tensors = [*config.input, *config.output]
    if tensors and not config.max_batch_size and all(len(one.dims) > 1 and one.dims[0] == -1 for one in tensors):
        # Triton hands over only calls together that have a batch as it knows it.
        config.max_batch_size = FREE_BATCH
        for one in tensors:
            del one.dims[0]
    instances = sum(group.count for group in config.instance_group) or UNSAID
    at_once = max(1, min(instances, config.max_batch_size))
    del config.instance_group[:]
    config.instance_group.add(count=1)
    config.parameters["requests_at_once"].string_value = str(at_once)
    config.parameters["threads_alone"].string_value = str(cores)
    config.ClearField("dynamic_batching")
    if at_once > 1:
        # Hands over so many requests together, without waiting for any.
        config.dynamic_batching.preferred_batch_size.append(at_once)
    return text_format.MessageToString(config)
