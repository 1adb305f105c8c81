"""The default version of `face_embedder`, which new galleries are bound to.

The file ``defaults.json`` in the model repository names it, with the history of its changes. The setting
``--embedder-version`` has priority. If the repository has no such file, the file in the package is used, so that a
repository without promotions follows the package.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sameface.errors import ModelCheckFailed, ModelNotFound
from sameface.inference.cards import EMBEDDER, ModelCard
from sameface.inference.embedders import VERSIONS_SETTING, embedder_versions

FILE_NAME = "defaults.json"
SETTING = "SAMEFACE_EMBEDDER_VERSION"

Origin: TypeAlias = Literal["settings", "model repository", "package"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Change(_Record):
    """One change of the default."""

    time: datetime
    action: Literal["promote", "rollback"]
    version: int = Field(ge=1)
    replaced: int = Field(ge=1)


class Default(_Record):
    """The default version and the history of its changes, oldest first."""

    version: int = Field(ge=1)
    history: tuple[Change, ...] = ()

    @property
    def before(self) -> int | None:
        """The version that a rollback returns to, or None if no promotion is left to roll back."""
        replaced: list[int] = []
        for change in self.history:
            if change.action == "promote":
                replaced.append(change.replaced)
            elif replaced:
                replaced.pop()
        return replaced[-1] if replaced else None


class _Defaults(_Record):
    face_embedder: Default


@dataclass(frozen=True, slots=True)
class ChosenVersion:
    """The version that new galleries are bound to, and where it is set."""

    version: int
    origin: Origin
    where: str
    """Name of the setting or path of the file, for people."""


def promoted(default: Default, version: int, time: datetime) -> Default:
    """Return the default after the promotion of ``version``."""
    change = Change(time=time, action="promote", version=version, replaced=default.version)
    return Default(version=version, history=(*default.history, change))


def rolled_back(default: Default, time: datetime) -> Default:
    """Return the default after a rollback of the last promotion.

    Raises:
        ModelNotFound: no promotion is left to roll back.
    """
    if default.before is None:
        raise ModelNotFound(
            f"no promotion is left to roll back; {EMBEDDER} version {default.version} was the first default",
            metadata={"model": EMBEDDER, "version": default.version},
        )
    change = Change(time=time, action="rollback", version=default.before, replaced=default.version)
    return Default(version=default.before, history=(*default.history, change))


def read_default(repository: Path, source: Path) -> tuple[Default, Path]:
    """Return the default of a model repository, and the file that sets it. ``source`` is the package's repository.

    Raises:
        ModelNotFound: neither repository has the file.
        ModelCheckFailed: the file is malformed.
    """
    for path in (repository / FILE_NAME, source / FILE_NAME):
        if path.is_file():
            try:
                return _Defaults.model_validate(json.loads(path.read_text(encoding="utf-8"))).face_embedder, path
            except (ValueError, ValidationError) as error:
                raise ModelCheckFailed(
                    f"{path} does not set a default version: {error}", metadata={"path": path}
                ) from error
    raise ModelNotFound(
        f"neither {repository} nor {source} has a {FILE_NAME}; expected "
        '{"face_embedder": {"version": 1, "history": []}}',
        metadata={"path": repository},
    )


def write_default(repository: Path, default: Default) -> Path:
    """Replace the repository's file atomically, and return its path."""
    path = repository / FILE_NAME
    partial = path.with_suffix(".partial")
    text = json.dumps(_Defaults(face_embedder=default).model_dump(mode="json"), indent=2)
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)
    return path


def chosen_version(setting: int | None, repository: Path, source: Path) -> ChosenVersion:
    """Return the version that new galleries are bound to: from the setting, or else from the repository.

    Raises:
        ModelNotFound, ModelCheckFailed: there is no readable ``defaults.json``.
    """
    if setting is not None:
        return ChosenVersion(setting, "settings", f"{SETTING} or --embedder-version")
    default, path = read_default(repository, source)
    return ChosenVersion(default.version, "model repository" if path.parent == repository else "package", str(path))


def check_unrestricted(card: ModelCard) -> None:
    """Check that nothing in the licence forbids that a version is the default, which everybody gets who names none.

    Raises:
        ModelCheckFailed: the licence of the weights or of their training data forbids something.
    """
    if card.licence.restriction:
        raise ModelCheckFailed(
            f"{card.model} version {card.version} cannot be the default, because its licence forbids something: "
            f"{card.licence.restriction} Choose a version without a restriction (sameface model list), or name this "
            f"one where it is allowed: sameface gallery create NAME --embedder-version {card.version}, or for all new "
            f"galleries of a service {SETTING}={card.version}",
            metadata={"model": card.model, "version": card.version},
        )


def restricted_default(chosen: ChosenVersion, card: ModelCard) -> str:
    """Return a warning for people if the licence of the default forbids something, else an empty text.

    `sameface model promote` makes no such version the default. A setting can, and so can a ``defaults.json`` that was
    written by hand or by an earlier release.
    """
    if not card.licence.restriction:
        return ""
    remedy = (
        f"leave the setting out ({chosen.where})"
        if chosen.origin == "settings"
        else f"run sameface model promote VERSION with a version without a restriction ({chosen.where})"
    )
    return (
        f"new galleries are bound to {card.model} version {card.version}, whose licence forbids something: "
        f"{card.licence.restriction} If that concerns you, {remedy}"
    )


def check_served(chosen: ChosenVersion, cards: Sequence[ModelCard]) -> ModelCard:
    """Return the card of the chosen version.

    Raises:
        ModelNotFound: no card describes it.
    """
    served = embedder_versions(cards)
    if chosen.version not in served:
        raise ModelNotFound(
            f"{chosen.where} sets {EMBEDDER} version {chosen.version} for new galleries, but only the versions "
            f"{sorted(served)} are served. Build it with `sameface model build`, choose another one with `sameface "
            "model promote`, serve those for OpenVINO too with --embedder-runtime openvino, or name it in "
            f"{VERSIONS_SETTING} if that is set",
            metadata={"model": EMBEDDER, "version": chosen.version},
        )
    return served[chosen.version]
