"""The environment variables that sameface knows, so that a misspelt one does not pass unseen."""

import dataclasses
import difflib
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from sameface.settings import Settings

PREFIX = "SAMEFACE_"
# Variables that are no settings of the service: files of settings, and what commands and clients read.
OTHERS = frozenset(
    PREFIX + name
    for name in (
        "ADDRESS",
        "API_KEY",
        "CLIENT_CA",
        "CLIENT_CERTIFICATE",
        "CLIENT_MAX_PHOTO_BYTES",
        "CLIENT_PRIVATE_KEY",
        "CLIENT_SERVER_NAME",
        "CONFIG",
        "DEBUG",
        "DEFAULTS",
        "EXPORT_KEY_FILE",
        "EXPORT_PASSPHRASE",
        "PORTRAITS",
    )
)


def known_variables() -> frozenset[str]:
    """Return every variable that sameface reads: each setting, each section of settings, and what commands read."""
    fields = {name: field.annotation for name, field in Settings.model_fields.items()}
    return OTHERS | frozenset(PREFIX + name.upper() for name in _names(fields))


def unknown_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that begin as ours but that nothing reads, each with the known one that is most like it.

    The likeness is empty if none is near.
    """
    known = known_variables()
    # Settings are read in capitals and small letters.
    unknown = sorted(name for name in environment if name.upper().startswith(PREFIX) and name.upper() not in known)
    return {name: next(iter(difflib.get_close_matches(name.upper(), known, 1, 0.85)), "") for name in unknown}


def _names(fields: Mapping[str, Any]) -> Iterator[str]:
    for name, annotation in fields.items():
        yield name
        section = next(filter(dataclasses.is_dataclass, (annotation, *typing.get_args(annotation))), None)
        if section is not None and typing.get_origin(annotation) is not tuple:
            hints = typing.get_type_hints(section)
            yield from (
                f"{name}__{below}"
                for below in _names({one.name: hints[one.name] for one in dataclasses.fields(section)})
            )
