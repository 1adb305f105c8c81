"""The one table from typed errors to gRPC statuses, and the rich status that carries them (AIP-193)."""

from dataclasses import dataclass

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from sameface_qdrant.errors import InvalidArgument, SamefaceError

DOMAIN = "sameface"
MAX_MESSAGE_BYTES = 600
MAX_METADATA_BYTES = 200


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """What a reason means to a caller."""

    code: grpc.StatusCode
    remedy: str


ERRORS: dict[str, ErrorRow] = {
    "INVALID_ARGUMENT": ErrorRow(grpc.StatusCode.INVALID_ARGUMENT, "Correct the field that the message names."),
    "INVALID_EMBEDDING": ErrorRow(
        grpc.StatusCode.INVALID_ARGUMENT, "Send as many finite numbers as the contract's dimension, not all zero."
    ),
    "IMAGE_UNDECODABLE": ErrorRow(
        grpc.StatusCode.INVALID_ARGUMENT, "Send a whole JPEG, PNG, WebP, BMP, GIF or TIFF file."
    ),
    "IMAGE_TOO_LARGE": ErrorRow(
        grpc.StatusCode.INVALID_ARGUMENT, "Send a smaller photo; the limit is in the metadata."
    ),
    "FACE_NOT_FOUND": ErrorRow(grpc.StatusCode.INVALID_ARGUMENT, "Send a photo with a visible face."),
    "MULTIPLE_FACES": ErrorRow(
        grpc.StatusCode.INVALID_ARGUMENT, "Send a photo of one person, or name a face_selection."
    ),
    "FACE_TOO_SMALL": ErrorRow(grpc.StatusCode.INVALID_ARGUMENT, "Move closer or send a larger photo."),
    "QUALITY_TOO_LOW": ErrorRow(
        grpc.StatusCode.INVALID_ARGUMENT, "Take another photo; the metadata names each component and its limit."
    ),
    "EXTREME_POSE": ErrorRow(grpc.StatusCode.INVALID_ARGUMENT, "Look into the camera."),
    "GALLERY_NOT_FOUND": ErrorRow(grpc.StatusCode.NOT_FOUND, "Create the gallery, or correct its name."),
    "IDENTITY_NOT_FOUND": ErrorRow(grpc.StatusCode.NOT_FOUND, "Enrol the identity first (allow_missing makes it)."),
    "TEMPLATE_NOT_FOUND": ErrorRow(grpc.StatusCode.NOT_FOUND, "List the identity's templates."),
    "MODEL_NOT_FOUND": ErrorRow(grpc.StatusCode.NOT_FOUND, "Use a version that GetServerInfo lists."),
    "GALLERY_ALREADY_EXISTS": ErrorRow(grpc.StatusCode.ALREADY_EXISTS, "Use the gallery that is there, or another id."),
    "IDENTITY_ALREADY_EXISTS": ErrorRow(
        grpc.StatusCode.ALREADY_EXISTS, "Use the identity that is there, or another id."
    ),
    "GALLERY_NOT_EMPTY": ErrorRow(grpc.StatusCode.FAILED_PRECONDITION, "Delete its identities first, or set force."),
    "IDENTITY_NOT_EMPTY": ErrorRow(grpc.StatusCode.FAILED_PRECONDITION, "Delete its templates first, or set force."),
    "TEMPLATE_LIMIT_REACHED": ErrorRow(
        grpc.StatusCode.FAILED_PRECONDITION, "Delete a template, or raise the policy's max_templates."
    ),
    "CONTRACT_MISMATCH": ErrorRow(
        grpc.StatusCode.FAILED_PRECONDITION, "Embed the photo with the gallery's model version, or send the photo."
    ),
    "THRESHOLD_NOT_CALIBRATED": ErrorRow(
        grpc.StatusCode.FAILED_PRECONDITION, "Set a threshold in the gallery's policy, or send one with the request."
    ),
    "REQUEST_ID_REUSED": ErrorRow(grpc.StatusCode.FAILED_PRECONDITION, "Make a new request_id for a new request."),
    "CONCURRENT_UPDATE": ErrorRow(grpc.StatusCode.ABORTED, "Read the resource again and repeat."),
    "SERVER_BUSY": ErrorRow(grpc.StatusCode.RESOURCE_EXHAUSTED, "Wait as RetryInfo says and repeat."),
    "STORE_FULL": ErrorRow(grpc.StatusCode.RESOURCE_EXHAUSTED, "Free disk space on the server; reads go on."),
    "MODEL_UNAVAILABLE": ErrorRow(grpc.StatusCode.UNAVAILABLE, "Wait as RetryInfo says and repeat."),
    "STORE_UNAVAILABLE": ErrorRow(grpc.StatusCode.UNAVAILABLE, "Wait as RetryInfo says and repeat."),
    "MODEL_CHECK_FAILED": ErrorRow(
        grpc.StatusCode.UNAVAILABLE, "The server's models are not what their cards say; see its log."
    ),
    "STORE_CORRUPT": ErrorRow(grpc.StatusCode.DATA_LOSS, "Restore the data folder from a backup."),
    "INTERNAL": ErrorRow(grpc.StatusCode.INTERNAL, "A defect; report it with the time from the server's log."),
}
"""Reason → status and what to do. Every error that leaves the server is in this table."""


class UnexpectedError(SamefaceError):
    """Stands for a defect; says nothing of what happened inside."""

    reason = "INTERNAL"


def rich_status(error: SamefaceError) -> grpc.Status:
    """Translate a typed error into a status with ErrorInfo, and BadRequest or RetryInfo where they apply.

    Texts are clipped: what a caller sent may be quoted in them, and gRPC drops answers whose metadata exceeds 8 KiB.
    """
    row = ERRORS[error.reason]
    message = _clipped(error.message, MAX_MESSAGE_BYTES)
    metadata = {key: _clipped(value, MAX_METADATA_BYTES) for key, value in error.metadata.items()}
    details = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)]
    if isinstance(error, InvalidArgument) and (field := error.metadata.get("field")):
        violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=message)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after_s is not None:
        delay = duration_pb2.Duration(nanos=0)
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    packed = []
    for detail in details:
        holder = any_pb2.Any()
        holder.Pack(detail)
        packed.append(holder)
    status = status_pb2.Status(code=getattr(code_pb2, row.code.name), message=message, details=packed)
    return rpc_status.to_status(status)


def _clipped(text: str, most: int) -> str:
    encoded = text.encode()
    return text if len(encoded) <= most else encoded[: most - 3].decode(errors="ignore") + "…"
