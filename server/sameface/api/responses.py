"""Translates domain values to protos. Pure functions."""

from collections.abc import Iterable

from sameface.api.names import migration_name, receipt_name
from sameface.api.policies import policy_to
from sameface.pipeline.photos import FoundFace
from sameface.pipeline.presentation_attacks import PadResult
from sameface.resource_names import make_name
from sameface.v1 import decision_pb2, face_pb2, face_service_pb2, gallery_pb2
from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.decision import Decision, Renewal, RenewalState
from sameface_qdrant.values.erasure import ErasureReceipt
from sameface_qdrant.values.gallery import Gallery, MappedTemplates
from sameface_qdrant.values.identity import Identity
from sameface_qdrant.values.protection import Protection
from sameface_qdrant.values.template import Template
from sameface_qdrant.values.vectors import Vector

ORIGINS = {"photo": gallery_pb2.Template.ORIGIN_PHOTO, "embedding": gallery_pb2.Template.ORIGIN_EMBEDDING}


def contract_to(contract: Contract) -> face_pb2.Contract:
    """Return the proto of a contract."""
    return face_pb2.Contract(
        model=contract.model,
        version=contract.version,
        sha256=contract.sha256,
        dimension=contract.dimension,
        preprocessing=contract.preprocessing,
    )


def gallery_to(gallery: Gallery, licence_restriction: str) -> gallery_pb2.Gallery:
    """Return the proto of a gallery, with what the licence of its contract's model forbids."""
    return gallery_pb2.Gallery(
        name=make_name(gallery.id),
        display_name=gallery.display_name,
        contract=contract_to(gallery.contract),
        policy=policy_to(gallery.policy),
        create_time=gallery.create_time,
        update_time=gallery.update_time,
        etag=gallery.etag,
        licence_restriction=licence_restriction,
        protection=None if gallery.protection is None else _protection_to(gallery.protection),
        migration="" if gallery.migration is None else migration_name(gallery.id, gallery.migration.id),
        mapped_templates=None if gallery.mapped is None else _mapped_to(gallery.mapped),
    )


def _mapped_to(mapped: MappedTemplates) -> gallery_pb2.MappedTemplates:
    points = [gallery_pb2.OperatingPoint(fmr=point.fmr, threshold=point.threshold) for point in mapped.operating_points]
    return gallery_pb2.MappedTemplates(map_sha256=mapped.map_sha256, operating_points=points)


def _protection_to(protection: Protection) -> gallery_pb2.TemplateProtection:
    current, rekeying = protection.current, protection.following is not None
    return gallery_pb2.TemplateProtection(key_id=current.key, generation=current.number, rekeying=rekeying)


def identity_to(identity: Identity) -> gallery_pb2.Identity:
    """Return the proto of an identity."""
    return gallery_pb2.Identity(
        name=make_name(identity.gallery, identity.id),
        display_name=identity.display_name,
        labels=dict(identity.labels),
        verify_threshold=identity.verify_threshold,
        template_count=identity.template_count,
        create_time=identity.create_time,
        update_time=identity.update_time,
        etag=identity.etag,
        consent_reference=identity.consent_reference,
        purpose=identity.purpose,
        expire_time=identity.expire_time,
    )


def template_to(template: Template) -> gallery_pb2.Template:
    """Return the proto of a template, without its vector."""
    return gallery_pb2.Template(
        name=make_name(template.gallery, template.identity, template.id) if template.id else "",
        origin=ORIGINS.get(template.provenance.source, gallery_pb2.Template.ORIGIN_UNSPECIFIED),
        quality=[
            face_pb2.QualityComponent(name=name, value=value) for name, value in template.provenance.quality.items()
        ],
        create_time=template.create_time,
        expire_time=template.expire_time,
        embedding_origin=f"EMBEDDING_ORIGIN_{template.embedding_origin}",
        map_sha256=template.map_sha256,
        renew_time=template.renew_time,
    )


def findings_to(template: Template, *, reveal: bool) -> list[gallery_pb2.Finding]:
    """Return the guards' findings. Other identities, and scores, are included only with ``reveal``."""
    answer = []
    for finding in template.findings:
        visible = reveal or finding.identity in ("", template.identity)
        message = gallery_pb2.Finding(kind=f"KIND_{finding.kind}", threshold=finding.threshold)
        if finding.identity and visible:
            message.identity = make_name(template.gallery, finding.identity)
            if finding.template:
                message.template = make_name(template.gallery, finding.identity, finding.template)
        if finding.score is not None and reveal:
            message.score = finding.score
        answer.append(message)
    return answer


