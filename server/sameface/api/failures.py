"""Turns what a handler raised into an error of the table, and finds it in an answer."""

import logging
from typing import Any

import grpc
from google.rpc import error_details_pb2

from sameface.api.status import ERRORS, UnexpectedError
from sameface_qdrant.errors import SamefaceError

log = logging.getLogger(__name__)


def as_typed(method: str, error: Exception) -> SamefaceError:
    """Return a typed error unchanged. Log any other error as a defect, and return an error without its details."""
    if isinstance(error, SamefaceError) and error.reason in ERRORS:
        return error
    # Log only the type and the traceback: the message of the error may quote the caller's input.
    placeholder = RuntimeError("details withheld")
    log.error(
        "%s failed: %s", method, type(error).__name__, exc_info=(type(placeholder), placeholder, error.__traceback__)
    )
    return UnexpectedError("the server has a defect and could not answer; the request may be correct")


def failure_of(method: str, error: Exception) -> SamefaceError:
    """Return the typed error that ends a call, without the traceback, whose frames hold the request."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    failure = as_typed(method, error)
    failure.__cause__ = failure.__context__ = None
    return failure.with_traceback(None)


def reason_in(answer: Any) -> str:
    """Return the reason of the error that an answer of a stream contains; empty without one."""
    info = error_details_pb2.ErrorInfo()
    for detail in answer.error.details if answer.HasField("error") else ():
        if detail.Unpack(info):
            return str(info.reason)
    return ""
