"""Which version of `face_embedder` new galleries are bound to: a small file of the model repository.

``defaults.json`` at the root of the repository names it, with every change that was made to it. A setting
(``--embedder-version``) goes before it. Where the repository has no such file, the one that ships with the package
holds, so that a repository in which nothing was promoted follows the package.
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

FILE_NAME = "defaults.json"

Origin: TypeAlias = Literal["settings", "model repository", "package"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Change(_Record):
    """One change of the default, as it is kept."""

    time: datetime
    action: Literal["promote", "rollback"]
    version: int = Field(ge=1)
    replaced: int = Field(ge=1)


class Default(_Record):
    """The default version with every change that led to it, oldest first."""

    version: int = Field(ge=1)
    history: tuple[Change, ...] = ()

    @property
    def before(self) -> int | None:
        """The version that a rollback goes back to, None where nothing was promoted that is not rolled back."""
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
    """The version that new galleries are bound to, and who says so."""

    version: int
    origin: Origin
    where: str
    """For people: the setting's name, or the file's path."""


def promoted(default: Default, version: int, time: datetime) -> Default:
    """Return the default with ``version`` in place of the present one."""
    change = Change(time=time, action="promote", version=version, replaced=default.version)
    return Default(version=version, history=(*default.history, change))


def rolled_back(default: Default, time: datetime) -> Default:
    """Return the default with the last promotion undone.

    Raises:
        ModelNotFound: nothing was promoted, or everything is rolled back.
    """
    if default.before is None:
        raise ModelNotFound(
            f"no promotion is left to roll back; {EMBEDDER} version {default.version} is where the default began",
            metadata={"model": EMBEDDER, "version": default.version},
        )
    change = Change(time=time, action="rollback", version=default.before, replaced=default.version)
    return Default(version=default.before, history=(*default.history, change))


def read_default(repository: Path, source: Path) -> tuple[Default, Path]:
    """Return the default of a model repository and the file that says so; ``source`` is what ships with the package.

    Raises:
        ModelNotFound: neither has the file.
        ModelCheckFailed: the file is malformed.
    """
    for path in (repository / FILE_NAME, source / FILE_NAME):
        if path.is_file():
            try:
                return _Defaults.model_validate(json.loads(path.read_text(encoding="utf-8"))).face_embedder, path
            except (ValueError, ValidationError) as error:
                raise ModelCheckFailed(
                    f"{path} does not name a default version: {error}", metadata={"path": path}
                ) from error
    raise ModelNotFound(
        f"neither {repository} nor {source} has a {FILE_NAME}; expected "
        '{"face_embedder": {"version": 1, "history": []}}',
        metadata={"path": repository},
    )


def write_default(repository: Path, default: Default) -> Path:
    """Write the default into the repository's file, in one step, and return its path."""
    path = repository / FILE_NAME
    partial = path.with_suffix(".partial")
    text = json.dumps(_Defaults(face_embedder=default).model_dump(mode="json"), indent=2)
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)
    return path


def chosen_version(setting: int | None, repository: Path, source: Path) -> ChosenVersion:
    """Return the version that new galleries are bound to: the setting's where there is one, else the repository's.

    Raises:
        ModelNotFound, ModelCheckFailed: there is no readable ``defaults.json``.
    """
    if setting is not None:
        return ChosenVersion(setting, "settings", "SAMEFACE_EMBEDDER_VERSION or --embedder-version")
    default, path = read_default(repository, source)
    return ChosenVersion(default.version, "model repository" if path.parent == repository else "package", str(path))


def check_served(chosen: ChosenVersion, cards: Sequence[ModelCard]) -> ModelCard:
    """Return the card of the chosen version.

    Raises:
        ModelNotFound: no card describes it.
    """
    served = {card.version: card for card in cards if card.model == EMBEDDER}
    if chosen.version not in served:
        raise ModelNotFound(
            f"{chosen.where} names {EMBEDDER} version {chosen.version} for new galleries, which is not served; served "
            f"are {sorted(served)}. Build it with `sameface model build`, or name another one with `sameface model "
            "promote`",
            metadata={"model": EMBEDDER, "version": chosen.version},
        )
    return served[chosen.version]
