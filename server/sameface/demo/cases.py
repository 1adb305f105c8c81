"""The demo's script, read from decisions.toml: what to enrol, what to decide, and the expected outcomes."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path


@dataclass(frozen=True, slots=True)
class EnrollmentCase:
    """One photo that enrols one identity."""

    gallery: str
    identity: str
    display_name: str
    photo: str


@dataclass(frozen=True, slots=True)
class DecisionCase:
    """One probe and its expected outcome."""

    title: str
    gallery: str
    photo: str
    expect: str
    """MATCH, AMBIGUOUS, NO_MATCH, or the reason of the expected error."""
    claim: str = ""
    """The claimed identity; empty means identification."""
    scope: str = ""
    expect_identity: str = ""
    crop: tuple[float, float, float, float] | None = None
    """Part of the photo to use, as fractions: left, top, right, bottom."""
    as_embedding: bool = False


@dataclass(frozen=True, slots=True)
class Script:
    """Everything the demo does, in order."""

    enrollments: tuple[EnrollmentCase, ...]
    decisions: tuple[DecisionCase, ...]
    on_collision: Mapping[str, str]
    """This setting of a gallery's policy, where it is not the default."""

    @property
    def galleries(self) -> tuple[str, ...]:
        """Every gallery that is named, in order of appearance."""
        named = [*(case.gallery for case in self.enrollments), *(case.gallery for case in self.decisions)]
        return tuple(dict.fromkeys(named))


def read_script(path: Path | None = None) -> Script:
    """Read a script; None reads the one of the package."""
    source = path or resources.files("sameface.demo").joinpath("decisions.toml")
    tables = tomllib.loads(source.read_text(encoding="utf-8"))
    return Script(
        enrollments=tuple(EnrollmentCase(**table) for table in tables["enroll"]),
        decisions=tuple(
            DecisionCase(**{**table, "crop": tuple(table["crop"]) if "crop" in table else None})
            for table in tables["decision"]
        ),
        on_collision=tables["on_collision"],
    )