def receipt_to(receipt: ErasureReceipt) -> gallery_pb2.ErasureReceipt:
    """Return the proto of an erasure receipt."""
    return gallery_pb2.ErasureReceipt(
        name=receipt_name(receipt.id),
        state=f"STATE_{receipt.state}",
        erased=make_name(*filter(None, (receipt.gallery, receipt.identity, receipt.template))),
        templates=receipt.templates,
        records=receipt.records,
        erase_time=receipt.erase_time,
        done_time=receipt.done_time,
        engine=receipt.engine,
        unreadable=receipt.unreadable,
        compacted=receipt.compacted,
        sampled=receipt.sampled,
        evidence=[
            gallery_pb2.ErasureReceipt.ByteEvidence(
                representation=one.representation,
                sought=one.sought,
                found_before=one.found_before,
                found_after=one.found_after,
                held_elsewhere=one.held_elsewhere,
            )
            for one in receipt.evidence
        ],
        not_covered=receipt.not_covered,
        failure=receipt.failure,
    )


def embedding_to(vector: Vector, contract: Contract) -> face_pb2.Embedding:
    """Return the proto of an embedding."""
    return face_pb2.Embedding(values=vector.tolist(), contract=contract_to(contract))


def embedded_image_to(vector: Vector, contract: Contract, size: tuple[int, int]) -> face_service_pb2.EmbedFacesResponse:
    """Return the answer about a whole image of ``size`` (width, height): its box is the image."""
    width, height = size
    box = face_pb2.BoundingBox(x=0, y=0, width=width, height=height)
    one = face_service_pb2.EmbedFacesResponse.EmbeddedFace(
        face=face_pb2.Face(bounding_box=box), embedding=embedding_to(vector, contract)
    )
    return face_service_pb2.EmbedFacesResponse(faces=[one], width=width, height=height, faces_found=1)


def face_to(face: FoundFace | None, *, reveal: bool) -> face_pb2.Face | None:
    """Return the proto of a face, None for None. Its bona fide score is included only with ``reveal``."""
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
        presentation_attack_detection=_pad_to(face.pad) if reveal else None,
    )


def _pad_to(result: PadResult | None) -> face_pb2.PresentationAttackDetection | None:
    if result is None:
        return None
    return face_pb2.PresentationAttackDetection(
        score=result.score, threshold=result.threshold, model_version=result.model_version
    )


def faces_to(faces: Iterable[FoundFace], *, reveal: bool) -> list[face_pb2.Face]:
    """Return the protos of several faces, see `face_to`."""
    return [message for face in faces if (message := face_to(face, reveal=reveal)) is not None]


def decision_to(decision: Decision, gallery: str, *, reveal: bool) -> decision_pb2.Decision:
    """Return the proto of a decision made in a gallery. Scores and candidates are included only with ``reveal``."""
    return decision_pb2.Decision(
        outcome=f"OUTCOME_{decision.outcome}",
        score=decision.score if reveal else None,
        threshold=decision.threshold,
        threshold_source=f"THRESHOLD_SOURCE_{decision.threshold_source}",
        target_attained=decision.target_attained,
        threshold_stale=decision.threshold_stale,
        lead=decision.lead if reveal else None,
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
                embedding_origin=f"EMBEDDING_ORIGIN_{candidate.embedding_origin}",
            )
            for candidate in (decision.candidates if reveal else ())
        ],
        embedding_origin=f"EMBEDDING_ORIGIN_{decision.embedding_origin}",
        renewal=None if decision.renewal is None else _renewal_to(decision.renewal, gallery, reveal=reveal),
    )


def _renewal_to(renewal: Renewal, gallery: str, *, reveal: bool) -> decision_pb2.Renewal | None:
    # A proposal tells that the score is high, and a refusal perhaps whom else the face is like.
    if not (reveal or renewal.state is RenewalState.RENEWED):
        return None
    return decision_pb2.Renewal(
        template=make_name(gallery, renewal.identity, renewal.template),
        state=f"STATE_{renewal.state}",
        score=renewal.score if reveal else None,
        required_score=renewal.required,
        reason=renewal.reason,
    )
