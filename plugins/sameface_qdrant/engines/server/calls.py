"""Awaits calls of qdrant-client, and raises their failures as typed errors."""

from collections.abc import Awaitable
from typing import TypeVar

import grpc
import httpx
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from sameface_qdrant.engines.server.error_mapping import typed_error
from sameface_qdrant.errors import StoreUnavailable

Result = TypeVar("Result")


def is_lost_answer(error: AttributeError) -> bool:
    """Return whether it comes from an answer that was cut off or damaged: gRPC then gives None, and no error."""
    return str(error).startswith("'NoneType' object")


async def call(location: str, awaited: Awaitable[Result]) -> Result:
    """Await a call of qdrant-client and raise its failures as typed errors, see `typed_error`.

    Over gRPC the client raises gRPC's own errors; over REST and in memory it raises others.
    """
    try:
        return await awaited
    except grpc.RpcError as error:
        code = error.code() if hasattr(error, "code") else None
        details = error.details() if hasattr(error, "details") else ""
        raise typed_error(location, getattr(code, "name", "UNKNOWN"), str(details)) from error
    except TimeoutError as error:
        raise typed_error(location, "DEADLINE_EXCEEDED", "no answer within the time-out") from error
    except ResourceExhaustedResponse as error:
        raise StoreUnavailable(
            f"Qdrant at {location} limits the rate of calls: {error}; wait {error.retry_after_s} s",
            metadata={"url": location},
            retry_after_s=float(error.retry_after_s),
        ) from error
    except UnexpectedResponse as error:
        text = error.content.decode(errors="replace")
        raise typed_error(location, f"HTTP_{error.status_code}", text) from error
    except AttributeError as error:
        if not is_lost_answer(error):
            raise
        raise typed_error(location, "UNAVAILABLE", "the answer was lost") from error
    except (ApiException, ResponseHandlingException, httpx.HTTPError, OSError, RuntimeError, ValueError) as error:
        raise typed_error(location, type(error).__name__, str(error)) from error
