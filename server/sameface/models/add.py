"""Adds `face_pad`, presentation attack detection, that the user brings, to a model repository.

`whole_image` adds embedders.
"""

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

from sameface.errors import ModelCheckFailed
from sameface.inference.cards import PAD, Golden, Licence, ModelCard, Source, TensorSpec, golden_input
from sameface.inference.onnx import open_session
from sameface.models.contract import FACE_PAD, check_tensor_contract
from sameface.models.seal import rounded, write_card
from sameface.models.statement import Statement, check_stated
from sameface.vision import PAD_PREPROCESSING
from sameface_qdrant.errors import InvalidArgument

CONFIG = f"""\
# Faces with their surroundings to two logits: bona fide presentation and presentation attack.
# Written by `sameface model add`. It applies to all versions.
name: "{FACE_PAD.model}"
platform: "onnxruntime_onnx"
max_batch_size: 32
input [
  {{
    name: "images"
    data_type: TYPE_UINT8
    # RGB, {PAD_PREPROCESSING}. The graph normalises the pixels.
    dims: [ {", ".join(map(str, FACE_PAD.shape))} ]
  }}
]
output [
  {{
    name: "{FACE_PAD.output}"
    data_type: TYPE_FP32
    dims: [ {FACE_PAD.size} ]
  }}
]
version_policy {{ all {{ }} }}
# One instance. No kind, so that Triton uses a GPU if there is one.
instance_group [ {{ count: 1 }} ]
parameters {{ key: "intra_op_thread_count" value: {{ string_value: "1" }} }}
parameters {{ key: "inter_op_thread_count" value: {{ string_value: "1" }} }}
"""


def add_pad(repository: Path, file: Path, stated: Statement, version: int = 1) -> ModelCard:
    """Put an ONNX file into a model repository as a version of `face_pad`: config, card and `model.onnx`.

    The folder appears at once, complete. The service uses the highest version after its next start.

    Raises:
        InvalidArgument: the version is there already, or below 1; licence, training data, source or figures are not
            stated; the folder is that of another model (`needs_config`).
        ModelCheckFailed: the file does not keep the tensor contract, or its output cannot be checked at a start.
        OSError: the file cannot be read, or the repository not be written.
    """
    check_stated(stated)
    if version < 1:
        raise InvalidArgument(f"version is {version}; expected 1 or more", metadata={"field": "version"})
    folder = repository / PAD / str(version)
    check_absent(folder)
    needs_config(folder.parent)
    content = file.read_bytes()
    card = _card(content, file.name, stated, version)
    repository.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".adding-", dir=repository) as name:
        made = Path(name) / PAD / str(version)
        made.mkdir(parents=True)
        (made / "model.onnx").write_bytes(content)
        write_card(made / "card.json", card)
        folder.parent.mkdir(exist_ok=True)
        if needs_config(folder.parent):
            (made.parent / "config.pbtxt").write_text(CONFIG, encoding="utf-8")
            (made.parent / "config.pbtxt").replace(folder.parent / "config.pbtxt")
        check_absent(folder)
        made.rename(folder)
    return card


def check_absent(folder: Path) -> None:
    """Raise InvalidArgument if the folder of a version exists."""
    if folder.exists():
        raise InvalidArgument(
            f"{folder} exists already and is not overwritten; choose another --version, or remove the folder first",
            metadata={"field": "version", "path": folder},
        )


def needs_config(folder: Path) -> bool:
    """Return whether the folder of a model has no config yet. One that is there is kept, for it may have been edited.

    Raises:
        InvalidArgument: the folder holds a config or versions and no card, so it is a Triton model of somebody else.
    """
    config = folder / "config.pbtxt"
    cards = [*folder.glob("*/card.json")]
    theirs = [config] if config.exists() else sorted(path for path in folder.glob("[0-9]*") if path.is_dir())
    if theirs and not cards:
        raise InvalidArgument(
            f"{theirs[0]} exists, and no version in {folder} has a card.json, so it is the folder of another model and "
            "is not changed; choose another name or repository",
            metadata={"field": "model", "path": theirs[0]},
        )
    return not config.exists()


def _card(content: bytes, file: str, stated: Statement, version: int) -> ModelCard:
    check_tensor_contract(content, FACE_PAD)
    shape = (1, *FACE_PAD.shape)
    (logits,) = open_session(content, threads=1).run([FACE_PAD.output], {"images": golden_input(shape)})
    if not logits.any():
        raise ModelCheckFailed(
            f"the file gives logits of 0 for the golden input, so a start could not check it; expected a trained {PAD}",
            metadata={"found": "logits of 0", "expected": "logits that are not all 0"},
        )
    digest = hashlib.sha256(content).hexdigest()
    return ModelCard(
        model=PAD,
        version=version,
        title=stated.title,
        input=TensorSpec(name="images", datatype="UINT8", shape=(-1, *shape[1:]), layout="NCHW, RGB"),
        output=TensorSpec(name=FACE_PAD.output, datatype="FP32", shape=(-1, FACE_PAD.size)),
        sha256=digest,
        preprocessing=PAD_PREPROCESSING,
        source=Source(package=stated.source.strip(), file=file, sha256=digest),
        licence=Licence(
            weights=stated.licence.strip(), training_data=stated.training_data.strip(), restriction=stated.restriction
        ),
        figures=stated.card_figures,
        golden=Golden(shape=shape, output=rounded(logits)),
    )
