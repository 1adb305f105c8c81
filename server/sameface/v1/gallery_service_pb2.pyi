from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import resource_pb2 as _resource_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from sameface.v1 import calibration_pb2 as _calibration_pb2
from sameface.v1 import decision_pb2 as _decision_pb2
from sameface.v1 import face_pb2 as _face_pb2
from sameface.v1 import gallery_pb2 as _gallery_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateGalleryRequest(_message.Message):
    __slots__ = ("gallery_id", "gallery", "embedder_version", "request_id", "protected", "embedder_model")
    GALLERY_ID_FIELD_NUMBER: _ClassVar[int]
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    EMBEDDER_VERSION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PROTECTED_FIELD_NUMBER: _ClassVar[int]
    EMBEDDER_MODEL_FIELD_NUMBER: _ClassVar[int]
    gallery_id: str
    gallery: _gallery_pb2.Gallery
    embedder_version: int
    request_id: str
    protected: bool
    embedder_model: str
    def __init__(self, gallery_id: _Optional[str] = ..., gallery: _Optional[_Union[_gallery_pb2.Gallery, _Mapping]] = ..., embedder_version: _Optional[int] = ..., request_id: _Optional[str] = ..., protected: _Optional[bool] = ..., embedder_model: _Optional[str] = ...) -> None: ...

class RekeyGalleryRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class RekeyGalleryResponse(_message.Message):
    __slots__ = ("gallery", "moved", "resumed")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    MOVED_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    gallery: _gallery_pb2.Gallery
    moved: int
    resumed: bool
    def __init__(self, gallery: _Optional[_Union[_gallery_pb2.Gallery, _Mapping]] = ..., moved: _Optional[int] = ..., resumed: _Optional[bool] = ...) -> None: ...

class GetGalleryRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListGalleriesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListGalleriesResponse(_message.Message):
    __slots__ = ("galleries", "next_page_token")
    GALLERIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    galleries: _containers.RepeatedCompositeFieldContainer[_gallery_pb2.Gallery]
    next_page_token: str
    def __init__(self, galleries: _Optional[_Iterable[_Union[_gallery_pb2.Gallery, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateGalleryRequest(_message.Message):
    __slots__ = ("gallery", "update_mask")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    gallery: _gallery_pb2.Gallery
    update_mask: _field_mask_pb2.FieldMask
    def __init__(self, gallery: _Optional[_Union[_gallery_pb2.Gallery, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class ListPolicyRevisionsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPolicyRevisionsResponse(_message.Message):
    __slots__ = ("policies", "next_page_token")
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    policies: _containers.RepeatedCompositeFieldContainer[_gallery_pb2.Policy]
    next_page_token: str
    def __init__(self, policies: _Optional[_Iterable[_Union[_gallery_pb2.Policy, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CalibrateGalleryRequest(_message.Message):
    __slots__ = ("name", "validate_only", "accept_supported", "operation", "scores", "cohort", "propose_identity_thresholds", "etag", "embedding_origin")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_SUPPORTED_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    COHORT_FIELD_NUMBER: _ClassVar[int]
    PROPOSE_IDENTITY_THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_ORIGIN_FIELD_NUMBER: _ClassVar[int]
    name: str
    validate_only: bool
    accept_supported: bool
    operation: _calibration_pb2.Operation
    scores: _calibration_pb2.LabelledScores
    cohort: _calibration_pb2.Cohort
    propose_identity_thresholds: bool
    etag: str
    embedding_origin: _face_pb2.EmbeddingOrigin
    def __init__(self, name: _Optional[str] = ..., validate_only: _Optional[bool] = ..., accept_supported: _Optional[bool] = ..., operation: _Optional[_Union[_calibration_pb2.Operation, str]] = ..., scores: _Optional[_Union[_calibration_pb2.LabelledScores, _Mapping]] = ..., cohort: _Optional[_Union[_calibration_pb2.Cohort, _Mapping]] = ..., propose_identity_thresholds: _Optional[bool] = ..., etag: _Optional[str] = ..., embedding_origin: _Optional[_Union[_face_pb2.EmbeddingOrigin, str]] = ...) -> None: ...

class CalibrateGalleryResponse(_message.Message):
    __slots__ = ("gallery", "calibration", "identity_thresholds")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    gallery: _gallery_pb2.Gallery
    calibration: _calibration_pb2.Calibration
    identity_thresholds: _calibration_pb2.IdentityThresholds
    def __init__(self, gallery: _Optional[_Union[_gallery_pb2.Gallery, _Mapping]] = ..., calibration: _Optional[_Union[_calibration_pb2.Calibration, _Mapping]] = ..., identity_thresholds: _Optional[_Union[_calibration_pb2.IdentityThresholds, _Mapping]] = ...) -> None: ...

class WhatIfGalleryRequest(_message.Message):
    __slots__ = ("name", "operation", "threshold", "runner_up_margin", "decisions", "scope")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    RUNNER_UP_MARGIN_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    operation: _calibration_pb2.Operation
    threshold: float
    runner_up_margin: float
    decisions: _calibration_pb2.RecordedDecisions
    scope: _decision_pb2.Scope
    def __init__(self, name: _Optional[str] = ..., operation: _Optional[_Union[_calibration_pb2.Operation, str]] = ..., threshold: _Optional[float] = ..., runner_up_margin: _Optional[float] = ..., decisions: _Optional[_Union[_calibration_pb2.RecordedDecisions, _Mapping]] = ..., scope: _Optional[_Union[_decision_pb2.Scope, str]] = ...) -> None: ...

class WhatIfGalleryResponse(_message.Message):
    __slots__ = ("before", "after", "transitions")
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    TRANSITIONS_FIELD_NUMBER: _ClassVar[int]
    before: _calibration_pb2.SettingOutcomes
    after: _calibration_pb2.SettingOutcomes
    transitions: _containers.RepeatedCompositeFieldContainer[_calibration_pb2.OutcomeTransition]
    def __init__(self, before: _Optional[_Union[_calibration_pb2.SettingOutcomes, _Mapping]] = ..., after: _Optional[_Union[_calibration_pb2.SettingOutcomes, _Mapping]] = ..., transitions: _Optional[_Iterable[_Union[_calibration_pb2.OutcomeTransition, _Mapping]]] = ...) -> None: ...

class DeleteGalleryRequest(_message.Message):
    __slots__ = ("name", "force", "etag")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    force: bool
    etag: str
    def __init__(self, name: _Optional[str] = ..., force: _Optional[bool] = ..., etag: _Optional[str] = ...) -> None: ...

class DeleteGalleryResponse(_message.Message):
    __slots__ = ("receipt",)
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    receipt: _gallery_pb2.ErasureReceipt
    def __init__(self, receipt: _Optional[_Union[_gallery_pb2.ErasureReceipt, _Mapping]] = ...) -> None: ...

class CreateIdentityRequest(_message.Message):
    __slots__ = ("parent", "identity_id", "identity", "request_id")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_ID_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    parent: str
    identity_id: str
    identity: _gallery_pb2.Identity
    request_id: str
    def __init__(self, parent: _Optional[str] = ..., identity_id: _Optional[str] = ..., identity: _Optional[_Union[_gallery_pb2.Identity, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class GetIdentityRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListIdentitiesRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    labels: _containers.ScalarMap[str, str]
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ListIdentitiesResponse(_message.Message):
    __slots__ = ("identities", "next_page_token")
    IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    identities: _containers.RepeatedCompositeFieldContainer[_gallery_pb2.Identity]
    next_page_token: str
    def __init__(self, identities: _Optional[_Iterable[_Union[_gallery_pb2.Identity, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateIdentityRequest(_message.Message):
    __slots__ = ("identity", "update_mask")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    identity: _gallery_pb2.Identity
    update_mask: _field_mask_pb2.FieldMask
    def __init__(self, identity: _Optional[_Union[_gallery_pb2.Identity, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class MoveIdentityRequest(_message.Message):
    __slots__ = ("name", "identity_id", "merge")
    NAME_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_ID_FIELD_NUMBER: _ClassVar[int]
    MERGE_FIELD_NUMBER: _ClassVar[int]
    name: str
    identity_id: str
    merge: bool
    def __init__(self, name: _Optional[str] = ..., identity_id: _Optional[str] = ..., merge: _Optional[bool] = ...) -> None: ...

class DeleteIdentityRequest(_message.Message):
    __slots__ = ("name", "force", "etag")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    force: bool
    etag: str
    def __init__(self, name: _Optional[str] = ..., force: _Optional[bool] = ..., etag: _Optional[str] = ...) -> None: ...

class DeleteIdentityResponse(_message.Message):
    __slots__ = ("receipt",)
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    receipt: _gallery_pb2.ErasureReceipt
    def __init__(self, receipt: _Optional[_Union[_gallery_pb2.ErasureReceipt, _Mapping]] = ...) -> None: ...

class GetTemplateRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListTemplatesRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListTemplatesResponse(_message.Message):
    __slots__ = ("templates", "next_page_token")
    TEMPLATES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    templates: _containers.RepeatedCompositeFieldContainer[_gallery_pb2.Template]
    next_page_token: str
    def __init__(self, templates: _Optional[_Iterable[_Union[_gallery_pb2.Template, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateTemplateRequest(_message.Message):
    __slots__ = ("template", "update_mask")
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    template: _gallery_pb2.Template
    update_mask: _field_mask_pb2.FieldMask
    def __init__(self, template: _Optional[_Union[_gallery_pb2.Template, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class GetErasureReceiptRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListErasureReceiptsRequest(_message.Message):
    __slots__ = ("gallery", "page_size", "page_token")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    gallery: str
    page_size: int
    page_token: str
    def __init__(self, gallery: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListErasureReceiptsResponse(_message.Message):
    __slots__ = ("erasure_receipts", "next_page_token")
    ERASURE_RECEIPTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    erasure_receipts: _containers.RepeatedCompositeFieldContainer[_gallery_pb2.ErasureReceipt]
    next_page_token: str
    def __init__(self, erasure_receipts: _Optional[_Iterable[_Union[_gallery_pb2.ErasureReceipt, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteTemplateRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteTemplateResponse(_message.Message):
    __slots__ = ("receipt",)
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    receipt: _gallery_pb2.ErasureReceipt
    def __init__(self, receipt: _Optional[_Union[_gallery_pb2.ErasureReceipt, _Mapping]] = ...) -> None: ...
