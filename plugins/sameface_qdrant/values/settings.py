"""Settings: dataclass fields that a caller may change, each declared once with its range and a sentence of help.

`number` and `choice` make the metadata of such a field, `settings_of` lists the fields. Validation, storage, protos and
options on the command line go through that list.
"""

import dataclasses
import difflib
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import NoneType
from typing import Any

from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.values.scalars import is_number, is_whole, of_python, shown

_KEY = "setting"


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers from ``low`` to ``high``; both excluded unless ``closed``."""

    low: float
    high: float
    closed: bool = True

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high if self.closed else self.low < value < self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{'' if self.closed else ', both excluded'}"


@dataclass(frozen=True, slots=True)
class _Declaration:
    help: str
    absent: str
    range: Range | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """One field that a caller may change."""

    name: str
    kind: type[float] | type[StrEnum]
    """float, int, or the enum of a choice. None is also allowed if it is the default."""
    default: Any
    help: str
    """Help text, without the name of the field."""
    absent: str
    """Help text for None: what applies then."""
    range: Range | None
    """The allowed values of a number."""

    def checked(self, value: Any) -> Any:
        """Check a value and return it, a number as one of Python. A choice may be given by its name.

        Raises:
            InvalidArgument: it has another type, is out of range, or is not one of the choices; ``metadata["field"]``
                names the field.
        """
        if issubclass(self.kind, StrEnum):
            try:
                return self.kind(str(value).upper())
            except ValueError:
                raise InvalidArgument(
                    f"{self.name} is {value!r}; expected one of {', '.join(self.kind)}", metadata={"field": self.name}
                ) from None
        if value is None and self.default is None:
            return None
        if not (is_whole if self.kind is int else is_number)(value):
            expected = f"a {'whole ' if self.kind is int else ''}number{' or None' if self.default is None else ''}"
            raise InvalidArgument(
                f"{self.name} is {ascii(value)[:80]} ({type(value).__name__}); expected {expected}",
                metadata={"field": self.name},
            )
        if self.range is not None and value not in self.range:
            raise InvalidArgument(
                f"{self.name} is {shown(value)}; expected {self.range}", metadata={"field": self.name}
            )
        return of_python(value)


def check_fields(changes: Mapping[str, Any], known: Collection[str], what: str) -> None:
    """Check that changes name only known fields, because a misspelt one would change nothing.

    Raises:
        InvalidArgument: a field is not one of ``known``; ``metadata["field"]`` names it.
    """
    for name in changes:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            advice = f"; did you mean {close[0]!r}?" if close else ""
            raise InvalidArgument(
                f"{what} has no field {str(name)[:64]!r}; expected one of {', '.join(sorted(known))}{advice}",
                metadata={"field": str(name)[:64]},
            )


def number(within: Range, help: str, *, absent: str = "default") -> Mapping[str, Any]:
    """Return the metadata of a field that holds a number; ``absent`` says what applies if it is None."""
    return {_KEY: _Declaration(help, absent, within)}


def choice(help: str) -> Mapping[str, Any]:
    """Return the metadata of a field that holds a value of an enum."""
    return {_KEY: _Declaration(help, "default")}


def is_setting(field: "dataclasses.Field[Any]") -> bool:
    """Return whether a field of a dataclass is a setting."""
    return _KEY in field.metadata


def settings_of(kind: type[Any]) -> tuple[Setting, ...]:
    """Return the settings of a dataclass in the order of their declaration."""
    hints = typing.get_type_hints(kind)
    return tuple(
        Setting(field.name, _without_none(hints[field.name]), field.default, told.help, told.absent, told.range)
        for field in dataclasses.fields(kind)
        if (told := field.metadata.get(_KEY))
    )


def _without_none(hint: Any) -> type[float] | type[StrEnum]:
    kind: type[float] | type[StrEnum]
    (kind,) = set(typing.get_args(hint) or (hint,)) - {NoneType}
    return kind
