"""The table from typed errors to gRPC statuses, and the rich status that carries them (AIP-193)."""

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import grpc
from google.protobuf import any_pb2
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
    metadata: str
    """Keys of the ErrorInfo's metadata, for docs/errors.md."""
    remedy: str
    of_service: bool = False
    """Whether the service, or what it needs, is at fault, and neither the caller nor the load."""


_CODES = grpc.StatusCode
_OurFault = partial(ErrorRow, of_service=True)
ERRORS: dict[str, ErrorRow] = {
    "INVALID_ARGUMENT": ErrorRow(
        _CODES.INVALID_ARGUMENT, "`field`", "Correct the field. A BadRequest violation names it too."
    ),
    "INVALID_EMBEDDING": ErrorRow(
        _CODES.INVALID_ARGUMENT,
        "`field`; `given`, `expected` or `position`",
        "Send finite numbers, not all zero. Their count is the contract's dimension.",
    ),
    "IMAGE_UNDECODABLE": ErrorRow(
        _CODES.INVALID_ARGUMENT,
        "`format` as found, and `bytes`, `mode`, `layout`, `compression`, `codec` or `colours` if that is the reason",
        "Send a complete JPEG, PNG, WebP, BMP, GIF, TIFF, HEIC or AVIF file; in doubt an 8-bit sRGB JPEG or PNG.",
    ),
    "IMAGE_TOO_LARGE": ErrorRow(
        _CODES.INVALID_ARGUMENT,
        "`limit`, and `setting` if one raises it; `bytes`, `width` and `height`, `scans`, `segments`, `items`, "
        "`boxes`, or `cpu_s` (seconds of processor time)",
        "Send a smaller photo. If a JPEG has too many scans or segments, save it again as an ordinary JPEG.",
    ),
    "FACE_NOT_FOUND": ErrorRow(_CODES.INVALID_ARGUMENT, "`count`", "Send a photo with a visible face."),
    "MULTIPLE_FACES": ErrorRow(
        _CODES.INVALID_ARGUMENT, "`count`", "Send a photo of one person, or choose with `face_selection`."
    ),
    "FACE_TOO_SMALL": ErrorRow(
        _CODES.INVALID_ARGUMENT,
        "`InterEyeDistance`, `min_inter_eye_distance` (pixels of the decoded image)",
        "Move closer to the camera, or send the photo in full size.",
    ),
    "QUALITY_TOO_LOW": ErrorRow(
        _CODES.INVALID_ARGUMENT,
        "each component below its limit, and the limit (`Sharpness`, `min_sharpness`, …)",
        "Take another photo: hold still, use more light, show the whole face.",
    ),
    "EXTREME_POSE": ErrorRow(
        _CODES.INVALID_ARGUMENT,
        "each angle above its limit, and the limit: `HeadPoseYaw`, `HeadPosePitch`, `HeadPoseRoll`; `max_yaw`, "
        "`max_pitch`, `max_roll` (degrees)",
        "Look into the camera.",
    ),
    "PRESENTATION_ATTACK_SUSPECTED": ErrorRow(
        _CODES.INVALID_ARGUMENT,
        "`score` (for callers who may know it), `threshold` (bona fide scores, 0 to 1), `model`, `version`",
        "Take a new photo of the person, not of a picture or a screen. The policy's `presentation_attack` rejects it.",
    ),
    "PHOTO_REQUIRED": ErrorRow(
        _CODES.FAILED_PRECONDITION,
        "`gallery`",
        "Send the photo instead of its embedding. The policy's `presentation_attack` rejects what it cannot examine.",
    ),
    "FACES_NOT_SUPPORTED": ErrorRow(
        _CODES.FAILED_PRECONDITION,
        "`field`, `model`",
        "Leave the field out: this embedder takes the whole image, and no face is looked for. Photos of faces belong "
        "into a gallery of `face_embedder`.",
    ),
    "CREDENTIALS_MISSING": ErrorRow(
        _CODES.UNAUTHENTICATED, "–", "Send `authorization: Bearer` with an API key or a token, or a client certificate."
    ),
    "CREDENTIALS_REFUSED": ErrorRow(
        _CODES.UNAUTHENTICATED, "–", "Use a valid key, token or certificate. The server's log says why it was refused."
    ),
    "CREDENTIALS_UNCHECKABLE": _OurFault(
        _CODES.UNAVAILABLE,
        "`issuer`, for a token",
        "The token's issuer, or the file of keys, cannot be read. Wait, and repeat.",
    ),
    "PERMISSION_DENIED": ErrorRow(
        _CODES.PERMISSION_DENIED,
        "`rpc`, or `rpc` and `field` if the call is allowed without it",
        "Ask the operator for a role in the gallery (docs/security.md). It may not even exist.",
    ),
    "GALLERY_NOT_FOUND": ErrorRow(_CODES.NOT_FOUND, "`gallery`", "Create the gallery, or correct its name."),
    "IDENTITY_NOT_FOUND": ErrorRow(
        _CODES.NOT_FOUND, "`gallery`, `identity`", "Enrol the identity first (`allow_missing` creates it)."
    ),
    "TEMPLATE_NOT_FOUND": ErrorRow(
        _CODES.NOT_FOUND, "`gallery`, `identity`, `template`", "List the identity's templates, and use one of them."
    ),
    "ERASURE_NOT_FOUND": ErrorRow(_CODES.NOT_FOUND, "`receipt`", "List the receipts, and use one of them."),
    "MODEL_NOT_FOUND": ErrorRow(
        _CODES.NOT_FOUND,
        "`model`; `version`, unless the whole model is missing",
        "Use a version that GetServerInfo lists. Presentation attacks need the optional model `face_pad`.",
    ),
    "GALLERY_ALREADY_EXISTS": ErrorRow(_CODES.ALREADY_EXISTS, "`gallery`", "Use the existing gallery, or another id."),
    "IDENTITY_ALREADY_EXISTS": ErrorRow(
        _CODES.ALREADY_EXISTS, "`gallery`, `identity`", "Use the existing identity, or another id."
    ),
    "GALLERY_NOT_EMPTY": ErrorRow(
        _CODES.FAILED_PRECONDITION, "`gallery`, `identities` (how many)", "Delete its identities first, or set `force`."
    ),
    "IDENTITY_NOT_EMPTY": ErrorRow(
        _CODES.FAILED_PRECONDITION,
        "`gallery`, `identity`, `templates` (how many)",
        "Delete its templates first, or set `force`.",
    ),
    "IDENTITY_EXPIRED": ErrorRow(
        _CODES.FAILED_PRECONDITION, "`gallery`, `identity`", "Set a later `expire_time`, or delete the identity first."
    ),
    "TEMPLATE_LIMIT_REACHED": ErrorRow(
        _CODES.FAILED_PRECONDITION,
        "`identity`, `templates` (how many), `limit`",
        "Delete a template, or raise the policy's `max_templates`.",
    ),
    "QUOTA_EXCEEDED": ErrorRow(
        _CODES.RESOURCE_EXHAUSTED,
        "`quota` (the galleries that it is for), `what` (galleries, identities or bytes), `limit`",
        "Delete something, or ask the operator for a larger quota.",
    ),
    "IDENTITY_COLLISION": ErrorRow(
        _CODES.FAILED_PRECONDITION,
        "`gallery`, `identity`",
        "Check who the photo shows: it is too similar to another identity. The policy's `on_collision` rejects it; for "
        "look-alikes such as twins set it to warn (`sameface gallery update G --on-collision warn`).",
    ),
    "DUPLICATE_SAMPLE": ErrorRow(
        _CODES.ALREADY_EXISTS,
        "`gallery`, `identity`",
        "Send another photo: this one is already enrolled. The policy's `on_duplicate` rejects it.",
    ),
    "TEMPLATE_OUTLIER": ErrorRow(
        _CODES.FAILED_PRECONDITION,
        "`gallery`, `identity`",
        "Check who the photo shows: it is too different from the identity's other templates. The policy's "
        "`on_outlier` rejects it.",
    ),
    "CONTRACT_MISMATCH": ErrorRow(
        _CODES.FAILED_PRECONDITION,
        "`given`, `expected`",
        "Make the embedding with the gallery's model version, or send the photo.",
    ),
    "THRESHOLD_NOT_CALIBRATED": ErrorRow(
        _CODES.FAILED_PRECONDITION, "–", "Set a threshold in the gallery's policy, or in the request."
    ),
    "MAP_MISMATCH": ErrorRow(
        _CODES.FAILED_PRECONDITION,
        "`given` or `expected`: versions, digests or dimensions",
        "Migrate to a version for which the model repository has a template map (docs/model-change.md), or make one "
        "with `sameface model map`.",
    ),
    "MIGRATION_NOT_FOUND": ErrorRow(
        _CODES.NOT_FOUND, "`gallery`, `migration`", "List the gallery's migrations, and use one of them."
    ),
    "MIGRATION_IN_PROGRESS": ErrorRow(
        _CODES.FAILED_PRECONDITION,
        "`gallery`; `migration` or its `state`, if there is a migration",
        "Do what the message says: wait for the state, or finish, roll back or cancel the migration.",
    ),
    "MIGRATION_ENDED": ErrorRow(
        _CODES.FAILED_PRECONDITION, "`gallery`, `migration`, `state`", "Create another migration; this one has ended."
    ),
    "CALIBRATION_NOT_SUPPORTED": ErrorRow(
        _CODES.FAILED_PRECONDITION,
        "`identities`, `comparisons`; `gallery`, `target_fmr` or `supported_fmr`; `target_fpir` or `supported_fpir`",
        "Enrol more people, send a cohort, accept the supported rates, or set other targets.",
    ),
    "REQUEST_ID_REUSED": ErrorRow(
        _CODES.FAILED_PRECONDITION, "`field`, `request_id`", "Use a new `request_id` for a new request."
    ),
    "CONCURRENT_UPDATE": ErrorRow(
        _CODES.ABORTED, "`etag`, or `gallery` and `identity`", "Read the resource again, and repeat the call."
    ),
    "SERVER_BUSY": ErrorRow(
        _CODES.RESOURCE_EXHAUSTED,
        "`in_flight` and `limit`, or `format` and `bytes` of a photo for which memory is short",
        "Wait as RetryInfo says, and repeat the call.",
    ),
    "AUDIT_UNAVAILABLE": _OurFault(
        _CODES.UNAVAILABLE, "–", "The server cannot write its audit log; its disk may be full. Repeat the call later."
    ),
    "RATE_LIMITED": ErrorRow(
        _CODES.RESOURCE_EXHAUSTED,
        "`what`: requests, photos, enrolments, or claims of this identity",
        "Wait as RetryInfo says, and repeat the call. Ask the operator for a higher rate.",
    ),
    "STREAM_IDLE": ErrorRow(
        _CODES.DEADLINE_EXCEEDED, "`limit` (seconds)", "Open a new stream when you have something to send."
    ),
    "SERVER_STOPPING": ErrorRow(
        _CODES.UNAVAILABLE,
        "–",
        "Wait as RetryInfo says, open a new stream, and continue after the sample of the last response.",
    ),
    "STORE_FULL": _OurFault(
        _CODES.RESOURCE_EXHAUSTED, "`path` or `url`", "Free disk space on the server. Reads still work."
    ),
    "MODEL_UNAVAILABLE": _OurFault(
        _CODES.UNAVAILABLE, "`triton_url`, or `model` and `version`", "Wait as RetryInfo says, and repeat the call."
    ),
    "STORE_UNAVAILABLE": _OurFault(
        _CODES.UNAVAILABLE, "`path` or `url`", "Wait as RetryInfo says, and repeat the call."
    ),
    "MODEL_CHECK_FAILED": _OurFault(
        _CODES.UNAVAILABLE,
        "`model`, `version`",
        "The server's models do not match their cards. Ask the operator to check the server's log.",
    ),
    "PROTECTION_KEY_REFUSED": _OurFault(
        _CODES.FAILED_PRECONDITION,
        "`key` (its id; empty if the service has no keys at all)",
        "Give the service the keys that the store was made with (docs/template-protection.md).",
    ),
    "STORE_CORRUPT": _OurFault(_CODES.DATA_LOSS, "`path`", "Restore the data folder from a backup."),
    "STORE_TOO_NEW": _OurFault(
        _CODES.FAILED_PRECONDITION,
        "`found`, `least`, `current` (schema versions)",
        "A newer release wrote this record. Upgrade the service.",
    ),
    "STORE_TOO_OLD": _OurFault(
        _CODES.FAILED_PRECONDITION,
        "`url`; `version`, or `kind`",
        "Ask the operator to upgrade the Qdrant server: 1.17 or newer is needed.",
    ),
    "STORE_REFUSED": _OurFault(
        _CODES.FAILED_PRECONDITION,
        "`url`; `collection`, or `kind`",
        "Ask the operator to check the Qdrant server's settings, such as strict mode. The request was not at fault.",
    ),
    "INTERNAL": _OurFault(_CODES.INTERNAL, "–", "This is a defect of the server. Report it with the server's log."),
}
"""Reason → status, metadata and what to do. The server sends no error that is not in this table."""
FAULTS_OF_SERVICE = tuple(reason for reason, row in ERRORS.items() if row.of_service)
"""Reasons of which the alert `SamefaceErrors` tells."""


