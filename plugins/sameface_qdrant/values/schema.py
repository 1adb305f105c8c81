"""The schema version of stored records and folders: which releases can read them, and which may change them.

A release that changes the form of a record increases `CURRENT.version`. It increases ``least_reader`` if older releases
would misread the record, and ``least_writer`` if they would damage it. If only some records of a kind would be misread,
these alone get a form with higher numbers, and older releases still use the others.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from sameface_qdrant.errors import StoreTooNew

SCHEMA_FIELD = "schema"


@dataclass(frozen=True, slots=True)
class SchemaVersion:
    """The form of a record or folder."""

    version: int
    least_reader: int
    """The lowest version that can read it."""
    least_writer: int
    """The lowest version that may change it."""


CURRENT = SchemaVersion(version=4, least_reader=1, least_writer=1)
"""The version that this release writes. A record without a version has version 1, as early releases wrote none."""
_CURRENT_FIELDS = asdict(CURRENT)
EXAMINES_ATTACKS = SchemaVersion(version=4, least_reader=2, least_writer=2)
"""A gallery, or a revision of its policy, that examines photos for presentation attacks. A release that does not know
the setting would accept the attacks."""
PROTECTED = SchemaVersion(version=4, least_reader=3, least_writer=3)
"""Everything of a protected gallery, and a store that has had one. A release that does not know protection would take
what is encrypted for the values."""
INDEXED = SchemaVersion(version=4, least_reader=3, least_writer=3)
"""A folder of Qdrant Edge with a graph. A release that does not know graphs would search in them without noticing that
it may miss somebody."""

MIGRATING = SchemaVersion(version=4, least_reader=4, least_writer=4)
"""The record of a gallery that is in a migration or has mapped templates, a migration, and a template map. A release
that does not know migrations would erase, or enrol, under one contract alone."""


def stamped(payload: Mapping[str, Any], form: SchemaVersion = CURRENT) -> dict[str, Any]:
    """Return a payload with the version that this release writes.

    What a newer release wrote keeps its version. Its least reader and writer are raised to those of ``form``.
    """
    if SCHEMA_FIELD not in payload or (found := schema_of(payload)).version <= CURRENT.version:
        return {**payload, SCHEMA_FIELD: asdict(form) if form is not CURRENT else dict(_CURRENT_FIELDS)}
    raised = {
        "least_reader": max(found.least_reader, form.least_reader),
        "least_writer": max(found.least_writer, form.least_writer),
    }
    return {**payload, SCHEMA_FIELD: {**payload[SCHEMA_FIELD], **raised}}


def schema_of(payload: Mapping[str, Any]) -> SchemaVersion:
    """Return the version of a stored payload."""
    if SCHEMA_FIELD not in payload:
        return SchemaVersion(1, 1, 1)
    stored = payload[SCHEMA_FIELD]
    return SchemaVersion(stored["version"], stored["least_reader"], stored["least_writer"])


def known_fields(kind: type, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a stored mapping that a dataclass has fields for; a newer release may have added others."""
    return {field.name: stored[field.name] for field in fields(kind) if field.name in stored}


def is_readable(found: SchemaVersion) -> bool:
    """Return whether this release reads records of a version as they are meant."""
    return found.least_reader <= CURRENT.version


def is_readable_payload(payload: Mapping[str, Any]) -> bool:
    """Return whether this release reads a stored payload as it is meant."""
    # Without a `SchemaVersion`, as it is called for every hit of a search.
    return SCHEMA_FIELD not in payload or payload[SCHEMA_FIELD]["least_reader"] <= CURRENT.version


def check_readable(found: SchemaVersion, what: str) -> None:
    """Raise StoreTooNew if this release would misread ``what``."""
    if not is_readable(found):
        raise _too_new(found, what, "read", found.least_reader)


def check_writable(found: SchemaVersion, what: str) -> None:
    """Raise StoreTooNew if this release would misread ``what``, or damage it by a change."""
    check_readable(found, what)
    if found.least_writer > CURRENT.version:
        raise _too_new(found, what, "change", found.least_writer)


def check_file_format(found: object, current: int, what: str) -> None:
    """Raise StoreTooNew if a file beside the store has a format of a newer release, before anything is changed.

    Such files have one number, and a release reads no other one: they hold keys, or a chain that must not be broken.
    """
    if isinstance(found, int) and found > current:
        raise StoreTooNew(
            f"{what} has format {found}; this release reads and writes format {current}. Leave it as it is, and "
            "upgrade sameface to the release that wrote it, or a newer one",
            metadata={"found": found, "current": current},
        )


def _too_new(found: SchemaVersion, what: str, verb: str, least: int) -> StoreTooNew:
    return StoreTooNew(
        f"{what} has schema version {found.version}; this release writes version {CURRENT.version} and cannot {verb} "
        "it. "
        f"Upgrade sameface to a release with schema version {least} or newer",
        metadata={"found": found.version, "least": least, "current": CURRENT.version},
    )
