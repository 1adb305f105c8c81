"""Between protos and domain values. Pure; the only place that knows both."""

import dataclasses
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import numpy as np
from google.protobuf import timestamp_pb2

from sameface.api.names import make_name
from sameface.pipeline.photos import FoundFace
from sameface.pipeline.samples import EmbeddingSample, PhotoSample, Sample
from sameface.v1 import decision_pb2, face_pb2, gallery_pb2
from sameface.vision import FaceSelection
from sameface_qdrant.contracts import MAX_DIMENSION
from sameface_qdrant.errors import InvalidArgument, InvalidEmbedding
from sameface_qdrant.values import Contract, Decision, Gallery, Identity, Policy, Scope, Template, Vector

MAX_TEXT = 256
MAX_LABELS = 32

_SCOPES = {decision_pb2.SCOPE_CLAIM: Scope.CLAIM, decision_pb2.SCOPE_GALLERY: Scope.GALLERY}
_SELECTIONS = {
    face_pb2.FACE_SELECTION_LARGEST: FaceSelection.LARGEST,
    face_pb2.FACE_SELECTION_MOST_CENTRAL: FaceSelection.MOST_CENTRAL,
    face_pb2.FACE_SELECTION_ERROR: FaceSelection.ERROR,
}


def scope_from(value: decision_pb2.Scope, field: str = "scope") -> Scope | None:
    """Return the scope that was asked for, None for the default."""
    if value == decision_pb2.SCOPE_UNSPECIFIED:
        return None
    if value not in _SCOPES:
        raise InvalidArgument(f"{field} is {value}, which is no Scope of this version", metadata={"field": field})
    return _SCOPES[value]


def selection_from(value: face_pb2.FaceSelection) -> FaceSelection | None:
    """Return the face selection that was asked for, None for the default."""
    if value == face_pb2.FACE_SELECTION_UNSPECIFIED:
        return None
    if value not in _SELECTIONS:
        raise InvalidArgument(
            f"face_selection is {value}, which is no FaceSelection of this version",
            metadata={"field": "face_selection"},
        )
    return _SELECTIONS[value]


def sample_from(message: face_pb2.Sample, field: str = "sample") -> Sample:
    """Return the photo or embedding of a sample."""
    match message.WhichOneof("source"):
        case "photo":
            return PhotoSample(message.photo)
        case "embedding":
            if len(message.embedding.values) > MAX_DIMENSION:
                raise InvalidEmbedding(
                    f"{field}.embedding has {len(message.embedding.values)} values; at most {MAX_DIMENSION} may be",
                    metadata={"field": f"{field}.embedding"},
                )
            return EmbeddingSample(
                vector=np.array(message.embedding.values, dtype=np.float32),
                contract=contract_from(message.embedding.contract),
            )
        case _:
            raise InvalidArgument(f"{field} is empty; set its photo or its embedding", metadata={"field": field})


def contract_from(message: face_pb2.Contract) -> Contract:
    """Return a contract as the caller states it."""
    return Contract(
        model=message.model,
        version=message.version,
        sha256=message.sha256,
        dimension=message.dimension,
        preprocessing=message.preprocessing,
    )


def contract_to(contract: Contract) -> face_pb2.Contract:
    """Return the proto of a contract."""
    return face_pb2.Contract(
        model=contract.model,
        version=contract.version,
        sha256=contract.sha256,
        dimension=contract.dimension,
        preprocessing=contract.preprocessing,
    )


def number_from(message: object, field: str, low: float, high: float, *, strict: bool = False) -> float | None:
    """Return an optional number of a request, None where it is absent.

    Raises:
        InvalidArgument: it is not finite or outside ``low``..``high`` (both excluded with ``strict``).
    """
    if not message.HasField(field):  # type: ignore[attr-defined]  # every proto message has it
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
    """Return a text for people after checking its length and that it prints."""
    if len(value) > MAX_TEXT or any(ord(char) < 32 or ord(char) == 127 for char in value):
        raise InvalidArgument(
            f"{field} has {len(value)} characters; expected at most {MAX_TEXT}, none of them a control character",
            metadata={"field": field},
        )
    return value


