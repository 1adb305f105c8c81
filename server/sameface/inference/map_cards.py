"""Template maps of the model repository: the file ``maps/OLD-NEW/map.npz`` of an embedder, and the card beside it.

A map brings templates of one version into the space of another. Its card says what it was fitted to, what it may be
used for, and how decisions by mapped templates compare with those of both versions.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sameface.errors import ModelCheckFailed
from sameface.inference.card_figures import MeasuredFnmr, MeasuredRate
from sameface.inference.cards import EMBEDDER, Licence, MeasuredPoint, ModelCard
from sameface_qdrant.errors import InvalidArgument, MapMismatch
from sameface_qdrant.values.template_map import TemplateMap

log = logging.getLogger(__name__)

FOLDER = "maps"
CARD, MAP = "card.json", "map.npz"
_VERSIONS = re.compile(r"([1-9][0-9]*)-([1-9][0-9]*)", re.ASCII)


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MappedVersion(_Record):
    """One side of a map."""

    version: int = Field(ge=1)
    sha256: str
    """Digest of its weights, as its card says."""


class TriedForm(_Record):
    """A form of a map that was tried, and its cosine to native embeddings over people held out of the fit."""

    form: str
    strength: float
    cosine: float = Field(ge=-1, le=1)


class Fit(_Record):
    """What a map was fitted to."""

    data: str
    people: int = Field(ge=2)
    photos: int = Field(ge=2)
    copies: int = Field(ge=0)
    """Changed copies of each photo."""
    mixtures: int = Field(ge=0)
    """Mixtures of two people."""
    seed: int
    form: str
    strength: float
    tried: tuple[TriedForm, ...]
    """Best first."""


class CombinationFigures(_Record):
    """Error rates of one combination of templates and probes."""

    fnmr: tuple[MeasuredFnmr, ...]
    fnir: MeasuredRate
    rank_one: MeasuredRate


class MapEvaluation(_Record):
    """Error rates over all pairs of photos, as `sameface evaluate compatibility` measures them."""

    measured_on: str
    identities: int = Field(ge=2)
    samples: int = Field(ge=2)
    cosine: MeasuredRate
    """Mean cosine of mapped and native templates; every identity counts the same."""
    fpir: float = Field(gt=0, lt=1)
    old: CombinationFigures
    mapped: CombinationFigures
    new: CombinationFigures
    unmapped: CombinationFigures | None = None
    """None where the two versions have embeddings of different sizes."""
    against_old: dict[str, str]
    """Endpoint → verdict on mapped templates with new probes, compared with the old version alone."""
    unsupported: tuple[str, ...] = ()
    """Endpoints of ``against_old`` whose target rate these samples do not support."""


class MapCard(_Record):
    """The card of one map."""

    model: str
    old: MappedVersion
    new: MappedVersion
    title: str
    sha256: str
    """Digest of the map, see `TemplateMap.sha256`."""
    licence: Licence
    fit: Fit
    evaluation: MapEvaluation
    operating_points: tuple[MeasuredPoint, ...] = ()
    """Thresholds of new probes against mapped templates."""
    is_default: bool = True
    """Whether migrations between the two versions take it."""
    doubts: tuple[str, ...] = ()
    """Why the rule of `sameface.models.mapping_rule` makes it no default; empty if it does. With doubts it is a default
    only if `sameface model map --accept-worse` wrote it."""


def map_folder(repository: Path, model: str, old: int, new: int) -> Path:
    """Return the folder of a map and its card."""
    return repository / model / FOLDER / f"{old}-{new}"


def map_folders(repository: Path, model: str = EMBEDDER) -> Iterator[tuple[tuple[int, int], Path]]:
    """Find the folders of an embedder's maps: old and new version, and the folder, in the order of the versions.

    Any other name is skipped, and logged: a copy that somebody keeps, or what a write that was killed has left.
    """
    found = {}
    for folder in sorted((repository / model / FOLDER).glob("*")):
        if name := _VERSIONS.fullmatch(folder.name):
            found[int(name[1]), int(name[2])] = folder
        else:
            log.warning(
                "%s is skipped: the folder of a map has the name OLD-NEW, for instance 1-3; remove what nobody needs",
                folder,
            )
    yield from sorted(found.items())


def read_map(folder: Path) -> tuple[MapCard, TemplateMap]:
    """Read a map and its card.

    Raises:
        ModelCheckFailed: a file is missing or malformed, or the folder's name is not that of the versions.
        MapMismatch: the map is not the one that the card describes.
    """
    about = {"path": folder}
    if missing := [name for name in (CARD, MAP) if not (folder / name).is_file()]:
        raise ModelCheckFailed(
            f"{folder} is incomplete: it has no {' and no '.join(missing)}; fit the map again with `sameface model map "
            "--replace`, take both files from one backup, or remove the folder",
            metadata=about,
        )
    try:
        card = MapCard.model_validate(json.loads((folder / CARD).read_text(encoding="utf-8")))
        found = TemplateMap.from_bytes((folder / MAP).read_bytes())
    except (OSError, ValueError, ValidationError, InvalidArgument) as error:
        raise ModelCheckFailed(
            f"{folder} holds no template map: {error}; fit it again with `sameface model map --replace`, or "
            "remove the folder",
            metadata=about,
        ) from error
    if folder.name != f"{card.old.version}-{card.new.version}":
        raise ModelCheckFailed(
            f"{folder} holds the map from version {card.old.version} to {card.new.version}; expected the folder "
            f"{card.old.version}-{card.new.version}; rename it",
            metadata=about,
        )
    of_card = (card.sha256, card.old.sha256, card.new.sha256)
    if (found.sha256, found.old.sha256, found.new.sha256) != of_card:
        raise MapMismatch(
            f"{folder / MAP} has the digest {found.sha256}, from {found.old.key} to {found.new.key}; its card expects "
            f"the digest {card.sha256[:64]}; fit it again with `sameface model map --replace`, or take both files "
            "from one backup",
            metadata={**about, "given": found.sha256, "expected": card.sha256[:64]},
        )
    return card, found


def maps_of(repository: Path, cards: Sequence[ModelCard]) -> Mapping[tuple[int, int], TemplateMap]:
    """Return the maps that migrations take, by (old version, new version) of the served embedder of faces.

    Maps of versions that are not served are not read. Those that are no default are left out, and logged.

    Args:
        repository: the model repository.
        cards: of what is served. A version for another runtime stands for the one that it is equivalent to.

    Raises:
        ModelCheckFailed: see `read_map`.
        MapMismatch: a map was fitted for other weights than a version has now, or see `read_map`.
    """
    served = {card.version: card for card in cards if card.embeds_faces}
    found = {}
    for versions, folder in map_folders(repository):
        if not all(version in served for version in versions):
            continue
        card, one = read_map(folder)
        if not card.is_default:
            log.info("%s is not taken by migrations: %s", folder, "; ".join(card.doubts) or "its card says so")
            continue
        old, new = (served[version].contract for version in versions)
        try:
            one.check_between(old, new)
        except MapMismatch as error:
            raise MapMismatch(
                f"{folder}: {error.message}. To serve without this map, remove the folder",
                metadata={**error.metadata, "path": folder},
            ) from None
        found[versions] = one
    return found
