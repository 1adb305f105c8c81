"""Typed errors. Each says what was given, what was expected and what to do.

``reason`` is a stable name for programs. ``metadata`` holds the values of the message as text. ``retry_after_s`` is set
only if the same call may succeed later.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from sameface_qdrant.values.finding import Finding


class SamefaceError(Exception):
    """Base class of every error that callers can act on."""

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
    """An embedding is not of real numbers, or has the wrong shape, a value that is not finite, or zero norm."""

    reason = "INVALID_EMBEDDING"


class GalleryNotFound(SamefaceError):
    """No gallery has this id."""

    reason = "GALLERY_NOT_FOUND"


class GalleryAlreadyExists(SamefaceError):
    """Another request has made a gallery with this id."""

    reason = "GALLERY_ALREADY_EXISTS"


class GalleryNotEmpty(SamefaceError):
    """The gallery holds identities; deleting it needs ``force``."""

    reason = "GALLERY_NOT_EMPTY"


class IdentityNotFound(SamefaceError):
    """The gallery has no identity with this id, or no template of it to compare with. This is not a NO_MATCH."""

    reason = "IDENTITY_NOT_FOUND"


class IdentityExpired(SamefaceError):
    """The identity has expired: comparisons ignore it, and no template can be enrolled for it."""

    reason = "IDENTITY_EXPIRED"


class IdentityAlreadyExists(SamefaceError):
    """Another request has made an identity with this id."""

    reason = "IDENTITY_ALREADY_EXISTS"


class IdentityNotEmpty(SamefaceError):
    """The identity has templates; deleting it needs ``force``."""

    reason = "IDENTITY_NOT_EMPTY"


class TemplateNotFound(SamefaceError):
    """The identity has no template with this id."""

    reason = "TEMPLATE_NOT_FOUND"


class ErasureNotFound(SamefaceError):
    """No receipt has this id, or its deletion stopped before it removed anything."""

    reason = "ERASURE_NOT_FOUND"


class TemplateLimitReached(SamefaceError):
    """The identity has as many templates as its gallery's policy allows."""

    reason = "TEMPLATE_LIMIT_REACHED"


class QuotaExceeded(SamefaceError):
    """The galleries of this tenant may not hold more. ``metadata["what"]`` says of what."""

    reason = "QUOTA_EXCEEDED"


class GuardRefusal(SamefaceError):
    """The gallery's policy rejects a template; ``finding`` says why, and may name another identity."""

    def __init__(
        self, message: str, *, finding: "Finding | None" = None, metadata: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message, metadata=metadata)
        self.finding = finding


class IdentityCollision(GuardRefusal):
    """A template is too similar to another identity of the gallery."""

    reason = "IDENTITY_COLLISION"


class DuplicateSample(GuardRefusal):
    """The same photo or embedding is enrolled already."""

    reason = "DUPLICATE_SAMPLE"


class TemplateOutlier(GuardRefusal):
    """A template is too different from the identity's other templates."""

    reason = "TEMPLATE_OUTLIER"


class ContractMismatch(SamefaceError):
    """The embedding's contract differs from the gallery's."""

    reason = "CONTRACT_MISMATCH"


class MapMismatch(SamefaceError):
    """A template map is for other versions, of another dimension, or not the one that its digest names."""

    reason = "MAP_MISMATCH"


class MigrationNotFound(SamefaceError):
    """The gallery has no migration with this id."""

    reason = "MIGRATION_NOT_FOUND"


class MigrationInProgress(SamefaceError):
    """A migration of the gallery stands in the way, or is not far enough. The message says what to do."""

    reason = "MIGRATION_IN_PROGRESS"


class MigrationEnded(SamefaceError):
    """The migration was finished, rolled back or cancelled. Nothing of it can be changed any more."""

    reason = "MIGRATION_ENDED"


class ThresholdNotCalibrated(SamefaceError):
    """No threshold is known: the request, identity, gallery and model card have none."""

    reason = "THRESHOLD_NOT_CALIBRATED"


class NotEnoughData(SamefaceError):
    """There are too few comparisons. ``metadata`` counts them, and has the rate that they support if one is known."""

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
    """The disk under the store is full. Reads still work."""

    reason = "STORE_FULL"


class StoreRefused(SamefaceError):
    """The Qdrant server's settings, such as a strict mode limit, do not allow what the store needs."""

    reason = "STORE_REFUSED"


class StoreLocked(SamefaceError):
    """Another process uses the data folder."""

    reason = "STORE_LOCKED"


class StoreTooOld(SamefaceError):
    """The Qdrant server is too old for this release."""

    reason = "STORE_TOO_OLD"


class StoreTooNew(SamefaceError):
    """A newer release wrote the store, a record or a file beside it; this release cannot read or change it."""

    reason = "STORE_TOO_NEW"


class ProtectionKeyRefused(SamefaceError):
    """A key for protected galleries is missing, or is another one than the store was made with. ``metadata["key"]``
    names it."""

    reason = "PROTECTION_KEY_REFUSED"


class StoreCorrupt(SamefaceError):
    """The store's files are damaged or of an unknown format, or a collection is missing."""

    reason = "STORE_CORRUPT"