def labels_from(labels: dict[str, str]) -> dict[str, str]:
    """Return labels after checking their count and lengths."""
    if len(labels) > MAX_LABELS or any(
        not 0 < len(key) <= 63 or len(value) > MAX_TEXT for key, value in labels.items()
    ):
        raise InvalidArgument(
            f"labels has {len(labels)} entries; expected at most {MAX_LABELS}, keys of 1 to 63 characters and values "
            f"of at most {MAX_TEXT}",
            metadata={"field": "labels"},
        )
    return dict(labels)


def request_id_from(value: str) -> str:
    """Return a request id in canonical form, or empty where none was sent."""
    if not value:
        return ""
    try:
        return str(uuid.UUID(value))
    except ValueError:
        raise InvalidArgument(
            f"request_id is {value[:64]!r}; expected a UUID, for instance {uuid.UUID(int=0)}",
            metadata={"field": "request_id"},
        ) from None


def page_size_from(value: int) -> int:
    """Return a page size: 0 takes 100, larger than 1000 is coerced (AIP-158)."""
    if value < 0:
        raise InvalidArgument(f"page_size is {value}; expected 0 to 1000", metadata={"field": "page_size"})
    return min(value, 1000) or 100


def time_from(message: timestamp_pb2.Timestamp, field: str) -> datetime:
    """Return a moment in UTC."""
    try:
        return message.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidArgument(f"{field} is not a valid timestamp", metadata={"field": field}) from None


def time_to(moment: datetime | None) -> timestamp_pb2.Timestamp | None:
    """Return the proto of a moment, None where there is none."""
    if moment is None:
        return None
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(moment)
    return message


POLICY_FIELDS = (
    "verify_threshold",
    "identify_threshold",
    "runner_up_margin",
    "target_fmr",
    "target_fpir",
    "max_templates",
)


def gallery_fields(message: gallery_pb2.Gallery, mask: list[str]) -> set[str]:
    """Return what an update changes: ``display_name`` and names of policy fields (AIP-134).

    Without a mask it is what the message sets; ``policy`` stands for the whole policy, ``*`` for everything.

    Raises:
        InvalidArgument: the mask names something else, or nothing is to be changed.
    """
    if mask:
        fields = set()
        for path in mask:
            fields |= {"*": {"display_name", *POLICY_FIELDS}, "policy": set(POLICY_FIELDS)}.get(
                path, {path.removeprefix("policy.")}
            )
    else:
        fields = {name for name in POLICY_FIELDS if message.policy.HasField(name)}
        fields |= {"display_name"} if message.display_name else set()
    if unknown := sorted(fields - {"display_name", *POLICY_FIELDS}):
        raise InvalidArgument(
            f"update_mask names {', '.join(unknown)}; expected display_name, policy, or policy.<field> with a field of "
            f"{', '.join(POLICY_FIELDS)}",
            metadata={"field": "update_mask"},
        )
    if not fields:
        raise InvalidArgument(
            "the request changes nothing; set display_name or a field of policy, or name what to reset in update_mask",
            metadata={"field": "gallery"},
        )
    return fields


def policy_from(message: gallery_pb2.Policy, base: Policy, fields: Iterable[str]) -> Policy:
    """Return ``base`` with the named fields as the message has them; a field that is absent there takes its default.

    Raises:
        InvalidArgument: a field of the message is out of range, named or not.
    """
    given = {
        "verify_threshold": number_from(message, "verify_threshold", -1, 1),
        "identify_threshold": number_from(message, "identify_threshold", -1, 1),
        "runner_up_margin": number_from(message, "runner_up_margin", 0, 2),
        "target_fmr": number_from(message, "target_fmr", 0, 1, strict=True),
        "target_fpir": number_from(message, "target_fpir", 0, 1, strict=True),
        "max_templates": number_from(message, "max_templates", 1, 64),
    }
    default = Policy()
    changes: dict[str, Any] = {name: getattr(default, name) if given[name] is None else given[name] for name in fields}
    if "max_templates" in changes:
        changes["max_templates"] = int(changes["max_templates"])
    return dataclasses.replace(base, **changes)


