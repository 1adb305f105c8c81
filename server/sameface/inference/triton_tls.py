"""TLS of the connection to a Triton server."""

from dataclasses import dataclass
from pathlib import Path

import grpc

from sameface.connection_faults import Fault
from sameface_qdrant.errors import InvalidArgument

WHAT_TO_DO = {
    Fault.NOT_TLS: "it does not speak TLS: leave SAMEFACE_TRITON_TLS__ENABLED out, or start Triton with --grpc-use-ssl",
    Fault.EXPIRED: "its certificate has expired: renew it, and check both clocks",
    Fault.AUTHORITY: "its certificate is of another authority: set SAMEFACE_TRITON_TLS__CA to its PEM file",
    Fault.NAME: "its certificate is for another name: set SAMEFACE_TRITON_TLS__SERVER_NAME to that name",
    Fault.PEM: "the files of SAMEFACE_TRITON_TLS__… cannot be used: expected PEM files",
    Fault.NOT_GRPC: "it speaks HTTP and not gRPC: give Triton's gRPC port, by default 8001",
}
SPEAKS_TLS = "it speaks TLS: set SAMEFACE_TRITON_TLS__ENABLED=true"


@dataclass(frozen=True, slots=True)
class TritonTls:
    """Encryption of the connection to a Triton server."""

    enabled: bool = False
    ca: Path | None = None
    """PEM file of the authority that signed Triton's certificate; None takes gRPC's list of public ones."""
    certificate: Path | None = None
    """PEM file of this service's certificate, for a Triton that asks for one (``--grpc-use-ssl-mutual``)."""
    private_key: Path | None = None
    server_name: str = ""
    """The name in Triton's certificate, if it is not the one in the address."""

    def __post_init__(self) -> None:
        """Raise ValueError if only a part is given."""
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("certificate and private_key go together; give both, or neither")
        if not self.enabled and (self.ca or self.certificate or self.server_name):
            raise ValueError("enabled is false, so the connection would not be encrypted; set it, or nothing else")

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Return the credentials of a channel; None without encryption.

        Raises:
            InvalidArgument: a file cannot be read.
        """
        if not self.enabled:
            return None
        try:
            ca, key, certificate = (
                None if path is None else path.read_bytes() for path in (self.ca, self.private_key, self.certificate)
            )
        except OSError as error:
            raise InvalidArgument(
                f"TLS to Triton cannot be used: {error}; expected PEM files", metadata={"field": "triton_tls"}
            ) from None
        return grpc.ssl_channel_credentials(ca, key, certificate)


PLAIN = TritonTls()
