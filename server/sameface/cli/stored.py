"""What a gallery already holds of the people whose photos are enrolled."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sameface.cli.photos import display_name_of
from sameface.cli.work import work_on
from sameface.client import Client, EmbeddingOrigin, ServiceError, Template
from sameface_qdrant.errors import IdentityAlreadyExists

LISTED_FROM, LISTED_FOR_ONE = 50, 20
"""For so many identities a list is read, up to so many entries for each of them."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What the gallery already holds of the identities to enrol."""

    display_names: dict[str, str] = field(default_factory=dict)
    """By id, of the identities that exist."""
    templates: set[tuple[str, datetime | None]] = field(default_factory=set)
    """Resource name, and time of creation."""
    mapped: set[str] = field(default_factory=set)
    """Resource names of those whose embedding a template map made."""


def look_up(client: Client, gallery: str, identities: list[str]) -> Stored:
    """Return what the gallery holds of the identities to enrol."""

    def look(identity: str) -> tuple[str, list[Template]]:
        return client.get_identity(gallery, identity).display_name, list(client.templates(gallery, identity))

    stored = Stored()
    for identity, found in work_on(_existing(client, gallery, identities), look, "looking up"):
        if isinstance(found, Exception):
            if isinstance(found, ServiceError) and found.reason == "IDENTITY_NOT_FOUND":
                continue
            raise found
        stored.display_names[identity], templates = found
        stored.templates.update(key_of(template) for template in templates)
        stored.mapped.update(one.name for one in templates if one.embedding_origin is EmbeddingOrigin.MAPPED)
    return stored


def _existing(client: Client, gallery: str, identities: list[str]) -> list[str]:
    """Return those identities that may exist. For many, it reads a list instead of asking for each of them."""
    if len(identities) < LISTED_FROM:
        return identities
    there = set()
    for number, one in enumerate(client.identities(gallery)):
        if number >= LISTED_FOR_ONE * len(identities):
            return identities
        there.add(one.id)
    return [one for one in identities if one in there]


def refuse_other_people(ids: Mapping[str, str], display_names: Mapping[str, str]) -> None:
    """Raise if the id of a folder belongs to a person of another name (José and Jose both give jose)."""
    taken = {
        identity: f"the id of {name!r} would be {identity}, which is the id of {other!r}"
        for name, identity in ids.items()
        if identity in display_names
        and display_name_of(other := display_names[identity] or identity) != display_name_of(name)
    }
    if taken:
        raise IdentityAlreadyExists(
            f"nothing was enrolled: {'; '.join(taken.values())}. If this is the same person, add the photos with "
            "--merge. If not, rename the folder, or enrol its photos under another id with --as ID",
            metadata={"identity": ", ".join(taken)},
        )


def key_of(template: Template) -> tuple[str, datetime | None]:
    """Return what tells a template from one that was made anew."""
    return template.name, template.create_time
