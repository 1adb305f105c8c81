"""Typed errors of the service: photos, faces and models. The plugin defines the errors of galleries.

Every error about a photo carries the measured value and the limit, so that the caller can send a better photo.
"""

from sameface_qdrant.errors import InvalidArgument, SamefaceError


class ImageUndecodable(InvalidArgument):
    """The bytes are not an image of a supported format, or the image is truncated."""

    reason = "IMAGE_UNDECODABLE"


class ImageTooLarge(InvalidArgument):
    """The photo has more bytes, pixels, scans or segments, or needs more processor time, than the limits allow."""

    reason = "IMAGE_TOO_LARGE"


class FaceNotFound(InvalidArgument):
    """The detector found no face in the photo."""

    reason = "FACE_NOT_FOUND"


class MultipleFaces(InvalidArgument):
    """The photo shows several faces, and the request allows exactly one (``face_selection: ERROR``)."""

    reason = "MULTIPLE_FACES"


class FaceTooSmall(InvalidArgument):
    """The inter-eye distance is below the limit."""

    reason = "FACE_TOO_SMALL"


class QualityTooLow(InvalidArgument):
    """A quality component is below its limit. ``metadata`` holds its name, value and limit."""

    reason = "QUALITY_TOO_LOW"


class ExtremePose(InvalidArgument):
    """The yaw, pitch or roll of the head is above the limit."""

    reason = "EXTREME_POSE"


class PresentationAttackSuspected(InvalidArgument):
    """The bona fide score of a face is below the threshold of a gallery that rejects presentation attacks.

    ``metadata`` holds score, threshold and version of the model.
    """

    reason = "PRESENTATION_ATTACK_SUSPECTED"


class PhotoRequired(SamefaceError):
    """The gallery rejects presentation attacks, and an embedding has no photo to examine."""

    reason = "PHOTO_REQUIRED"


class FacesNotSupported(SamefaceError):
    """The request has an option about faces, and the model takes whole images. ``metadata`` names the option."""

    reason = "FACES_NOT_SUPPORTED"


class ModelUnavailable(SamefaceError):
    """A model does not answer at the moment. ``retry_after_s`` says when to try again."""

    reason = "MODEL_UNAVAILABLE"


class ModelNotFound(SamefaceError):
    """The model or version is not in the model repository."""

    reason = "MODEL_NOT_FOUND"


class ModelCheckFailed(SamefaceError):
    """A model does not match its card: wrong tensors, wrong digest, golden vector not reproduced, or no numbers."""

    reason = "MODEL_CHECK_FAILED"


class ServerBusy(SamefaceError):
    """Too many requests are in flight, or a photo needs more memory than is free. Retry later."""

    reason = "SERVER_BUSY"


class StreamIdle(SamefaceError):
    """The client sent nothing on a stream for too long, or a request did not arrive in time."""

    reason = "STREAM_IDLE"


class ServerStopping(SamefaceError):
    """The server is stopping and ends an open stream. Open the stream again, on another server or after the restart."""

    reason = "SERVER_STOPPING"


class CredentialsMissing(SamefaceError):
    """The service asks for credentials, and the call has none."""

    reason = "CREDENTIALS_MISSING"


class CredentialsRefused(SamefaceError):
    """The key, token or certificate of a call is not valid. The message does not say why."""

    reason = "CREDENTIALS_REFUSED"


class CredentialsUncheckable(SamefaceError):
    """The keys of the token's issuer cannot be had at the moment. ``retry_after_s`` says when to try again."""

    reason = "CREDENTIALS_UNCHECKABLE"


class PermissionDenied(SamefaceError):
    """The caller has no role that allows the call. It does not learn whether the gallery exists."""

    reason = "PERMISSION_DENIED"


class AuditUnavailable(SamefaceError):
    """The audit log cannot be written, and no call is made without an entry. Or it lost old files while it was read."""

    reason = "AUDIT_UNAVAILABLE"


class RateLimited(SamefaceError):
    """The caller calls too often, or too many claims of an identity have failed. ``retry_after_s`` says how long."""

    reason = "RATE_LIMITED"


class RuntimeMissing(SamefaceError):
    """A part that the command needs is missing or cannot start. The message says what to do."""

    reason = "RUNTIME_MISSING"


class AddressUnavailable(SamefaceError):
    """The service cannot listen on its address: it is in use, or not of this machine. The message says which."""

    reason = "ADDRESS_UNAVAILABLE"


class ServerEnded(SamefaceError):
    """A server has ended although nobody asked it to: the gRPC server of this process, or one that it has started."""

    reason = "SERVER_ENDED"
