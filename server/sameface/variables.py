"""Names of environment variables: which ones we read, and what a name that nobody reads was meant to be.

A value is never part of a message: it may be a key.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin

from sameface.settings import Settings

PREFIX = "SAMEFACE_"
OTHERS = frozenset(
    f"{PREFIX}{name}"
    for name in (
        # Of every command.
        *("CONFIG", "DEFAULTS", "CACHE_DIR", "DEBUG"),
        # Of those that ask a service.
        *(
            "ADDRESS",
            "API_KEY",
            "GALLERY",
            "CLIENT_CA",
            "CLIENT_CERTIFICATE",
            "CLIENT_PRIVATE_KEY",
            "CLIENT_SERVER_NAME",
        ),
        "CLIENT_MAX_PHOTO_BYTES",
        # Of exports, and of the demonstration.
        *("EXPORT_PASSPHRASE", "EXPORT_KEY_FILE", "PORTRAITS"),
    )
)
"""What we read that is no setting."""
_OF_KUBERNETES = re.compile(r"(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
"""What Kubernetes sets in each pod for a Service whose name begins with sameface."""
_PORT_OF_KUBERNETES = re.compile(r"(tcp|udp|sctp)://", re.I)
ALIKE = 0.75
"""The least likeness of a name that is proposed, from 0 to 1 (`difflib.SequenceMatcher.ratio`)."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A variable that nobody reads."""

    name: str
    meant: str = ""
    """The known name most like it; empty if none is."""

    def __str__(self) -> str:
        hint = f"; did you mean {self.meant}?" if self.meant else "; `sameface serve --print-config` shows all settings"
        return f"{self.name} is set, but nothing reads it{hint}"


@cache
def known_variables() -> frozenset[str]:
    """Return the names of all settings, those within sections too, and of what else we read."""
    return frozenset(_settings()) | OTHERS


@cache
def _open_sections() -> tuple[str, ...]:
    """Return how the names begin of what belongs to a setting with names of the operator's choice."""
    return tuple(f"{name}__" for name, kind in _settings().items() if get_origin(kind) in (Mapping, dict))


def unknown_variables(environment: Mapping[str, str]) -> list[Unknown]:
    """Return the variables that begin with SAMEFACE_ and that nobody reads, by name.

    Settings are read in upper and lower case. What Kubernetes sets for a Service named sameface is not meant.
    """
    return [
        Unknown(name, nearest(name, known_variables()))
        for name, value in sorted(environment.items())
        if name.upper().startswith(PREFIX) and not _is_read(name) and not _is_link(name.upper(), value)
    ]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the name most like ``name``; empty if none is like it.

    >>> nearest("SAMEFACE_QUALITY_MIN_SHARPNES", ["SAMEFACE_QUALITY__MIN_SHARPNESS", "SAMEFACE_LISTEN"])
    'SAMEFACE_QUALITY__MIN_SHARPNESS'
    """
    # One underscore in place of two is the likeliest slip, and the common beginning says nothing.
    short = {_bare(one): one for one in sorted(known)}
    found = get_close_matches(_bare(name.upper()), list(short), n=1, cutoff=ALIKE)
    return short[found[0]] if found else ""


def _bare(name: str) -> str:
    return re.sub("_+", "_", name.removeprefix(PREFIX))


def _is_read(name: str) -> bool:
    return name in OTHERS or name.upper() in _settings() or name.upper().startswith(_open_sections())


def _is_link(name: str, value: str) -> bool:
    rest = name.removeprefix(PREFIX)
    if _OF_KUBERNETES.fullmatch(rest):
        return True
    return (rest == "PORT" or rest.endswith("_PORT")) and _PORT_OF_KUBERNETES.match(value) is not None


@cache
def _settings() -> dict[str, Any]:
    """Return the type of each setting, by its variable."""
    return {
        name: kind
        for top, field in Settings.model_fields.items()
        for name, kind in _within(f"{PREFIX}{top.upper()}", field.annotation)
    }


def _within(name: str, kind: Any) -> Iterator[tuple[str, Any]]:
    """Yield a setting and the parts of its section, which may be optional."""
    yield name, kind
    for section in (kind, *(get_args(kind) if get_origin(kind) in (Union, UnionType) else ())):
        if is_dataclass(section):
            for part in fields(section):
                yield from _within(f"{name}__{part.name.upper()}", part.type)
