"""What an entry says of a migration: its id, and the state in which it was left. Pure."""

from typing import Any

from sameface.v1 import migration_pb2, migration_service_pb2
from sameface_qdrant.values.ids import ID_PATTERN
from sameface_qdrant.values.migration import UnaskedChange

UNASKED = "migration"
"""Stands for the rpc in entries of changes that no call has made."""
COLLECTIONS = ["galleries", "migrations"]


def migration_fields(message: Any, answer: Any) -> dict[str, str]:
    """Return the fields of an entry about a migration; none if the call is not about a single one.

    Args:
        message: the request; None if it was not read.
        answer: of a call that succeeded.
    """
    left = answer.migration if isinstance(answer, migration_service_pb2.CreateMigrationResponse) else answer
    told = isinstance(left, migration_pb2.Migration) and bool(left.name)
    name = left.name if told else str(getattr(message, "name", ""))
    parts = name.split("/")
    if len(parts) != 4 or parts[::2] != COLLECTIONS or not all(map(ID_PATTERN.fullmatch, parts[1::2])):
        return {}
    fields = {"migration": parts[3]}
    if told:
        fields["state"] = migration_pb2.Migration.State.Name(left.state).removeprefix("STATE_")
    return fields


def unasked_fields(change: UnaskedChange) -> dict[str, str]:
    """Return the fields of an entry about a change that no call has made."""
    return {
        "rpc": UNASKED,
        "caller": "",
        "outcome": change.reason or "OK",
        "gallery": change.gallery,
        "migration": change.migration,
        "state": change.state.value,
    }
