"""Every call of the clients as a value: which rpc, with which request. Pure; shared by both clients."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar, Unpack

from google.protobuf import field_mask_pb2, timestamp_pb2
from google.protobuf.message import Message

from sameface.client.options import (
    CalibrateOptions,
    CompareOptions,
    EnrollOptions,
    IdentifyOptions,
    IdentityOptions,
    OperationName,
    PolicyOptions,
    SearchOptions,
    SelectionName,
    VerifyOptions,
    WhatIfOptions,
)
from sameface.client.samples import Photo, SampleLike, as_sample, photo_bytes
from sameface.v1 import face_service_pb2, gallery_pb2, gallery_service_pb2, system_service_pb2

Answer = TypeVar("Answer", bound=Message)

FACES, GALLERIES, SYSTEM = "FaceService", "GalleryService", "SystemService"


@dataclass(frozen=True, slots=True)
class Call(Generic[Answer]):
    """One rpc with its request.

    Every call may be sent again after a lost answer: reads by nature, what is made by its request id, what is changed
    or deleted by its effect, which is the same the second time.
    """

    service: str
    rpc: str
    request: Message
    answer: type[Answer]
    repeat_lost_races: bool = False
    """Whether sending it again makes sense after another writer was faster (CONCURRENT_UPDATE)."""
    gone: str = ""
    """For a deletion: the reason that says that there is nothing to delete."""


def gallery_name(gallery: str) -> str:
    """Return the resource name of a gallery."""
    return f"galleries/{gallery}"


def identity_name(gallery: str, identity: str) -> str:
    """Return the resource name of an identity."""
    return f"{gallery_name(gallery)}/identities/{identity}"


def template_name(gallery: str, identity: str, template: str) -> str:
    """Return the resource name of a template."""
    return f"{identity_name(gallery, identity)}/templates/{template}"


def enroll(
    gallery: str, identity: str, sample: SampleLike, **options: Unpack[EnrollOptions]
) -> Call[face_service_pb2.EnrollTemplateResponse]:
    """EnrollTemplate."""
    _known(options, EnrollOptions)
    request_id = options.get("request_id")
    request = face_service_pb2.EnrollTemplateRequest(
        parent=identity_name(gallery, identity),
        sample=as_sample(sample),
        allow_missing=options.get("create_identity", True),
        display_name=options.get("display_name", ""),
        labels=options.get("labels", {}),
        face_selection=_selection(options.get("face_selection")),
        request_id=str(uuid.uuid4()) if request_id is None else request_id,
        validate_only=options.get("validate_only", False),
        consent_reference=options.get("consent_reference", ""),
        purpose=options.get("purpose", ""),
    )
    if (expire_time := options.get("expire_time")) is not None:
        request.expire_time.CopyFrom(_time(expire_time))
    return Call(FACES, "EnrollTemplate", request, face_service_pb2.EnrollTemplateResponse, repeat_lost_races=True)


def verify(
    gallery: str, identity: str, sample: SampleLike, **options: Unpack[VerifyOptions]
) -> Call[face_service_pb2.VerifyFaceResponse]:
    """VerifyFace."""
    _known(options, VerifyOptions)
    scope = options.get("scope")
    request = face_service_pb2.VerifyFaceRequest(
        name=identity_name(gallery, identity),
        sample=as_sample(sample),
        scope=f"SCOPE_{scope.upper()}" if scope else None,
        verify_threshold=options.get("verify_threshold"),
        runner_up_margin=options.get("runner_up_margin"),
        face_selection=_selection(options.get("face_selection")),
    )
    return Call(FACES, "VerifyFace", request, face_service_pb2.VerifyFaceResponse)


def identify(
    gallery: str, sample: SampleLike, **options: Unpack[IdentifyOptions]
) -> Call[face_service_pb2.IdentifyFacesResponse]:
    """IdentifyFaces."""
    _known(options, IdentifyOptions)
    request = face_service_pb2.IdentifyFacesRequest(
        gallery=gallery_name(gallery),
        sample=as_sample(sample),
        all_faces=options.get("all_faces", False),
        face_selection=_selection(options.get("face_selection")),
        identify_threshold=options.get("identify_threshold"),
        runner_up_margin=options.get("runner_up_margin"),
        max_candidates=options.get("max_candidates", 0),
    )
    return Call(FACES, "IdentifyFaces", request, face_service_pb2.IdentifyFacesResponse)


def stream_settings(gallery: str, **options: Unpack[IdentifyOptions]) -> face_service_pb2.StreamIdentifyFacesRequest:
    """First message of StreamIdentifyFaces."""
    _known(options, IdentifyOptions)
    return face_service_pb2.StreamIdentifyFacesRequest(
        settings=face_service_pb2.StreamIdentifyFacesRequest.Settings(
            gallery=gallery_name(gallery),
            all_faces=options.get("all_faces", False),
            face_selection=_selection(options.get("face_selection")),
            identify_threshold=options.get("identify_threshold"),
            runner_up_margin=options.get("runner_up_margin"),
            max_candidates=options.get("max_candidates", 0),
        )
    )


def compare(
    first: SampleLike, second: SampleLike, **options: Unpack[CompareOptions]
) -> Call[face_service_pb2.CompareFacesResponse]:
    """CompareFaces."""
    _known(options, CompareOptions)
    request = face_service_pb2.CompareFacesRequest(
        first=as_sample(first),
        second=as_sample(second),
        verify_threshold=options.get("verify_threshold"),
        target_fmr=options.get("target_fmr"),
        face_selection=_selection(options.get("face_selection")),
        embedder_version=options.get("embedder_version", 0),
    )
    return Call(FACES, "CompareFaces", request, face_service_pb2.CompareFacesResponse)


def detect(photo: Photo) -> Call[face_service_pb2.DetectFacesResponse]:
    """DetectFaces."""
    request = face_service_pb2.DetectFacesRequest(photo=photo_bytes(photo))
    return Call(FACES, "DetectFaces", request, face_service_pb2.DetectFacesResponse)


def embed(photo: Photo, embedder_version: int = 0) -> Call[face_service_pb2.EmbedFacesResponse]:
    """EmbedFaces."""
    request = face_service_pb2.EmbedFacesRequest(photo=photo_bytes(photo), embedder_version=embedder_version)
    return Call(FACES, "EmbedFaces", request, face_service_pb2.EmbedFacesResponse)


def search(
    gallery: str, sample: SampleLike, **options: Unpack[SearchOptions]
) -> Call[face_service_pb2.SearchTemplatesResponse]:
    """SearchTemplates."""
    _known(options, SearchOptions)
    origin = options.get("origin")
    where = face_service_pb2.TemplateFilter(
        identities=[identity_name(gallery, identity) for identity in options.get("identities", ())],
        exclude_identities=[identity_name(gallery, identity) for identity in options.get("exclude_identities", ())],
        labels=options.get("labels", {}),
        origin=f"ORIGIN_{origin.upper()}" if origin else None,
    )
    request = face_service_pb2.SearchTemplatesRequest(
        gallery=gallery_name(gallery),
        sample=as_sample(sample),
        face_selection=_selection(options.get("face_selection")),
        filter=where,
        max_results=options.get("max_results", 0),
        min_score=options.get("min_score"),
    )
    return Call(FACES, "SearchTemplates", request, face_service_pb2.SearchTemplatesResponse)


def create_gallery(
    gallery: str, display_name: str, embedder_version: int, **policy: Unpack[PolicyOptions]
) -> Call[gallery_pb2.Gallery]:
    """CreateGallery."""
    _known(policy, PolicyOptions)
    request = gallery_service_pb2.CreateGalleryRequest(
        gallery_id=gallery,
        gallery=gallery_pb2.Gallery(display_name=display_name, policy=_policy(policy)),
        embedder_version=embedder_version,
        request_id=str(uuid.uuid4()),
    )
    return Call(GALLERIES, "CreateGallery", request, gallery_pb2.Gallery)


def get_gallery(gallery: str) -> Call[gallery_pb2.Gallery]:
    """GetGallery."""
    request = gallery_service_pb2.GetGalleryRequest(name=gallery_name(gallery))
    return Call(GALLERIES, "GetGallery", request, gallery_pb2.Gallery)


def update_gallery(
    gallery: str, display_name: str | None, etag: str, **policy: Unpack[PolicyOptions]
) -> Call[gallery_pb2.Gallery]:
    """UpdateGallery: what is given is changed."""
    _known(policy, PolicyOptions)
    paths = [f"policy.{field}" for field in policy] + ([] if display_name is None else ["display_name"])
    request = gallery_service_pb2.UpdateGalleryRequest(
        gallery=gallery_pb2.Gallery(
            name=gallery_name(gallery),
            display_name=display_name or "",
            policy=_policy(policy),
            etag=etag,
        ),
        update_mask=field_mask_pb2.FieldMask(paths=paths),
    )
    return Call(GALLERIES, "UpdateGallery", request, gallery_pb2.Gallery, repeat_lost_races=not etag)


def calibrate_gallery(
    gallery: str, **options: Unpack[CalibrateOptions]
) -> Call[gallery_service_pb2.CalibrateGalleryResponse]:
    """CalibrateGallery."""
    _known(options, CalibrateOptions)
    operation = options.get("operation")
    etag = options.get("etag", "")
    request = gallery_service_pb2.CalibrateGalleryRequest(
        name=gallery_name(gallery),
        validate_only=options.get("validate_only", False),
        accept_supported=options.get("accept_supported", False),
        operation=f"OPERATION_{operation.upper()}" if operation else None,
        scores=options.get("scores"),
        cohort=options.get("cohort"),
        propose_identity_thresholds=options.get("propose_identity_thresholds", False),
        etag=etag,
    )
    answer = gallery_service_pb2.CalibrateGalleryResponse
    return Call(GALLERIES, "CalibrateGallery", request, answer, repeat_lost_races=not etag)


def what_if_gallery(
    gallery: str, operation: OperationName, **options: Unpack[WhatIfOptions]
) -> Call[gallery_service_pb2.WhatIfGalleryResponse]:
    """WhatIfGallery."""
    _known(options, WhatIfOptions)
    request = gallery_service_pb2.WhatIfGalleryRequest(
        name=gallery_name(gallery),
        operation=f"OPERATION_{operation.upper()}",
        threshold=options.get("threshold"),
        runner_up_margin=options.get("runner_up_margin"),
        decisions=options.get("decisions"),
    )
    return Call(GALLERIES, "WhatIfGallery", request, gallery_service_pb2.WhatIfGalleryResponse)


def delete_gallery(gallery: str, force: bool, etag: str) -> Call[gallery_service_pb2.DeleteGalleryResponse]:
    """DeleteGallery."""
    request = gallery_service_pb2.DeleteGalleryRequest(name=gallery_name(gallery), force=force, etag=etag)
    answer = gallery_service_pb2.DeleteGalleryResponse
    return Call(GALLERIES, "DeleteGallery", request, answer, gone="GALLERY_NOT_FOUND")


def list_galleries(page_token: str) -> Call[gallery_service_pb2.ListGalleriesResponse]:
    """ListGalleries, one page."""
    request = gallery_service_pb2.ListGalleriesRequest(page_token=page_token)
    return Call(GALLERIES, "ListGalleries", request, gallery_service_pb2.ListGalleriesResponse)


def list_policy_revisions(gallery: str, page_token: str) -> Call[gallery_service_pb2.ListPolicyRevisionsResponse]:
    """ListPolicyRevisions, one page."""
    request = gallery_service_pb2.ListPolicyRevisionsRequest(parent=gallery_name(gallery), page_token=page_token)
    return Call(GALLERIES, "ListPolicyRevisions", request, gallery_service_pb2.ListPolicyRevisionsResponse)


def create_identity(gallery: str, identity: str, **fields: Unpack[IdentityOptions]) -> Call[gallery_pb2.Identity]:
    """CreateIdentity."""
    _known(fields, IdentityOptions)
    request = gallery_service_pb2.CreateIdentityRequest(
        parent=gallery_name(gallery),
        identity_id=identity,
        identity=_identity("", "", fields),
        request_id=str(uuid.uuid4()),
    )
    return Call(GALLERIES, "CreateIdentity", request, gallery_pb2.Identity)


def get_identity(gallery: str, identity: str) -> Call[gallery_pb2.Identity]:
    """GetIdentity."""
    request = gallery_service_pb2.GetIdentityRequest(name=identity_name(gallery, identity))
    return Call(GALLERIES, "GetIdentity", request, gallery_pb2.Identity)


def update_identity(
    gallery: str, identity: str, etag: str, **fields: Unpack[IdentityOptions]
) -> Call[gallery_pb2.Identity]:
    """UpdateIdentity: what is given is changed."""
    _known(fields, IdentityOptions)
    request = gallery_service_pb2.UpdateIdentityRequest(
        identity=_identity(identity_name(gallery, identity), etag, fields),
        update_mask=field_mask_pb2.FieldMask(paths=list(fields)),
    )
    return Call(GALLERIES, "UpdateIdentity", request, gallery_pb2.Identity, repeat_lost_races=not etag)


def delete_identity(
    gallery: str, identity: str, force: bool, etag: str
) -> Call[gallery_service_pb2.DeleteIdentityResponse]:
    """DeleteIdentity."""
    name = identity_name(gallery, identity)
    request = gallery_service_pb2.DeleteIdentityRequest(name=name, force=force, etag=etag)
    answer = gallery_service_pb2.DeleteIdentityResponse
    return Call(GALLERIES, "DeleteIdentity", request, answer, gone="IDENTITY_NOT_FOUND")


def move_identity(gallery: str, identity: str, new_id: str, merge: bool) -> Call[gallery_pb2.Identity]:
    """MoveIdentity."""
    name = identity_name(gallery, identity)
    request = gallery_service_pb2.MoveIdentityRequest(name=name, identity_id=new_id, merge=merge)
    return Call(GALLERIES, "MoveIdentity", request, gallery_pb2.Identity, repeat_lost_races=True)


def list_identities(
    gallery: str, labels: Mapping[str, str], page_token: str
) -> Call[gallery_service_pb2.ListIdentitiesResponse]:
    """ListIdentities, one page."""
    request = gallery_service_pb2.ListIdentitiesRequest(
        parent=gallery_name(gallery), labels=labels, page_token=page_token
    )
    return Call(GALLERIES, "ListIdentities", request, gallery_service_pb2.ListIdentitiesResponse)


def get_template(gallery: str, identity: str, template: str) -> Call[gallery_pb2.Template]:
    """GetTemplate."""
    request = gallery_service_pb2.GetTemplateRequest(name=template_name(gallery, identity, template))
    return Call(GALLERIES, "GetTemplate", request, gallery_pb2.Template)


def update_template(
    gallery: str, identity: str, template: str, expire_time: datetime | None
) -> Call[gallery_pb2.Template]:
    """UpdateTemplate."""
    name = template_name(gallery, identity, template)
    changed = gallery_pb2.Template(name=name, expire_time=None if expire_time is None else _time(expire_time))
    request = gallery_service_pb2.UpdateTemplateRequest(template=changed)
    return Call(GALLERIES, "UpdateTemplate", request, gallery_pb2.Template)


def get_erasure_receipt(receipt: str) -> Call[gallery_pb2.ErasureReceipt]:
    """GetErasureReceipt, by id or name."""
    name = f"erasureReceipts/{receipt.removeprefix('erasureReceipts/')}"
    request = gallery_service_pb2.GetErasureReceiptRequest(name=name)
    return Call(GALLERIES, "GetErasureReceipt", request, gallery_pb2.ErasureReceipt)


def list_erasure_receipts(gallery: str, page_token: str) -> Call[gallery_service_pb2.ListErasureReceiptsResponse]:
    """ListErasureReceipts, one page."""
    request = gallery_service_pb2.ListErasureReceiptsRequest(
        gallery=gallery_name(gallery) if gallery else "", page_token=page_token
    )
    return Call(GALLERIES, "ListErasureReceipts", request, gallery_service_pb2.ListErasureReceiptsResponse)


def delete_template(gallery: str, identity: str, template: str) -> Call[gallery_service_pb2.DeleteTemplateResponse]:
    """DeleteTemplate."""
    request = gallery_service_pb2.DeleteTemplateRequest(name=template_name(gallery, identity, template))
    answer = gallery_service_pb2.DeleteTemplateResponse
    return Call(GALLERIES, "DeleteTemplate", request, answer, gone="TEMPLATE_NOT_FOUND")


def list_templates(gallery: str, identity: str, page_token: str) -> Call[gallery_service_pb2.ListTemplatesResponse]:
    """ListTemplates, one page."""
    request = gallery_service_pb2.ListTemplatesRequest(parent=identity_name(gallery, identity), page_token=page_token)
    return Call(GALLERIES, "ListTemplates", request, gallery_service_pb2.ListTemplatesResponse)


def server_info() -> Call[system_service_pb2.GetServerInfoResponse]:
    """GetServerInfo."""
    request = system_service_pb2.GetServerInfoRequest()
    return Call(SYSTEM, "GetServerInfo", request, system_service_pb2.GetServerInfoResponse)


def _policy(fields: PolicyOptions) -> gallery_pb2.Policy:
    values: dict[str, Any] = dict(fields)
    for field in ("on_collision", "on_duplicate", "on_outlier"):
        if values.get(field):
            values[field] = f"GUARD_ACTION_{values[field].upper()}"
    if values.get("when_full"):
        values["when_full"] = f"WHEN_FULL_{values['when_full'].upper()}"
    return gallery_pb2.Policy(**values)


def _identity(name: str, etag: str, fields: IdentityOptions) -> gallery_pb2.Identity:
    values: dict[str, Any] = dict(fields)
    if values.get("expire_time") is not None:
        values["expire_time"] = _time(values["expire_time"])
    return gallery_pb2.Identity(name=name, etag=etag, **values)


def _time(moment: datetime) -> timestamp_pb2.Timestamp:
    if moment.tzinfo is None:
        raise ValueError(f"expire_time is {moment}, in no time zone; give it one, for instance datetime.UTC")
    stamp = timestamp_pb2.Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def _known(options: Mapping[str, Any], kind: type) -> None:
    """Refuse a misspelt option; nothing else would."""
    if unknown := sorted(set(options) - set(kind.__annotations__)):
        raise TypeError(f"there is no option {', '.join(unknown)}; there are {', '.join(kind.__annotations__)}")


def _selection(name: SelectionName | None) -> str | None:
    return f"FACE_SELECTION_{name.upper()}" if name else None
