"""Typed errors. Each says what was given, what was expected and what to do.

``reason`` is stable and meant for programs; ``metadata`` holds every dynamic value of the message as text;
``retry_after_s`` is set only where the same call may succeed later.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from sameface_qdrant.values.finding import Finding


class SamefaceError(Exception):
    """Base of every error that callers can act on."""

    reason: ClassVar[str] = "UNSPECIFIED"

    def __init__(
        self,
        message: str,
        *,
        metadata: Mapping[str, object] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.metadata: dict[str, str] = {key: str(value) for key, value in (metadata or {}).items()}
        self.retry_after_s = retry_after_s


class InvalidArgument(SamefaceError):
    """An argument has the wrong form; ``metadata["field"]`` names it."""

    reason = "INVALID_ARGUMENT"


class InvalidEmbedding(InvalidArgument):
    """An embedding of the wrong dimension, with a value that is not finite, or of zero norm."""

    reason = "INVALID_EMBEDDING"


class GalleryNotFound(SamefaceError):
    """No gallery has this id."""

    reason = "GALLERY_NOT_FOUND"


class GalleryAlreadyExists(SamefaceError):
    """The gallery id is taken by a gallery that another request made."""

    reason = "GALLERY_ALREADY_EXISTS"


class GalleryNotEmpty(SamefaceError):
    """A gallery or identity with children is deleted only with ``force``."""

    reason = "GALLERY_NOT_EMPTY"


class IdentityNotFound(SamefaceError):
    """Nobody is enrolled in this gallery under this id (which differs from a mismatch)."""

    reason = "IDENTITY_NOT_FOUND"


class IdentityExpired(SamefaceError):
    """The identity's expiry is past: comparisons ignore it, and nothing is enrolled for it."""

    reason = "IDENTITY_EXPIRED"


class IdentityAlreadyExists(SamefaceError):
    """The identity id is taken by an identity that another request made."""

    reason = "IDENTITY_ALREADY_EXISTS"


class IdentityNotEmpty(SamefaceError):
    """An identity with templates is deleted only with ``force``."""

    reason = "IDENTITY_NOT_EMPTY"


class TemplateNotFound(SamefaceError):
    """The identity has no template with this id."""

    reason = "TEMPLATE_NOT_FOUND"


class ErasureNotFound(SamefaceError):
    """No receipt has this id, or what it was made out for was never erased."""

    reason = "ERASURE_NOT_FOUND"


class TemplateLimitReached(SamefaceError):
    """The identity already holds as many templates as its gallery allows."""

    reason = "TEMPLATE_LIMIT_REACHED"


class GuardRefusal(SamefaceError):
    """The gallery's policy rejects a template; ``finding`` says why, and may name another identity."""

    def __init__(
        self, message: str, *, finding: "Finding | None" = None, metadata: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message, metadata=metadata)
        self.finding = finding


class IdentityCollision(GuardRefusal):
    """A template is too much like another identity of the gallery."""

    reason = "IDENTITY_COLLISION"


class DuplicateSample(GuardRefusal):
    """The same photo or embedding is enrolled already."""

    reason = "DUPLICATE_SAMPLE"


class TemplateOutlier(GuardRefusal):
    """A template is too unlike the identity's other templates."""

    reason = "TEMPLATE_OUTLIER"


class ContractMismatch(SamefaceError):
    """The embedding was made under another contract than the gallery's."""

    reason = "CONTRACT_MISMATCH"


class ThresholdNotCalibrated(SamefaceError):
    """Neither request, identity, gallery nor model card brings a threshold."""

    reason = "THRESHOLD_NOT_CALIBRATED"


class NotEnoughData(SamefaceError):
    """There is too little to measure a threshold for the target from; ``metadata`` says what it would support."""

    reason = "CALIBRATION_NOT_SUPPORTED"


class RequestIdReused(SamefaceError):
    """The request id was used before for a request with other content."""

    reason = "REQUEST_ID_REUSED"


class ConcurrentUpdate(SamefaceError):
    """Another writer changed the resource first; read it again and retry."""

    reason = "CONCURRENT_UPDATE"


class StoreUnavailable(SamefaceError):
    """The vector store cannot be reached or did not answer in time."""

    reason = "STORE_UNAVAILABLE"


class StoreFull(SamefaceError):
    """The disk under the store is full; reads go on."""

    reason = "STORE_FULL"


class StoreLocked(SamefaceError):
    """Another process holds the data folder."""

    reason = "STORE_LOCKED"


class StoreTooOld(SamefaceError):
    """The Qdrant server lacks what concurrent services need."""

    reason = "STORE_TOO_OLD"


class StoreTooNew(SamefaceError):
    """A newer release wrote the store or a record of it, in a form that this release cannot read or change."""

    reason = "STORE_TOO_NEW"


class StoreCorrupt(SamefaceError):
    """The store's files do not have the form this version writes."""

    reason = "STORE_CORRUPT"