class UnexpectedError(SamefaceError):
    """A defect of the server. The message gives no details."""

    reason = "INTERNAL"


def code_of(reason: str) -> str:
    """Return the name of the status code of a call that ends with a reason; OK for an empty one.

    A reason that is not in the table is a code itself: CANCELLED, of a caller who has left.
    """
    row = ERRORS.get(reason)
    return row.code.name if row is not None else reason or "OK"


def rich_status(error: SamefaceError) -> grpc.Status:
    """Translate a typed error into the status that gRPC sends at the end of a failed call."""
    return rpc_status.to_status(status_of(error))


def status_of(error: SamefaceError) -> status_pb2.Status:
    """Translate a typed error into a status with ErrorInfo, and BadRequest or RetryInfo where they apply.

    Texts are clipped: they may quote input of any length, and gRPC drops responses with more than 8 KiB of metadata.
    """
    row = ERRORS[error.reason]
    message = _clipped(error.message, MAX_MESSAGE_BYTES)
    metadata = {key: _clipped(value, MAX_METADATA_BYTES) for key, value in error.metadata.items()}
    details = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)]
    if isinstance(error, InvalidArgument) and (field := error.metadata.get("field")):
        violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=message)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    packed = [_packed(detail) for detail in details]
    if error.retry_after_s is not None:
        packed.append(retry_info(error.retry_after_s))
    return status_pb2.Status(code=getattr(code_pb2, row.code.name), message=message, details=packed)


def retry_info(seconds: float) -> any_pb2.Any:
    """Return the detail that says after how many seconds to repeat a call."""
    return _packed(error_details_pb2.RetryInfo(retry_delay=timedelta(seconds=seconds)))


def _packed(detail: Any) -> any_pb2.Any:
    holder = any_pb2.Any()
    holder.Pack(detail)
    return holder


def _clipped(text: str, most: int) -> str:
    encoded = text.encode()
    return text if len(encoded) <= most else encoded[: most - 3].decode(errors="ignore") + "…"
