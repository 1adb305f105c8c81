"""Guards, moves, expiry and erasure receipts over gRPC."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import field_mask_pb2, timestamp_pb2

from sameface.client import ServiceError
from sameface.client.connection import Connection
from sameface.v1 import gallery_pb2, gallery_service_pb2
from tests.api.conftest import Enroll

Refused = Callable[..., ServiceError]
PHOTO, SAME_PERSON = "emmanuel_macron_2014.jpg", "emmanuel_macron_2025.jpg"


def set_policy(connection: Connection, gallery: str, **policy: Any) -> Any:
    return connection.galleries.UpdateGallery(
        gallery_service_pb2.UpdateGalleryRequest(
            gallery=gallery_pb2.Gallery(name=gallery, policy=gallery_pb2.Policy(**policy))
        )
    )


def test_a_collision_is_told_with_whom_where_everybody_may_know(
    connection: Connection, gallery: str, enroll: Enroll
) -> None:
    # Without access control, everybody may search the gallery too. tests/access has the callers who may not know.
    set_policy(connection, gallery, on_collision=gallery_pb2.GUARD_ACTION_WARN)
    enroll("macron", PHOTO)
    (finding,) = enroll("president", SAME_PERSON).findings
    assert finding.kind == gallery_pb2.Finding.KIND_COLLISION
    assert finding.identity == f"{gallery}/identities/macron"
    assert finding.template.startswith(finding.identity)
    assert finding.score >= finding.threshold > 0


def test_a_new_gallery_refuses_a_collision_and_says_how_to_allow_it(
    connection: Connection, gallery: str, enroll: Enroll, refused: Refused
) -> None:
    enroll("macron", PHOTO)
    error = refused(lambda only: enroll("president", SAME_PERSON), None)
    assert (error.reason, error.code) == ("IDENTITY_COLLISION", grpc.StatusCode.FAILED_PRECONDITION)
    assert "set on_collision to WARN in the policy" in error.message
    set_policy(connection, gallery, on_collision=gallery_pb2.GUARD_ACTION_WARN)
    assert enroll("president", SAME_PERSON).findings
    # Back to the default, by a mask that names a field which is absent.
    back = connection.galleries.UpdateGallery(
        gallery_service_pb2.UpdateGalleryRequest(
            gallery=gallery_pb2.Gallery(name=gallery),
            update_mask=field_mask_pb2.FieldMask(paths=["policy.on_collision"]),
        )
    )
    assert back.policy.on_collision == gallery_pb2.GUARD_ACTION_REJECT


def test_a_policy_rejects_collisions_duplicates_and_outliers(
    connection: Connection, gallery: str, enroll: Enroll, refused: Refused
) -> None:
    reject = gallery_pb2.GUARD_ACTION_REJECT
    changed = set_policy(connection, gallery, on_collision=reject, on_duplicate=reject, on_outlier=reject)
    assert changed.policy.on_collision == changed.policy.on_outlier == reject
    enroll("macron", PHOTO)
    for validate_only in (True, False):
        error = refused(lambda only: enroll("president", SAME_PERSON, validate_only=only), validate_only)
        assert (error.reason, error.code) == ("IDENTITY_COLLISION", grpc.StatusCode.FAILED_PRECONDITION)
        assert "macron" not in error.message
        assert "macron" not in str(error.metadata)
    error = refused(lambda photo: enroll("macron", photo), "barack_obama.jpg")
    assert error.reason == "TEMPLATE_OUTLIER"
    error = refused(lambda photo: enroll("macron", photo, request_id=str(uuid.uuid4())), PHOTO)
    assert (error.reason, error.code) == ("DUPLICATE_SAMPLE", grpc.StatusCode.ALREADY_EXISTS)


def test_a_full_identity_gives_way_as_the_policy_says(connection: Connection, gallery: str, enroll: Enroll) -> None:
    set_policy(connection, gallery, max_templates=1, when_full=gallery_pb2.WHEN_FULL_REPLACE_OLDEST)
    first = enroll("macron", PHOTO)
    second = enroll("macron", SAME_PERSON)
    (finding,) = second.findings
    assert (finding.kind, finding.template) == (gallery_pb2.Finding.KIND_REPLACED, first.template.name)


def test_an_unknown_choice_of_a_policy_is_named(connection: Connection, gallery: str, refused: Refused) -> None:
    error = refused(lambda action: set_policy(connection, gallery, on_collision=action), 77)
    assert (error.reason, error.metadata["field"]) == ("INVALID_ARGUMENT", "on_collision")


def test_an_identity_is_moved_merged_and_found_by_its_labels(
    connection: Connection, gallery: str, enroll: Enroll, refused: Refused
) -> None:
    enroll("macron", PHOTO, labels={"country": "fr"}, consent_reference="form 7", purpose="door", display_name="E. M.")
    enroll("obama", "barack_obama.jpg", labels={"country": "us"})

    def move(identity: str, new_id: str, merge: bool = False) -> Any:
        return connection.galleries.MoveIdentity(
            gallery_service_pb2.MoveIdentityRequest(
                name=f"{gallery}/identities/{identity}", identity_id=new_id, merge=merge
            )
        )

    moved = move("macron", "emmanuel")
    assert (moved.name, moved.template_count) == (f"{gallery}/identities/emmanuel", 1)
    assert (moved.display_name, moved.consent_reference, moved.purpose) == ("E. M.", "form 7", "door")
    page = connection.galleries.ListIdentities(
        gallery_service_pb2.ListIdentitiesRequest(parent=gallery, labels={"country": "fr"})
    )
    assert [one.name for one in page.identities] == [moved.name]
    assert refused(lambda target: move("emmanuel", target), "obama").reason == "IDENTITY_ALREADY_EXISTS"
    assert refused(lambda target: move("emmanuel", target), "no\nid").metadata["field"] == "identity_id"
    assert move("emmanuel", "obama", merge=True).template_count == 2


def test_expiry_of_templates_and_identities_is_changed_and_taken_away(
    connection: Connection, gallery: str, enroll: Enroll, refused: Refused
) -> None:
    template = enroll("macron", PHOTO).template
    later, past = timestamp_pb2.Timestamp(), timestamp_pb2.Timestamp()
    later.FromDatetime(datetime.now(UTC) + timedelta(days=1))
    past.FromDatetime(datetime.now(UTC) - timedelta(days=1))

    def update(expires: timestamp_pb2.Timestamp | None) -> Any:
        return connection.galleries.UpdateTemplate(
            gallery_service_pb2.UpdateTemplateRequest(
                template=gallery_pb2.Template(name=template.name, expire_time=expires),
                update_mask=field_mask_pb2.FieldMask(paths=["expire_time"]),
            )
        )

    assert abs(update(later).expire_time.ToNanoseconds() - later.ToNanoseconds()) < 2000
    assert not update(None).HasField("expire_time")
    assert refused(update, past).metadata["field"] == "expire_time"
    identity = gallery_pb2.Identity(name=f"{gallery}/identities/macron", expire_time=later)
    changed = connection.galleries.UpdateIdentity(gallery_service_pb2.UpdateIdentityRequest(identity=identity))
    assert changed.HasField("expire_time")
    found = connection.galleries.GetTemplate(gallery_service_pb2.GetTemplateRequest(name=template.name))
    assert found.HasField("expire_time")


def test_a_deletion_answers_with_a_receipt_that_can_be_asked_for_again(
    connection: Connection, gallery: str, enroll: Enroll, refused: Refused, portraits: Path
) -> None:
    enroll("macron", PHOTO)
    name = f"{gallery}/identities/macron"
    receipt = connection.galleries.DeleteIdentity(
        gallery_service_pb2.DeleteIdentityRequest(name=name, force=True)
    ).receipt
    assert (receipt.erased, receipt.templates, receipt.unreadable) == (name, 1, True)
    assert (receipt.state, receipt.compacted) == (gallery_pb2.ErasureReceipt.STATE_DONE, True)
    vector = next(one for one in receipt.evidence if one.found_before)
    assert vector.found_after == 0
    assert receipt.not_covered
    get = connection.galleries.GetErasureReceipt
    assert get(gallery_service_pb2.GetErasureReceiptRequest(name=receipt.name)) == receipt
    page = connection.galleries.ListErasureReceipts(gallery_service_pb2.ListErasureReceiptsRequest(gallery=gallery))
    assert [one.name for one in page.erasure_receipts] == [receipt.name]
    missing = gallery_service_pb2.GetErasureReceiptRequest(name=f"erasureReceipts/{'0' * 32}")
    assert refused(get, missing).reason == "ERASURE_NOT_FOUND"
    malformed = gallery_service_pb2.GetErasureReceiptRequest(name="erasureReceipts/../..")
    assert refused(get, malformed).reason == "INVALID_ARGUMENT"


@pytest.mark.parametrize("reveal", [True, False])
def test_only_who_may_know_is_told_whom_a_photo_is_like(reveal: bool) -> None:
    from sameface.api.responses import findings_to
    from sameface_qdrant.values.finding import Finding, FindingKind
    from sameface_qdrant.values.template import Template

    other = Finding(FindingKind.COLLISION, "macron", "5f7d6c9e-4f8b-4b57-9d4e-0a9a2f5c1d11", 0.7, 0.6)
    own = Finding(FindingKind.OUTLIER, "president", "", 0.2, 0.4)
    template = Template("t", "people", "president", "key", findings=(other, own))
    told_other, told_own = findings_to(template, reveal=reveal)
    assert told_other.HasField("score") == reveal
    assert bool(told_other.identity) == bool(told_other.template) == reveal
    assert told_own.identity == "galleries/people/identities/president"
    assert told_own.HasField("score") == reveal
