"""Adds an embedder of whole images to a model repository: config, weights and sealed card."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
from google.protobuf.message import DecodeError
from pydantic import ValidationError

from sameface.errors import ModelCheckFailed
from sameface.inference.cards import (
    FACE_EMBEDDERS,
    PAD,
    Golden,
    Licence,
    ModelCard,
    Source,
    TensorSpec,
    golden_input,
    read_card_in_place,
)
from sameface.inference.onnx import open_session
from sameface.inference.whole_image import Fit, Strokes, WholeImage
from sameface.models.add import check_absent, needs_config
from sameface.models.contract import check_tensor_contract, contract_of
from sameface.models.seal import rounded, write_card
from sameface.models.statement import Statement, check_stated
from sameface.models.weights import FILE_NAME, build_from_weights
from sameface_qdrant.errors import InvalidArgument

RESERVED = (*FACE_EMBEDDERS, PAD, "face_detector")
NAME = re.compile(r"[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?")

CONFIG = """\
# Whole images to unit vectors. It applies to all versions, so every version keeps these tensors.
# Written with version {version}; the cards say how an image becomes the input.
name: "{model}"
platform: "onnxruntime_onnx"
max_batch_size: 32
input [
  {{
    name: "images"
    data_type: TYPE_UINT8
    dims: [ {shape} ]
  }}
]
output [
  {{
    name: "embedding"
    data_type: TYPE_FP32
    # Unit L2 norm.
    dims: [ {dimension} ]
  }}
]
# A gallery names the version that made its templates, so every version must stay served.
version_policy {{ all {{ }} }}
# No kind, so that Triton uses a GPU if there is one.
instance_group [ {{ count: 2 }} ]
parameters {{ key: "intra_op_thread_count" value: {{ string_value: "1" }} }}
parameters {{ key: "inter_op_thread_count" value: {{ string_value: "1" }} }}
"""


@dataclass(frozen=True, slots=True)
class Tensors:
    """What an ONNX file of an embedder takes and gives."""

    shape: tuple[int, int, int]
    """Channels (1 or 3), height and width of an image."""
    dimension: int


def check_model_name(model: str) -> None:
    """Check the name of an embedder of whole images, which is the name of its folder.

    Raises:
        InvalidArgument: it is malformed, or one of the service's own models.
    """
    if model in RESERVED:
        raise InvalidArgument(
            f"{model} is a model of faces; choose another name for an embedder of whole images",
            metadata={"field": "model"},
        )
    if not NAME.fullmatch(model):
        raise InvalidArgument(
            f"the model is named {model[:80]!r}; expected 1 to 64 lower-case letters, digits, '-' or '_', with a "
            "letter or digit at both ends",
            metadata={"field": "model"},
        )


def read_tensors(content: bytes) -> Tensors:
    """Return the shapes that an ONNX file states.

    Raises:
        ModelCheckFailed: it is no ONNX file, or states no fixed size of one image and one embedding.
    """
    try:
        graph = onnx.load_from_string(content).graph
    except DecodeError as error:
        raise ModelCheckFailed(
            "the file is not ONNX; expected an ONNX file",
            metadata={"found": "a file that is not ONNX", "expected": "ONNX"},
        ) from error
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [_sizes(entry) for entry in graph.input if entry.name not in constants]
    outputs = [_sizes(entry) for entry in graph.output]
    match (inputs, outputs):
        case ([[_, (1 | 3) as channels, int(height), int(width)]], [[_, int(dimension)]]) if (
            min(height, width, dimension) > 0
        ):
            return Tensors((channels, height, width), dimension)
    found = f"inputs {inputs} and outputs {outputs}"
    expected = "one input [N, 1 or 3, height, width] and one output [N, dimension] of fixed sizes"
    raise ModelCheckFailed(
        f"the file has {found}; expected {expected}", metadata={"found": found[:160], "expected": expected}
    )


def image_of(content: bytes, fit: Fit, strokes: Strokes) -> WholeImage:
    """Return how an image becomes the input of an ONNX file, whose size it states.

    Raises:
        InvalidArgument: an input in colour has no strokes, or height or width are above `LARGEST_SIDE`.
        ModelCheckFailed: see `read_tensors`.
    """
    channels, height, width = read_tensors(content).shape
    try:
        return WholeImage(
            detection="none",
            colour="grey" if channels == 1 else "rgb",
            height=height,
            width=width,
            fit=fit,
            strokes=strokes,
        )
    except ValidationError as error:
        found = [(".".join(map(str, one["loc"])), one["msg"].removeprefix("Value error, ")) for one in error.errors()]
        told = "; ".join(f"{field}: {text}" if field else text for field, text in found)
        raise InvalidArgument(
            f"an input of {channels}x{height}x{width} with fit {fit} and strokes {strokes} cannot be: {told}",
            metadata={"field": found[0][0] or "strokes"},
        ) from error


def add_embedder(
    repository: Path,
    model: str,
    content: bytes,
    image: WholeImage,
    stated: Statement,
    *,
    version: int | None = None,
    source: Source | None = None,
    committed: bool = False,
) -> ModelCard:
    """Put an embedder of whole images into a model repository: config, card, ``model.onnx``. It appears at once.

    The service serves it after its next start, beside the embedder of faces.

    Args:
        repository: the folder of models; made if it does not exist.
        model: the name of the embedder.
        content: the ONNX file: `images` UINT8 [N, *image.shape] → `embedding` FP32 [N, D] of unit norm.
        image: how an image becomes the input.
        stated: what is known of the weights.
        version: its number; None is the one after the highest that is there.
        source: where the weights come from.
        committed: whether ``content`` is the form of `sameface.models.weights`, which is then kept beside it.

    Raises:
        InvalidArgument: the name cannot be used, the version is there already, licence, training data, source or
            figures are not stated, or the folder is that of another model (`sameface.models.add.needs_config`).
        ModelCheckFailed: the file breaks its tensor contract, or other versions of the model have other tensors.
        OSError: the repository cannot be written.
    """
    check_model_name(model)
    check_stated(stated)
    folder = repository / model
    needs_config(folder)
    others = [read_card_in_place(path) for path in sorted(folder.glob("*/card.json"))]
    number = 1 + max((card.version for card in others), default=0) if version is None else version
    if number < 1:
        raise InvalidArgument(f"version is {number}; expected 1 or more", metadata={"field": "version"})
    check_absent(folder / str(number))
    card = _card(model, number, content, image, stated, source)
    _check_alike(card, others)
    served = build_from_weights(content, contract_of(card)) if committed else content
    card = _sealed(card, served)
    repository.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".adding-", dir=repository) as name:
        made = Path(name) / model
        (made / str(number)).mkdir(parents=True)
        (made / str(number) / "model.onnx").write_bytes(served)
        if committed:
            (made / str(number) / FILE_NAME).write_bytes(content)
        write_card(made / str(number) / "card.json", card)
        folder.mkdir(exist_ok=True)
        if needs_config(folder):
            (made / "config.pbtxt").write_text(_config(card), encoding="utf-8")
            (made / "config.pbtxt").replace(folder / "config.pbtxt")
        check_absent(folder / str(number))
        (made / str(number)).rename(folder / str(number))
    return card


def _card(
    model: str, version: int, content: bytes, image: WholeImage, stated: Statement, source: Source | None
) -> ModelCard:
    tensors = read_tensors(content)
    digest = hashlib.sha256(content).hexdigest()
    return ModelCard(
        model=model,
        version=version,
        title=stated.title,
        input=TensorSpec(name="images", datatype="UINT8", shape=(-1, *image.shape), layout=f"NCHW, {image.colour}"),
        output=TensorSpec(name="embedding", datatype="FP32", shape=(-1, tensors.dimension), layout="unit L2 norm"),
        sha256=digest,
        preprocessing=image.preprocessing,
        whole_image=image,
        source=source or Source(package=stated.source.strip(), file="model.onnx", sha256=digest),
        licence=Licence(
            weights=stated.licence.strip(), training_data=stated.training_data.strip(), restriction=stated.restriction
        ),
        figures=stated.card_figures,
        golden=Golden(shape=(1, *image.shape), output=()),
    )


def _sealed(card: ModelCard, served: bytes) -> ModelCard:
    check_tensor_contract(served, contract_of(card))
    (output,) = open_session(served, threads=1).run(["embedding"], {"images": golden_input(card.golden.shape)})
    golden = Golden(shape=card.golden.shape, output=rounded(output))
    return card.model_copy(update={"sha256": hashlib.sha256(served).hexdigest(), "golden": golden})


def _check_alike(card: ModelCard, others: Sequence[ModelCard]) -> None:
    for other in others:
        if (other.input.shape, other.output.shape) != (card.input.shape, card.output.shape):
            found = f"images {card.input.shape[1:]} to {card.output.shape[-1]} numbers"
            expected = f"images {other.input.shape[1:]} to {other.output.shape[-1]} numbers"
            raise ModelCheckFailed(
                f"the file takes {found}, and {other.model} version {other.version} {expected}; all versions of a "
                "model have the same tensors, so give this one another name",
                metadata={"found": found, "expected": expected},
            )


def _config(card: ModelCard) -> str:
    shape = ", ".join(map(str, card.input.shape[1:]))
    return CONFIG.format(model=card.model, version=card.version, shape=shape, dimension=card.output.shape[-1])


def _sizes(entry: onnx.ValueInfoProto) -> list[int | str]:
    """Return the sizes of a tensor; a free one is its name, or "?"."""
    return [
        int(size.dim_value) if size.HasField("dim_value") else (size.dim_param or "?")
        for size in entry.type.tensor_type.shape.dim
    ]
