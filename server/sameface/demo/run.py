"""Enrols and decides over gRPC, as any client would, and records every number of every decision."""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from PIL import Image

from sameface.client import ServiceError
from sameface.client.connection import Connection
from sameface.demo.cases import DecisionCase, Script
from sameface.resource_names import last_part, make_name
from sameface.v1 import decision_pb2, face_pb2, face_service_pb2, gallery_pb2, gallery_service_pb2


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """One decision of the service, with the expected outcome."""

    case: DecisionCase
    photo: bytes
    """The bytes that were sent, or that the embedding was made from."""
    outcome: str
    """MATCH, AMBIGUOUS, NO_MATCH, or the reason of the error."""
    as_expected: bool
    milliseconds: float
    message: str = ""
    decision: dict[str, Any] = field(default_factory=dict)
    face: face_pb2.Face | None = None


@dataclass(frozen=True, slots=True)
class EnrollmentRecord:
    """One enrolled portrait."""

    gallery: str
    identity: str
    display_name: str
    photo: bytes
    face: face_pb2.Face
    milliseconds: float


def run_script(
    connection: Connection, script: Script, portraits: Path, progress: Callable[[str], None]
) -> tuple[list[EnrollmentRecord], list[DecisionRecord]]:
    """Make the galleries, enrol every portrait, and make every decision.

    Raises:
        grpc.RpcError: a gallery could not be made, or an enrolment failed.
    """
    for gallery in script.galleries:
        action: Any = f"GUARD_ACTION_{script.on_collision.get(gallery, 'UNSPECIFIED')}"
        policy = gallery_pb2.Policy(on_collision=action)
        connection.galleries.CreateGallery(
            gallery_service_pb2.CreateGalleryRequest(gallery_id=gallery, gallery=gallery_pb2.Gallery(policy=policy))
        )
    enrolled = []
    for entry in script.enrollments:
        progress(f"enrol {entry.identity}")
        photo = (portraits / entry.photo).read_bytes()
        began = time.perf_counter()
        answer = connection.faces.EnrollTemplate(
            face_service_pb2.EnrollTemplateRequest(
                parent=make_name(entry.gallery, entry.identity),
                sample=face_pb2.Sample(photo=photo),
                allow_missing=True,
                display_name=entry.display_name,
            )
        )
        spent = (time.perf_counter() - began) * 1e3
        enrolled.append(EnrollmentRecord(entry.gallery, entry.identity, entry.display_name, photo, answer.face, spent))
    decided = []
    for case in script.decisions:
        progress(case.title)
        decided.append(_decide(connection, case, _photo(case, portraits)))
    return enrolled, decided


def _photo(case: DecisionCase, portraits: Path) -> bytes:
    content = (portraits / case.photo).read_bytes()
    if case.crop is None:
        return content
    with Image.open(io.BytesIO(content)) as image:
        left, top, right, bottom = case.crop
        width, height = image.size
        part = image.crop((int(left * width), int(top * height), int(right * width), int(bottom * height)))
    buffer = io.BytesIO()
    part.save(buffer, format="JPEG", quality=95)
    return buffer.getvalue()


def _decide(connection: Connection, case: DecisionCase, photo: bytes) -> DecisionRecord:
    face: face_pb2.Face | None = None
    sample = face_pb2.Sample(photo=photo)
    if case.as_embedding:
        embedded = connection.faces.EmbedFaces(face_service_pb2.EmbedFacesRequest(photo=photo)).faces[0]
        face, sample = embedded.face, face_pb2.Sample(embedding=embedded.embedding)
    began = time.perf_counter()
    try:
        if case.claim:
            verified = connection.faces.VerifyFace(
                face_service_pb2.VerifyFaceRequest(
                    name=make_name(case.gallery, case.claim),
                    sample=sample,
                    scope=f"SCOPE_{case.scope}" if case.scope else decision_pb2.SCOPE_UNSPECIFIED,
                )
            )
            answer, decision = verified, verified.decision
        else:
            identified = connection.faces.IdentifyFaces(
                face_service_pb2.IdentifyFacesRequest(gallery=f"galleries/{case.gallery}", sample=sample)
            )
            answer, decision = identified.faces[0], identified.faces[0].decision
    except grpc.RpcError as failed:
        spent = (time.perf_counter() - began) * 1e3
        error = ServiceError.of(failed)
        reason = error.reason or error.code.name
        return DecisionRecord(case, photo, reason, reason == case.expect, spent, message=error.message)
    spent = (time.perf_counter() - began) * 1e3
    if answer.HasField("face"):
        face = answer.face
    outcome = decision_pb2.Outcome.Name(decision.outcome).removeprefix("OUTCOME_")
    best = last_part(decision.candidates[0].identity) if decision.candidates else ""
    as_expected = outcome == case.expect and case.expect_identity in ("", best)
    return DecisionRecord(case, photo, outcome, as_expected, spent, decision=_numbers(decision, best), face=face)


def _numbers(decision: decision_pb2.Decision, best: str) -> dict[str, Any]:
    source = decision_pb2.ThresholdSource.Name(decision.threshold_source)
    return {
        "score": decision.score if decision.HasField("score") else None,
        "threshold": decision.threshold,
        "target_attained": decision.target_attained if decision.HasField("target_attained") else None,
        "threshold_source": source.removeprefix("THRESHOLD_SOURCE_"),
        "lead": decision.lead if decision.HasField("lead") else None,
        "runner_up_margin": decision.runner_up_margin,
        "scope": decision_pb2.Scope.Name(decision.scope).removeprefix("SCOPE_"),
        "policy_revision": decision.policy_revision,
        "gallery_size": decision.gallery_size,
        "best": best,
        "candidates": [{"identity": candidate.identity, "score": candidate.score} for candidate in decision.candidates],
    }
