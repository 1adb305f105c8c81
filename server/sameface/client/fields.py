"""Fields of requests: resource names, enum values, times. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from google.api import field_behavior_pb2
from google.protobuf.message import Message

from sameface.client.answer import Answer
from sameface.enums import full_name
from sameface.resource_names import make_name

Kind = TypeVar("Kind", bound=Message)


def gallery_name(gallery: str) -> str:
    """Return the resource name of a gallery."""
    return make_name(gallery)


def identity_id(identity: object) -> str:
    """Return the id of an identity as text. A whole number or a UUID is taken as its text.

    Raises:
        TypeError: it is something else, such as None, which would become the id of somebody.
    """
    if isinstance(identity, str):
        return str(identity)
    if isinstance(identity, int | UUID) and not isinstance(identity, bool):
        return str(identity)
    raise TypeError(f"the id of an identity is text, a whole number or a UUID; got {type(identity).__name__}")


def identity_name(gallery: str, identity: object) -> str:
    """Return the resource name of an identity, whose id may be any text.

    Raises:
        TypeError: see `identity_id`.
        ValueError: the id has a surrogate, which UTF-8 cannot express.
    """
    return make_name(gallery, identity_id(identity))


def template_name(gallery: str, identity: str, template: str) -> str:
    """Return the resource name of a template."""
    return f"{identity_name(gallery, identity)}/templates/{template}"


def migration_name(gallery: str, migration: str) -> str:
    """Return the resource name of a migration. Its name itself is taken too, if it is one of this gallery."""
    start = f"{gallery_name(gallery)}/migrations/"
    return migration if migration.startswith(start) else start + migration


def check_known(options: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise TypeError for an option that is not among ``known``; Python itself does not check ``**options``."""
    names = list(known)
    if unknown := sorted(set(options) - set(names)):
        raise TypeError(f"there is no option {', '.join(unknown)}; there are {', '.join(names)}")


def writable(kind: type[Message]) -> list[str]:
    """Return the names of the fields of a message that a caller may set."""
    behavior = field_behavior_pb2.field_behavior
    return [
        field.name
        for field in kind.DESCRIPTOR.fields
        if field_behavior_pb2.OUTPUT_ONLY not in field.GetOptions().Extensions[behavior]
    ]


def filled(kind: type[Kind], /, **values: Any) -> Kind:
    """Return a message with the values that are not None.

    An enum value is given by its short name (``largest`` for FACE_SELECTION_LARGEST), a time as a datetime.

    Raises:
        ValueError: an enum has no such value, or a time has no time zone.
    """
    fields = kind.DESCRIPTOR.fields_by_name
    for name, value in values.items():
        if isinstance(value, datetime):
            # Protobuf takes a time without a time zone for UTC.
            if value.tzinfo is None:
                raise ValueError(f"{name} is {value}, without a time zone; add one, for instance datetime.UTC")
        elif isinstance(value, Answer):
            values[name] = value.proto
        elif isinstance(value, str) and fields[name].enum_type is not None:
            enum: Any = fields[name].enum_type
            values[name] = full_name(enum, value) if value else None
    return kind(**values)
