"""The error table is complete, and callers get everything that a program needs."""

import re
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import grpc
import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2

import sameface.errors
import sameface_qdrant.errors
from sameface.api.refusals import end_with
from sameface.api.status import ERRORS, UnexpectedError, rich_status, status_of
from sameface.errors import ServerBusy
from sameface_qdrant.errors import InvalidArgument, SamefaceError, StoreUnavailable, TemplateLimitReached

# With these errors a server does not start, or has ended, so no caller ever gets them.
UNSERVED = {"STORE_LOCKED", "RUNTIME_MISSING", "ADDRESS_UNAVAILABLE", "SERVER_ENDED"}


def every_error() -> set[type[SamefaceError]]:
    return {
        error
        for module in (sameface.errors, sameface_qdrant.errors)
        for error in vars(module).values()
        if isinstance(error, type)
        and issubclass(error, SamefaceError)
        and "reason" in vars(error)
        and error is not SamefaceError
    } | {UnexpectedError}


def details(error: SamefaceError) -> dict[str, object]:
    (trailer,) = rich_status(error).trailing_metadata
    status = status_pb2.Status.FromString(trailer[1])
    unpacked: dict[str, object] = {}
    for packed in status.details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
            if packed.Is(kind.DESCRIPTOR):
                message = kind()
                packed.Unpack(message)
                unpacked[kind.DESCRIPTOR.name] = message
    return unpacked


class Ended:
    """How a call was ended."""

    def __init__(self) -> None:
        self.code, self.details, self.trailers = grpc.StatusCode.OK, "", ()

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details

    def set_trailing_metadata(self, trailers: tuple[()]) -> None:
        self.trailers = trailers


@pytest.mark.parametrize("retry_after_s", [None, 0.0, 0.05, 12.35])
@pytest.mark.parametrize("metadata", [{}, {"in_flight": 12, "limit": 4}, {"format": "JPEG", "bytes": "x" * 300}])
@pytest.mark.parametrize("message", ["busy", "ä" * 400])
def test_the_status_of_a_refusal_in_parts_is_the_status_of_its_error(
    message: str, metadata: dict[str, object], retry_after_s: float | None
) -> None:
    error, ended = ServerBusy(message, metadata=metadata, retry_after_s=retry_after_s), Ended()
    end_with(cast(Any, ended), error)
    ((key, content),) = cast(Any, ended.trailers)
    whole = rich_status(error)
    assert (ended.code, ended.details, key) == (whole.code, whole.details, whole.trailing_metadata[0][0])
    assert status_pb2.Status.FromString(content) == status_of(error)


def test_every_error_is_in_the_table_and_nothing_else() -> None:
    assert {error.reason for error in every_error()} - UNSERVED == ERRORS.keys()


def test_reasons_differ() -> None:
    reasons = [error.reason for error in every_error()]
    assert len(reasons) == len(set(reasons))


def test_the_protos_name_reasons_of_the_table_beside_their_status() -> None:
    text = " ".join(path.read_text() for path in Path("protos/sameface/v1").glob("*_service.proto"))
    named = re.findall(r"([A-Z_]+) \(([A-Z][A-Z_, ;a-zRI]*)", re.sub(r"\s*//\s*", " ", text))
    pairs = {
        (code, reason)
        for code, reasons in named
        if code in grpc.StatusCode.__members__
        for reason in re.findall(r"[A-Z_]{6,}", reasons)
    }
    assert len({reason for _, reason in pairs}) > 15
    for code, reason in pairs:
        assert ERRORS[reason].code.name == code, f"{reason} is announced as {code}"


@pytest.mark.parametrize("error", sorted(every_error(), key=str), ids=str)
def test_every_error_carries_its_reason_and_metadata(error: type[SamefaceError]) -> None:
    if error.reason in UNSERVED:
        return
    raised = error("what was given, what was expected", metadata={"limit": 3})
    status = rich_status(raised)
    assert status.code == ERRORS[error.reason].code
    assert status.details == raised.message
    info = details(raised)["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain, dict(info.metadata)) == (error.reason, "sameface", {"limit": "3"})


@pytest.mark.parametrize("character", ["x", "é", "😀"])
def test_an_answer_stays_small_whatever_was_sent(character: str) -> None:
    error = InvalidArgument(character * 70_000, metadata={"field": "name", "given": character * 70_000})
    status = rich_status(error)
    (trailer,) = status.trailing_metadata
    # gRPC percent-encodes the message and encodes the details in base64. Together they must stay below 8 KiB.
    assert len(quote(status.details)) + 4 * len(trailer[1]) / 3 < 7000
    assert status.details.startswith(character)


def test_a_wrong_field_is_named_as_a_violation() -> None:
    violation = details(InvalidArgument("too long", metadata={"field": "display_name"}))["BadRequest"]
    assert isinstance(violation, error_details_pb2.BadRequest)
    assert [(one.field, one.description) for one in violation.field_violations] == [("display_name", "too long")]


def test_only_what_may_succeed_later_says_when() -> None:
    later = details(StoreUnavailable("down", retry_after_s=1.5))["RetryInfo"]
    assert isinstance(later, error_details_pb2.RetryInfo)
    assert later.retry_delay == duration_pb2.Duration(seconds=1, nanos=500_000_000)
    assert "RetryInfo" not in details(TemplateLimitReached("full"))
