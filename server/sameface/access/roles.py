"""The roles, and the rule of every rpc: which roles may call it, and in which gallery.

Authorisation comes before existence (AIP-211): a caller without the right gets the same answer for what exists and for
what does not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any


class Role(StrEnum):
    """What a caller may do in a gallery. Roles do not include each other, except that ADMIN has every right."""

    READER = "reader"
    """Sees which identities and templates there are."""
    VERIFIER = "verifier"
    """Verifies claims, and learns the outcome: neither scores nor who else is similar."""
    IDENTIFIER = "identifier"
    """Also identifies and searches, and learns scores and candidates."""
    ENROLLER = "enroller"
    """Enrols, changes and deletes identities and templates."""
    AUDITOR = "auditor"
    """Sees policies with their revisions, migrations, and receipts of erasures."""
    ADMIN = "admin"
    """Creates, changes, calibrates, migrates and deletes galleries, and has the rights of all other roles."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may call an rpc."""

    roles: frozenset[Role]
    """The caller needs one of them."""
    gallery: str | None
    """The field of the request that names the gallery, in which the role is needed. An empty field means all galleries
    of the server. None: the rpc concerns no gallery, and the role is needed in any one."""
    tuning: tuple[str, ...] = ()
    """Fields that only callers who may know scores may set. With them a caller could find out a score, or whom a face
    is like, by trying."""


ANY = frozenset(Role)
KNOWING = frozenset({Role.IDENTIFIER, Role.ADMIN})
"""Roles that may know scores, embeddings, and whom a face is like. Scores allow hill climbing, embeddings inversion."""

_ADMIN = frozenset({Role.ADMIN})
_READ = frozenset({Role.READER, Role.ENROLLER, Role.ADMIN})
_OVERSEE = frozenset({Role.AUDITOR, Role.ADMIN})
_WRITE = frozenset({Role.ENROLLER, Role.ADMIN})
_VERIFY = frozenset({Role.VERIFIER, Role.IDENTIFIER, Role.ADMIN})
_PHOTOS = frozenset({Role.VERIFIER, Role.IDENTIFIER, Role.ENROLLER, Role.ADMIN})

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "EnrollTemplate": Rule(_WRITE, "parent", ("validate_only",)),
        "VerifyFace": Rule(_VERIFY, "name", ("verify_threshold", "runner_up_margin")),
        "IdentifyFaces": Rule(KNOWING, "gallery"),
        "StreamIdentifyFaces": Rule(KNOWING, "settings.gallery"),
        "SearchTemplates": Rule(KNOWING, "gallery"),
        "CompareFaces": Rule(_VERIFY, None, ("verify_threshold", "target_fmr")),
        "DetectFaces": Rule(_PHOTOS, None),
        "EmbedFaces": Rule(KNOWING, None),
        "CreateGallery": Rule(_ADMIN, "gallery_id"),
        "GetGallery": Rule(_READ | _OVERSEE, "name"),
        "ListGalleries": Rule(ANY, None),
        "UpdateGallery": Rule(_ADMIN, "gallery.name"),
        "ListPolicyRevisions": Rule(_OVERSEE, "parent"),
        "CalibrateGallery": Rule(_ADMIN, "name"),
        "WhatIfGallery": Rule(_ADMIN, "name"),
        "RekeyGallery": Rule(_ADMIN, "name"),
        "DeleteGallery": Rule(_ADMIN, "name"),
        "CreateMigration": Rule(_ADMIN, "parent"),
        "GetMigration": Rule(_OVERSEE, "name"),
        "ListMigrations": Rule(_OVERSEE, "parent"),
        "PauseMigration": Rule(_ADMIN, "name"),
        "ResumeMigration": Rule(_ADMIN, "name"),
        "PromoteMigration": Rule(_ADMIN, "name"),
        "RollBackMigration": Rule(_ADMIN, "name"),
        "CancelMigration": Rule(_ADMIN, "name"),
        "FinishMigration": Rule(_ADMIN, "name"),
        "CreateIdentity": Rule(_WRITE, "parent", ("identity.verify_threshold",)),
        "GetIdentity": Rule(_READ, "name"),
        "ListIdentities": Rule(_READ, "parent"),
        "UpdateIdentity": Rule(_WRITE, "identity.name", ("identity.verify_threshold",)),
        "MoveIdentity": Rule(_WRITE, "name"),
        "DeleteIdentity": Rule(_WRITE, "name"),
        "GetTemplate": Rule(_READ, "name"),
        "ListTemplates": Rule(_READ, "parent"),
        "DeleteTemplate": Rule(_WRITE, "name"),
        "UpdateTemplate": Rule(_WRITE, "template.name"),
        "GetErasureReceipt": Rule(_OVERSEE, ""),
        "ListErasureReceipts": Rule(_OVERSEE, "gallery"),
        "GetServerInfo": Rule(ANY, None),
    }
)
"""The rule of each rpc, by its name. An rpc without a rule is refused."""


def tuned_by(rule: Rule, request: Any) -> list[str]:
    """Return the tuning fields that a request sets, or that its update mask names."""
    masked = set(request.update_mask.paths) if "update_mask" in request.DESCRIPTOR.fields_by_name else set()
    found = []
    for path in rule.tuning:
        *holders, last = path.split(".")
        value = request
        for holder in holders:
            value = getattr(value, holder)
        if last in {field.name for field, _ in value.ListFields()} or masked & {last, "*"}:
            found.append(path)
    return found


def name_in(rule: Rule, request: Any) -> str:
    """Return what the field of a request that names the gallery contains; empty if the rule has no such field."""
    value = request
    for field in rule.gallery.split(".") if rule.gallery else ():
        value = getattr(value, field)
    return str(value) if rule.gallery else ""


def gallery_of(rule: Rule, request: Any) -> str | None:
    """Return the id of the gallery that a request concerns; "" for all galleries, None for no gallery.

    A name of another form is in no gallery that anybody was granted, except with a grant for all of them.
    """
    if rule.gallery is None:
        return None
    if not rule.gallery:
        return ""
    name = name_in(rule, request)
    if rule.gallery == "gallery_id":
        return name
    collection, _, rest = name.partition("/")
    return rest.partition("/")[0] if collection == "galleries" else ""
