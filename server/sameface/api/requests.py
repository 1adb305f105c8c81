"""Translates requests to domain values and checks them. Pure functions."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from google.protobuf import timestamp_pb2

from sameface.api.choices import choice_from
from sameface.api.names import parse_name
from sameface.api.responses import ORIGINS
from sameface.pipeline.answers import IdentificationSettings
from sameface.pipeline.samples import EmbeddingSample, PhotoSample, Sample
from sameface.v1 import decision_pb2, face_pb2, face_service_pb2, gallery_pb2
from sameface.vision import FaceSelection
from sameface_qdrant.errors import InvalidArgument, InvalidEmbedding
from sameface_qdrant.values.contract import MAX_DIMENSION, Contract
from sameface_qdrant.values.decision import Scope
from sameface_qdrant.values.gallery import POLICY_SETTINGS
from sameface_qdrant.values.identity import IdentityChanges
from sameface_qdrant.values.template import TemplateFilter

MAX_TEXT = 256
MAX_FILTERED = 100
MAX_CANDIDATES = 100


def scope_from(value: decision_pb2.Scope, field: str = "scope") -> Scope | None:
    """Return the requested scope, or None for the default."""
    return choice_from(value, decision_pb2.Scope.DESCRIPTOR, Scope, field)


def selection_from(value: face_pb2.FaceSelection) -> FaceSelection | None:
    """Return the requested face selection, or None for the default."""
    return choice_from(value, face_pb2.FaceSelection.DESCRIPTOR, FaceSelection, "face_selection")


def sample_from(message: face_pb2.Sample, field: str = "sample") -> Sample:
    """Return the photo or embedding of a sample.

    Raises:
        InvalidArgument: the sample is empty.
        InvalidEmbedding: the embedding has too many values.
    """
    match message.WhichOneof("source"):
        case "photo":
            return PhotoSample(message.photo)
        case "embedding":
            if len(message.embedding.values) > MAX_DIMENSION:
                raise InvalidEmbedding(
                    f"{field}.embedding has {len(message.embedding.values)} values; expected at most {MAX_DIMENSION}",
                    metadata={"field": f"{field}.embedding"},
                )
            return EmbeddingSample(
                vector=np.array(message.embedding.values, dtype=np.float32),
                contract=contract_from(message.embedding.contract),
            )
        case _:
            raise InvalidArgument(f"{field} is empty; set its photo or its embedding", metadata={"field": field})


def identification_from(
    message: face_service_pb2.IdentifyFacesRequest | face_service_pb2.StreamIdentifyFacesRequest.Settings,
) -> IdentificationSettings:
    """Return the settings of an identification.

    Raises:
        InvalidArgument: a setting is malformed or out of range.
    """
    (gallery,) = parse_name(message.gallery, "gallery", 1)
    if not 0 <= message.max_candidates <= MAX_CANDIDATES:
        raise InvalidArgument(
            f"max_candidates is {message.max_candidates}; expected 0 to {MAX_CANDIDATES}",
            metadata={"field": "max_candidates"},
        )
    return IdentificationSettings(
        gallery=gallery,
        threshold=number_from(message, "identify_threshold", -1, 1),
        margin=number_from(message, "runner_up_margin", 0, 2),
        selection=selection_from(message.face_selection),
        all_faces=message.all_faces,
        limit=message.max_candidates or 5,
    )


def contract_from(message: face_pb2.Contract) -> Contract:
    """Return the contract that the caller sends, unchecked."""
    return Contract(
        model=message.model,
        version=message.version,
        sha256=message.sha256,
        dimension=message.dimension,
        preprocessing=message.preprocessing,
    )


def number_from(message: object, field: str, low: float, high: float, *, strict: bool = False) -> float | None:
    """Return an optional number of a request, or None if it is absent.

    Raises:
        InvalidArgument: the number is not finite or not in ``low``..``high`` (``strict`` excludes both ends).
    """
    if not message.HasField(field):  # type: ignore[attr-defined]  # every proto message has HasField
        return None
    value = float(getattr(message, field))
    inside = low < value < high if strict else low <= value <= high
    if not inside:
        brackets = "()" if strict else "[]"
        raise InvalidArgument(
            f"{field} is {value:g}; expected a number in {brackets[0]}{low:g}, {high:g}{brackets[1]}",
            metadata={"field": field},
        )
    return value


def text_from(value: str, field: str) -> str:
    """Return a text for people.

    Raises:
        InvalidArgument: the text is too long or has a control character.
    """
    if len(value) > MAX_TEXT or any(ord(char) < 32 or ord(char) == 127 for char in value):
        raise InvalidArgument(
            f"{field} has {len(value)} characters; expected at most {MAX_TEXT}, and no control characters",
            metadata={"field": field},
        )
    return value


def request_id_from(value: str) -> str:
    """Return a request id in canonical form, or an empty string if there is none.

    Raises:
        InvalidArgument: the id is not a UUID.
    """
    if not value:
        return ""
    try:
        return str(uuid.UUID(value))
    except ValueError:
        raise InvalidArgument(
            f"request_id is {value[:64]!r}; expected a UUID, for example {uuid.UUID(int=0)}",
            metadata={"field": "request_id"},
        ) from None


def position_from(token: str) -> int:
    """Return the position that a page token of a list in memory names.

    Raises:
        InvalidArgument: it is another kind of token.
    """
    if token and not (token.isascii() and token.isdecimal() and len(token) < 10):
        raise InvalidArgument(
            "page_token is not one of this list; use the next_page_token of its last page",
            metadata={"field": "page_token"},
        )
    return int(token or 0)


def page_size_from(value: int) -> int:
    """Return a page size: 0 means 100, and more than 1000 means 1000 (AIP-158).

    Raises:
        InvalidArgument: the value is negative.
    """
    if value < 0:
        raise InvalidArgument(f"page_size is {value}; expected 0 to 1000", metadata={"field": "page_size"})
    return min(value, 1000) or 100


def time_from(message: timestamp_pb2.Timestamp, field: str) -> datetime:
    """Return a timestamp as a UTC time.

    Raises:
        InvalidArgument: the timestamp is out of range.
    """
    try:
        return message.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidArgument(
            f"{field} is not a valid timestamp; expected a time in the years 1 to 9999", metadata={"field": field}
        ) from None


def optional_time_from(message: Any, field: str) -> datetime | None:
    """Return a time of a message, or None if it is absent."""
    return time_from(getattr(message, field), field) if message.HasField(field) else None


def changed_fields(mask: Iterable[str], populated: set[str], known: Mapping[str, set[str]]) -> set[str]:
    """Return the fields that an update changes (AIP-134): those in the mask, or without a mask the populated ones.

    ``known`` maps each allowed path of the mask to its fields. The path ``*`` means all fields.

    Raises:
        InvalidArgument: the mask has an unknown path, or there is no field to change.
    """
    paths = list(mask)
    everything = set().union(*known.values())
    if unknown := sorted(path for path in paths if path != "*" and path not in known):
        raise InvalidArgument(
            f"update_mask names {', '.join(unknown)}; expected some of {', '.join(known)}, or *",
            metadata={"field": "update_mask"},
        )
    named = set().union(*(everything if path == "*" else known[path] for path in paths))
    fields = named if paths else populated
    if not fields:
        raise InvalidArgument(
            f"the request changes nothing; set a field, or name what to clear in update_mask: {', '.join(known)}",
            metadata={"field": "update_mask"},
        )
    return fields


def gallery_fields(message: gallery_pb2.Gallery, mask: Iterable[str]) -> set[str]:
    """Return the fields that an update of a gallery changes: ``display_name`` and names of policy fields."""
    settings = [setting.name for setting in POLICY_SETTINGS]
    populated = {name for name in settings if message.policy.HasField(name)}
    populated |= {"display_name"} if message.display_name else set()
    known = {"display_name": {"display_name"}, "policy": set(settings)}
    return changed_fields(mask, populated, known | {f"policy.{name}": {name} for name in settings})


def identity_changes(message: gallery_pb2.Identity, mask: Iterable[str]) -> IdentityChanges:
    """Return the fields that an update of an identity changes, with their new values."""
    populated = {name for name in ("verify_threshold", "expire_time") if message.HasField(name)}
    texts = ("display_name", "labels", "consent_reference", "purpose")
    populated |= {name for name in texts if getattr(message, name)}
    fields = changed_fields(mask, populated, {name: {name} for name in (*texts, "verify_threshold", "expire_time")})
    changes = IdentityChanges()
    if "display_name" in fields:
        changes["display_name"] = text_from(message.display_name, "identity.display_name")
    if "labels" in fields:
        changes["labels"] = dict(message.labels)
    if "verify_threshold" in fields:
        changes["verify_threshold"] = number_from(message, "verify_threshold", -1, 1)
    if "consent_reference" in fields:
        changes["consent_reference"] = text_from(message.consent_reference, "identity.consent_reference")
    if "purpose" in fields:
        changes["purpose"] = text_from(message.purpose, "identity.purpose")
    if "expire_time" in fields:
        changes["expire_time"] = optional_time_from(message, "expire_time")
    return changes


def filter_from(message: face_service_pb2.TemplateFilter, gallery: str) -> TemplateFilter:
    """Return the filter of a search.

    Raises:
        InvalidArgument: an origin is unknown, or an identity is malformed or of another gallery.
    """
    origins = {gallery_pb2.Template.ORIGIN_UNSPECIFIED: "", **{origin: name for name, origin in ORIGINS.items()}}
    if message.origin not in origins:
        raise InvalidArgument(
            f"filter.origin is {message.origin}; expected ORIGIN_PHOTO or ORIGIN_EMBEDDING",
            metadata={"field": "filter.origin"},
        )
    return TemplateFilter(
        identities=_identities_from(message.identities, gallery, "filter.identities"),
        exclude_identities=_identities_from(message.exclude_identities, gallery, "filter.exclude_identities"),
        labels=dict(message.labels),
        source=origins[message.origin],
    )


def _identities_from(names: Sequence[str], gallery: str, field: str) -> tuple[str, ...]:
    if len(names) > MAX_FILTERED:
        raise InvalidArgument(
            f"{field} has {len(names)} names; at most {MAX_FILTERED} are allowed", metadata={"field": field}
        )
    found = []
    for name in names:
        owner, identity = parse_name(name, field, 2)
        if owner != gallery:
            raise InvalidArgument(
                f"{field} names {name!r}; expected identities of the gallery {gallery!r}", metadata={"field": field}
            )
        found.append(identity)
    return tuple(found)
