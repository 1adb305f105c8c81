"""Which model folder runs each version of the embedder.

A version number says which answers a version gives, and a folder which runtime gives them. `face_embedder` runs in ONNX
Runtime, `face_embedder_openvino` in OpenVINO. A number that both folders have is one version with equal answers: the
card in `face_embedder_openvino` says with which cosine. Its galleries keep the contract of `face_embedder`, whatever
runs it. A number that only one folder has is a version of its own.

Embedders of other things than faces are folders of any other name. Each runs in ONNX Runtime, and has versions of its
own.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from sameface.errors import ModelCheckFailed, ModelNotFound
from sameface.inference.cards import (
    EMBEDDER,
    FACE_EMBEDDERS,
    OPENVINO_EMBEDDER,
    SMALLEST_COSINE,
    ModelCard,
    cosine_between,
)

EmbedderRuntime: TypeAlias = Literal["onnxruntime", "openvino"]
VERSIONS_SETTING = "SAMEFACE_EMBEDDER_VERSIONS"


@dataclass(frozen=True, slots=True)
class ServedModels:
    """What a service serves, and what runs for it."""

    cards: tuple[ModelCard, ...]
    """One for each version that is served, sorted by model and version. An embedder's has the contract of its
    galleries."""
    run: tuple[ModelCard, ...]
    """The models that run: these are loaded, and have their digests and golden vectors checked."""

    @property
    def folders(self) -> Mapping[int, str]:
        """Version of the embedder of faces → the model folder that runs it."""
        return {card.version: card.model for card in self.run if card.embeds_faces}


def served_models(cards: Sequence[ModelCard], runtime: EmbedderRuntime, versions: Collection[int] = ()) -> ServedModels:
    """Choose from all cards of a repository. OpenVINO runs only what ``runtime`` allows, then all that it can.

    Of the embedder of faces only these ``versions`` are served; if there are none, all are.

    Raises:
        ModelNotFound: the repository lacks one of ``versions``, or ``runtime`` does not run it.
        ModelCheckFailed: a card of `face_embedder_openvino` does not say that its answers equal those of the version of
            `face_embedder` with its number.
    """
    models = _all_served(cards, runtime)
    if missing := sorted(set(versions) - models.folders.keys()):
        raise ModelNotFound(
            f"{VERSIONS_SETTING} names the versions {missing} of the embedder, but the repository has "
            f"{sorted(models.folders)} for {runtime}; leave them out, or build them with `sameface model build`",
            metadata={"model": EMBEDDER, "version": missing[0]},
        )

    def chosen(some: Iterable[ModelCard]) -> tuple[ModelCard, ...]:
        return tuple(card for card in some if not versions or not card.embeds_faces or card.version in versions)

    return ServedModels(chosen(models.cards), chosen(models.run))


def _all_served(cards: Sequence[ModelCard], runtime: EmbedderRuntime) -> ServedModels:
    others = [card for card in cards if card.model != OPENVINO_EMBEDDER]
    if runtime == "onnxruntime":
        return ServedModels(tuple(others), tuple(others))
    fast = {card.version: card for card in cards if card.model == OPENVINO_EMBEDDER}
    run, contracts = [], []
    for card in others:
        twin = fast.pop(card.version, None) if card.model == EMBEDDER else None
        if twin is not None:
            check_twin(twin, card)
        run.append(twin or card)
        contracts.append(card)
    alone = fast.values()
    return ServedModels(_ordered([*contracts, *alone]), _ordered([*run, *alone]))


def embedder_versions(cards: Sequence[ModelCard], model: str = EMBEDDER) -> dict[int, ModelCard]:
    """Return the cards of a model's versions among what is served, by version; by default of the embedder of faces."""
    if model in FACE_EMBEDDERS:
        return {card.version: card for card in cards if card.embeds_faces}
    return {card.version: card for card in cards if card.is_embedder and card.model == model}


def default_version(cards: Sequence[ModelCard], model: str) -> int:
    """Return the version of an embedder of whole images that new galleries get if they name none.

    It is the highest of those whose licence restricts nothing and that have operating points. If no version has both,
    one without a restriction goes before one with operating points. A version that is not served is 1.
    """
    versions = embedder_versions(cards, model).values()
    ranks = ((not card.licence.restriction, bool(card.operating_points), card.version) for card in versions)
    return max(ranks, default=(False, False, 1))[-1]


def is_default(card: ModelCard, cards: Sequence[ModelCard], of_faces: int) -> bool:
    """Whether new galleries of this card's embedder get its version, where ``of_faces`` is the default of faces."""
    if card.whole_image is None:
        return card.embeds_faces and card.version == of_faces
    return card.version == default_version(cards, card.model)


def served_version(cards: Sequence[ModelCard], version: int, model: str = EMBEDDER) -> ModelCard:
    """Return the card of a version of an embedder among what is served.

    Raises:
        ModelNotFound: the embedder or the version is not served.
    """
    served = embedder_versions(cards, model)
    if model not in FACE_EMBEDDERS and version not in served:
        embedders = sorted({card.model for card in cards if card.is_embedder})
        what = f"{model} version {version}" if served else f"the embedder {model}"
        there = f"the versions {sorted(served)}" if served else f"the embedders {', '.join(embedders)}"
        raise ModelNotFound(
            f"{what} is not served; use one of {there}, or put it into the model repository and restart the service",
            metadata={"model": model, "version": version} if served else {"model": model},
        )
    if version not in served:
        raise ModelNotFound(
            f"{EMBEDDER} version {version} is not served; use one of the versions {sorted(served)}. A service serves "
            f"those for OpenVINO with --embedder-runtime openvino, and all where {VERSIONS_SETTING} is not set",
            metadata={"model": EMBEDDER, "version": version},
        )
    return served[version]


def check_twin(twin: ModelCard, card: ModelCard) -> None:
    """Check that ``twin`` may run in place of ``card``: its card names the other's digest, and both expect one output.

    Raises:
        ModelCheckFailed: it may not.
    """
    measured = twin.equivalent_to.get(card.sha256)
    expected = cosine_between(card.golden.output, np.array(twin.golden.output, np.float32))
    if measured is None or not (measured >= SMALLEST_COSINE and expected >= SMALLEST_COSINE):
        found = "does not name it in equivalent_to" if measured is None else f"has the cosine {min(measured, expected)}"
        raise ModelCheckFailed(
            f"{twin.model} version {twin.version} cannot run {card.model} version {card.version}: its card {found}; "
            f"expected a cosine of at least {SMALLEST_COSINE}. Write the card with `sameface model seal {twin.model} "
            f"{twin.version}`, or give other weights another version number",
            metadata={"model": twin.model, "version": twin.version},
        )


def _ordered(cards: Sequence[ModelCard]) -> tuple[ModelCard, ...]:
    return tuple(sorted(cards, key=lambda card: (card.model, card.version)))