def policy_to(policy: Policy) -> gallery_pb2.Policy:
    """Return the proto of a policy."""
    return gallery_pb2.Policy(
        verify_threshold=policy.verify_threshold,
        identify_threshold=policy.identify_threshold,
        runner_up_margin=policy.runner_up_margin,
        target_fmr=policy.target_fmr,
        target_fpir=policy.target_fpir,
        max_templates=policy.max_templates,
        revision=policy.revision,
        create_time=time_to(policy.create_time),
    )


def gallery_to(gallery: Gallery) -> gallery_pb2.Gallery:
    """Return the proto of a gallery."""
    return gallery_pb2.Gallery(
        name=make_name(gallery.id),
        display_name=gallery.display_name,
        contract=contract_to(gallery.contract),
        policy=policy_to(gallery.policy),
        create_time=time_to(gallery.create_time),
        update_time=time_to(gallery.update_time),
        etag=gallery.etag,
    )


def identity_to(identity: Identity) -> gallery_pb2.Identity:
    """Return the proto of an identity."""
    return gallery_pb2.Identity(
        name=make_name(identity.gallery, identity.id),
        display_name=identity.display_name,
        labels=dict(identity.labels),
        verify_threshold=identity.verify_threshold,
        template_count=identity.template_count,
        create_time=time_to(identity.create_time),
        update_time=time_to(identity.update_time),
        etag=identity.etag,
    )


def template_to(template: Template) -> gallery_pb2.Template:
    """Return the proto of a template. The vector stays where it is."""
    origins = {"photo": gallery_pb2.Template.ORIGIN_PHOTO, "embedding": gallery_pb2.Template.ORIGIN_EMBEDDING}
    return gallery_pb2.Template(
        name=make_name(template.gallery, template.identity, template.id) if template.id else "",
        origin=origins.get(template.provenance.source, gallery_pb2.Template.ORIGIN_UNSPECIFIED),
        quality=[
            face_pb2.QualityComponent(name=name, value=value) for name, value in template.provenance.quality.items()
        ],
        create_time=time_to(template.create_time),
        expire_time=time_to(template.expire_time),
    )


def embedding_to(vector: Vector, contract: Contract) -> face_pb2.Embedding:
    """Return the proto of an embedding."""
    return face_pb2.Embedding(values=vector.tolist(), contract=contract_to(contract))


def face_to(face: FoundFace | None) -> face_pb2.Face | None:
    """Return the proto of a face, None for an embedding."""
    if face is None:
        return None
    x, y, width, height = face.detection.box
    points = [face_pb2.Point(x=float(px), y=float(py)) for px, py in face.detection.landmarks]
    return face_pb2.Face(
        bounding_box=face_pb2.BoundingBox(x=x, y=y, width=width, height=height),
        landmarks=face_pb2.Landmarks(
            right_eye=points[0],
            left_eye=points[1],
            nose_tip=points[2],
            mouth_right=points[3],
            mouth_left=points[4],
        ),
        detection_score=face.detection.score,
        quality=[
            face_pb2.QualityComponent(
                name=component.name, value=component.value, measurement=component.measurement, unit=component.unit
            )
            for component in face.quality
        ],
        issues=[face_pb2.QualityIssue(reason=issue.reason, message=issue.message) for issue in face.issues],
    )


def faces_to(faces: Iterable[FoundFace]) -> list[face_pb2.Face]:
    """Return the protos of several faces."""
    return [face for face in map(face_to, faces) if face is not None]


def decision_to(decision: Decision, gallery: str) -> decision_pb2.Decision:
    """Return the proto of a decision made in a gallery."""
    return decision_pb2.Decision(
        outcome=f"OUTCOME_{decision.outcome}",
        score=decision.score,
        threshold=decision.threshold,
        threshold_source=f"THRESHOLD_SOURCE_{decision.threshold_source}",
        target_attained=decision.target_attained,
        lead=decision.lead,
        runner_up_margin=decision.margin,
        scope=f"SCOPE_{decision.scope}",
        policy_revision=decision.policy_revision,
        gallery_size=decision.gallery_size,
        candidates=[
            decision_pb2.Candidate(
                identity=make_name(gallery, candidate.identity),
                display_name=candidate.display_name,
                score=candidate.score,
                template=make_name(gallery, candidate.identity, candidate.template),
            )
            for candidate in decision.candidates
        ],
    )
