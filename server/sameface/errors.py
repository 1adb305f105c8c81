"""Typed errors of the service: photos, faces and models. Errors of galleries live in the plugin.

Content of a photo is the caller's to change, so every such error carries what was measured and the limit.
"""

from sameface_qdrant.errors import InvalidArgument, SamefaceError


class ImageUndecodable(InvalidArgument):
    """The bytes are not an image of a supported format, or are truncated."""

    reason = "IMAGE_UNDECODABLE"


class ImageTooLarge(InvalidArgument):
    """More bytes, pixels, scans, segments or processor time than the limits allow."""

    reason = "IMAGE_TOO_LARGE"


class FaceNotFound(InvalidArgument):
    """The detector found no face in the photo."""

    reason = "FACE_NOT_FOUND"


class MultipleFaces(InvalidArgument):
    """Several faces where the request asks for exactly one (``face_selection: ERROR``)."""

    reason = "MULTIPLE_FACES"


class FaceTooSmall(InvalidArgument):
    """The inter-eye distance is below the limit."""

    reason = "FACE_TOO_SMALL"


class QualityTooLow(InvalidArgument):
    """A quality component is below its limit; ``metadata`` names it with value and limit."""

    reason = "QUALITY_TOO_LOW"


class ExtremePose(InvalidArgument):
    """The head is turned, tilted or nodded beyond the limit."""

    reason = "EXTREME_POSE"


class ModelUnavailable(SamefaceError):
    """A model does not answer just now; ``retry_after_s`` says when to try again."""

    reason = "MODEL_UNAVAILABLE"


class ModelNotFound(SamefaceError):
    """The model or version is not in the model repository."""

    reason = "MODEL_NOT_FOUND"


class ModelCheckFailed(SamefaceError):
    """A model does not do what its card says: wrong tensors, wrong digest, golden vector not reproduced."""

    reason = "MODEL_CHECK_FAILED"


class ServerBusy(SamefaceError):
    """Too many requests are in flight; retry later."""

    reason = "SERVER_BUSY"


class StreamIdle(SamefaceError):
    """A stream sent nothing for too long, or a request did not arrive in time."""

    reason = "STREAM_IDLE"


class ServerStopping(SamefaceError):
    """The server ends what would not end by itself; another one takes over, or this one after its restart."""

    reason = "SERVER_STOPPING"


class RuntimeMissing(SamefaceError):
    """Something this machine needs is not prepared; the message names the command that prepares it."""

    reason = "RUNTIME_MISSING"
