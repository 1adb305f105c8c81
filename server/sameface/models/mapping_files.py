"""Writes a template map with its card into the model repository: both, or nothing."""

import json
import os
import re
from pathlib import Path

from sameface.inference.map_cards import CARD, MAP, MapCard, map_folder
from sameface.models.mapping import MadeMap
from sameface.models.mapping_rule import ruled
from sameface.models.whole_folder import put_folder
from sameface_qdrant.errors import InvalidArgument


def check_no_map(repository: Path, model: str, old: int, new: int) -> Path:
    """Return the folder for a map, if there is none.

    Raises:
        InvalidArgument: the folder exists.
    """
    folder = map_folder(repository, model, old, new)
    if os.path.lexists(folder):
        raise InvalidArgument(
            f"{folder} exists already and is not overwritten; give --replace to write a new map in its place, or "
            "remove the folder first",
            metadata={"field": "replace", "path": folder},
        )
    return folder


def write_map(
    repository: Path, made: MadeMap, *, accept_worse: bool = False, replace: bool = False
) -> tuple[Path, MapCard]:
    """Write a map and its card into the model repository, durably, and return their folder and the card as written.

    A map that the rule of `sameface.models.mapping_rule` makes no default is written as one that migrations do not
    take, unless ``accept_worse`` is given. After a crash there is the new map, the one before or none, and never a part
    of one.

    Raises:
        InvalidArgument: there is a map for the two versions, and ``replace`` is not given.
        OSError: the repository cannot be written. The map before is still there.
    """
    card = ruled(made.card, accept_worse=accept_worse)
    versions = (card.model, card.old.version, card.new.version)
    folder = map_folder(repository, *versions) if replace else check_no_map(repository, *versions)
    folder.parent.mkdir(parents=True, exist_ok=True)
    put_folder(folder, {MAP: made.map.to_bytes(), CARD: _text_of(card).encode()}, replace=replace)
    return folder, card


def _text_of(card: MapCard) -> str:
    """Return a card as readable JSON, with small objects on one line."""
    text = json.dumps(card.model_dump(mode="json", exclude_none=True), indent=2, ensure_ascii=False)
    one_line = re.sub(r"\{([^{}\[\]]*)\}", lambda match: f"{{{' '.join(match[1].split())}}}", text)
    return f"{one_line}\n"
