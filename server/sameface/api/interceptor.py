"""Stands between gRPC and every handler: bounds what is in flight and turns exceptions into statuses."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, cast

import grpc

from sameface.api.status import UnexpectedError, rich_status
from sameface.errors import ServerBusy
from sameface_qdrant.errors import SamefaceError

log = logging.getLogger(__name__)

# Health checks and reflection answer however busy the server is.
_ALWAYS_ANSWERED = ("/grpc.",)

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"


class RequestGuard(grpc.aio.ServerInterceptor):
    """Refuses requests beyond ``max_requests`` at once, and lets no exception leave as UNKNOWN."""

    def __init__(self, max_requests: int) -> None:
        self._max_requests = max_requests
        self._idle = asyncio.Event()
        self._idle.set()
        self.in_flight = 0

    async def idle(self) -> None:
        """Return once nothing is in flight."""
        await self._idle.wait()

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> "Handler | None":
        """Wrap the unary handler of one call."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or handler.unary_unary is None or method.startswith(_ALWAYS_ANSWERED):
            return handler
        call: Any = handler.unary_unary  # typed for the threaded server

        async def guarded(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            error: SamefaceError
            if self.in_flight >= self._max_requests:
                error = ServerBusy(
                    f"{self.in_flight} requests are in flight, at most {self._max_requests} are allowed",
                    metadata={"in_flight": self.in_flight, "limit": self._max_requests},
                    retry_after_s=1.0,
                )
            else:
                self.in_flight += 1
                self._idle.clear()
                try:
                    return await call(request, context)
                except SamefaceError as refused:
                    error = refused
                except (asyncio.CancelledError, grpc.aio.AbortError):
                    raise
                except Exception as defect:
                    # The type and place, never the values: a message may quote what the caller sent.
                    log.error("%s failed: %s", method, type(defect).__name__, exc_info=_without_message(defect))
                    error = UnexpectedError(
                        "the server failed to answer; nothing is known to be wrong with the request"
                    )
                finally:
                    self.in_flight -= 1
                    if not self.in_flight:
                        self._idle.set()
            return await context.abort_with_status(rich_status(error))

        return grpc.unary_unary_rpc_method_handler(
            cast(Any, guarded),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


def _without_message(defect: Exception) -> tuple[type[Exception], Exception, Any]:
    blank = RuntimeError("details withheld")
    return (type(blank), blank, defect.__traceback__)
