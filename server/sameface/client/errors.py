"""The errors of the clients: a call failed, or what was handed over cannot be sent or reached."""

from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from sameface.connection_faults import fault_of

CANCELLED_HERE = ("Channel closed!", "Locally cancelled by application!")
"""What gRPC says of calls that were cancelled on this side."""


class NotAnAddress(ValueError):
    """What was handed over is not the address of a service. Nothing was sent.

    Attributes:
        reason: INVALID_ARGUMENT, as `ServiceError.reason` would be.
        message: text for people: what was given, and what to write instead.
    """

    reason = "INVALID_ARGUMENT"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NotAPhoto(ValueError, TypeError):
    """What was handed over is not a photo. Nothing was sent, and the message quotes nothing of the content.

    Attributes:
        reason: IMAGE_UNDECODABLE or IMAGE_TOO_LARGE, as `ServiceError.reason` would be.
        message: text for people: what was given, what is expected, what to do.
    """

    def __init__(self, message: str, *, reason: str = "IMAGE_UNDECODABLE") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class ServiceError(Exception):
    """A call failed. See docs/errors.md for every reason.

    Attributes:
        code: status code of gRPC.
        reason: what programs act on; empty if no answer of the service came.
        message: text for people.
        metadata: details of the reason, for instance the names of the gallery and identity.
        retry_after_s: seconds to wait before a repeat; None if the service names no time.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        metadata: dict[str, str],
        retry_after_s: float | None,
    ) -> None:
        super().__init__(code, reason, message, metadata, retry_after_s)
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata = metadata
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.reason or self.code.name}: {self.message}"

    @property
    def too_large(self) -> bool:
        """Whether gRPC refused the message itself for its size, on either side."""
        return not self.reason and "larger than max" in self.message

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes as `json.dumps` takes them; the code by its name."""
        return {**vars(self), "code": self.code.name}

    def status(self) -> status_pb2.Status:
        """Return the error as it stands in the answer of a stream."""
        number: int = self.code.value[0]
        status = status_pb2.Status(code=number, message=self.message)
        if self.reason:
            status.details.add().Pack(error_details_pb2.ErrorInfo(reason=self.reason, metadata=self.metadata))
        if self.retry_after_s is not None:
            wait = error_details_pb2.RetryInfo()
            wait.retry_delay.FromNanoseconds(round(self.retry_after_s * 1e9))
            status.details.add().Pack(wait)
        return status

    @property
    def unconnectable(self) -> bool:
        """Whether no later attempt can connect: only one side uses TLS, or a certificate is refused."""
        return self.code == grpc.StatusCode.UNAVAILABLE and not self.reason and fault_of(self.message) is not None

    @classmethod
    def of(cls, error: grpc.RpcError, *, with_photo: bool = False) -> "ServiceError":
        """Read ErrorInfo and RetryInfo out of a failed call of either kind of channel.

        A request with a photo that was too large for a message has the reason IMAGE_TOO_LARGE.
        """
        # `rpc_status` reads trailing metadata. A synchronous error has it from its call; one of grpc.aio has its own.
        status = rpc_status.from_call(error)  # type: ignore[arg-type]
        code: grpc.StatusCode = error.code()
        if status is None:
            details = error.details() or ""
            if (code, details) == (grpc.StatusCode.INTERNAL, "Internal error from Core"):
                # grpc.aio says this if a message could not be written, even if the server gave a reason.
                return cls(
                    grpc.StatusCode.UNAVAILABLE, "", "the server ended the call while it was written to", {}, None
                )
            if code == grpc.StatusCode.CANCELLED and details not in CANCELLED_HERE:
                # gRPC ends a call so that reaches a server which has just begun to stop. Nobody has worked on it.
                return cls(grpc.StatusCode.UNAVAILABLE, "", f"the server ended the call ({details})", {}, None)
            failed = cls(code, "", details, {}, None)
            if with_photo and failed.too_large:
                message = f"the request is too large for a message ({details}); send a smaller photo"
                return cls(code, "IMAGE_TOO_LARGE", message, {}, None)
            return failed
        return cls._of(status, code)

    @classmethod
    def of_status(cls, status: status_pb2.Status) -> "ServiceError":
        """Read an error that is part of an answer (StreamIdentifyFaces)."""
        code = next((code for code in grpc.StatusCode if code.value[0] == status.code), grpc.StatusCode.UNKNOWN)
        return cls._of(status, code)

    @classmethod
    def _of(cls, status: status_pb2.Status, code: grpc.StatusCode) -> "ServiceError":
        info, retry = error_details_pb2.ErrorInfo(), None
        for detail in status.details:
            if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
                detail.Unpack(info)
            elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
                wait = error_details_pb2.RetryInfo()
                detail.Unpack(wait)
                retry = wait.retry_delay.ToNanoseconds() / 1e9
        return cls(code, info.reason, status.message, dict(info.metadata), retry)
