"""Writes a version folder of an embedder: weights, card, digest and golden vector."""

import hashlib
from pathlib import Path

from sameface.inference.cards import EMBEDDER, Golden, Licence, ModelCard, Source, read_card
from sameface.inference.whole_image import Fit, Strokes
from sameface.models.build import copy_cards
from sameface.models.seal import seal, write_card
from sameface.models.statement import Statement
from sameface.models.weights import FILE_NAME, build_from_weights
from sameface.models.whole_image import add_embedder, image_of
from sameface.settings import model_repository_source
from sameface_qdrant.errors import InvalidArgument
from sameface_train.checkpoint import Trained


def publish(
    content: bytes,
    repository: Path,
    version: int,
    *,
    title: str,
    licence: str,
    training_data: str,
    restriction: str,
    source: str,
) -> Path:
    """Write ``weights.onnx``, ``model.onnx`` and ``card.json`` of a version and return its folder.

    The card has the tensors of the newest other version's, and nothing else of it. A repository without one gets the
    cards and configs of the package first. A version that has operating points may be in use and is not overwritten.

    Raises:
        InvalidArgument: the version exists and has operating points.
        ModelCheckFailed: the weights are outside the tensor contract.
    """
    if not (cards := _others(repository, version)):
        copy_cards(model_repository_source(), repository)
        cards = _others(repository, version)
    folder = repository / EMBEDDER / str(version)
    path = folder / "card.json"
    if path.is_file() and read_card(path).operating_points:
        raise InvalidArgument(
            f"{folder} exists and has operating points; galleries may be bound to it. Choose another version",
            metadata={"field": "version"},
        )
    served = build_from_weights(content)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE_NAME).write_bytes(content)
    (folder / "model.onnx").write_bytes(served)
    like = cards[-1]
    # Named one by one: a centre or a trunk of another version would change what these weights give.
    card = ModelCard(
        model=like.model,
        version=version,
        title=title,
        input=like.input,
        output=like.output,
        sha256="",
        preprocessing=like.preprocessing,
        source=Source(package=source, file=FILE_NAME, sha256=hashlib.sha256(content).hexdigest()),
        licence=Licence(weights=licence, training_data=training_data, restriction=restriction),
        golden=Golden(shape=like.golden.shape, output=()),
    )
    write_card(path, card)
    seal(path, served)
    return folder


def publish_embedder(
    trained: Trained,
    content: bytes,
    repository: Path,
    model: str,
    version: int | None,
    stated: Statement,
    *,
    source: str,
    fit: Fit = "pad",
    strokes: Strokes | None = None,
) -> ModelCard:
    """Write a version of an embedder of whole images, with a card of its own, and return the card.

    Without ``strokes``, the service treats an image as the training did.

    Raises:
        InvalidArgument, ModelCheckFailed: see `sameface.models.whole_image.add_embedder`.
    """
    image = image_of(content, fit, strokes or taught(trained))
    return add_embedder(
        repository,
        model,
        content,
        image,
        stated,
        version=version,
        source=Source(package=source, file=FILE_NAME, sha256=hashlib.sha256(content).hexdigest()),
        committed=True,
    )


def taught(trained: Trained) -> Strokes:
    """Return what was done to the strokes of the training images; in older runs, the backbone tells it."""
    if trained.strokes is not None:
        return trained.strokes
    return "isolated" if trained.recipe.backbone == "signature" else "as-is"


def _others(repository: Path, version: int) -> list[ModelCard]:
    paths = sorted(repository.glob(f"{EMBEDDER}/*/card.json"))
    cards = sorted(map(read_card, paths), key=lambda card: card.version)
    return [card for card in cards if card.version != version]
