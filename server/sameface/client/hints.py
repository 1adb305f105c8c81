"""What to do when no call comes through: gRPC tells what happened, and not what to change."""

import os
from collections.abc import Mapping

import grpc

from sameface.addresses import is_here
from sameface.client.errors import ServiceError
from sameface.connection_faults import Fault, fault_of, refused, speaks_tls, unclear
from sameface.health_check.check import START

PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
"""The variables that gRPC reads, in its order."""

WHAT_TO_DO = {
    Fault.NOT_TLS: "the service does not speak TLS: leave out credentials (for a command: SAMEFACE_CLIENT_CA), or "
    "give the service a certificate",
    Fault.EXPIRED: "the service's certificate has expired: renew it, and check both clocks",
    Fault.AUTHORITY: "the service's certificate is of another authority: give its PEM file, "
    "credentials=tls_credentials(ca=…) (for a command: SAMEFACE_CLIENT_CA)",
    Fault.NAME: "the service's certificate is for another name: give that name, server_name=… (for a command: "
    "SAMEFACE_CLIENT_SERVER_NAME)",
    Fault.PEM: "the credentials cannot be used: expected PEM files of an authority, a certificate and its key",
    Fault.NOT_GRPC: "what answers there speaks HTTP/1 and not gRPC: check the port",
}
SPEAKS_TLS = "the service speaks TLS: give credentials=tls_credentials(ca=…) (for a command: SAMEFACE_CLIENT_CA)"
CHECK_TLS = (
    "the service speaks TLS, but ends this connection: check ca=… and server_name=…; it may ask for a "
    "client certificate, tls_credentials(certificate=…, private_key=…) (for a command: SAMEFACE_CLIENT_…)"
)


def why_unreachable(
    error: ServiceError, address: str, *, encrypted: bool, environment: Mapping[str, str] = os.environ
) -> str:
    """Return what to do about a call that was given up; empty if nothing is known. Blocks for a second at most.

    Args:
        error: that of the last attempt.
        address: where the service should be.
        encrypted: whether the connections use TLS.
        environment: where gRPC finds a proxy.
    """
    if error.code != grpc.StatusCode.UNAVAILABLE or error.reason:
        return ""
    if fault := fault_of(error.message):
        return WHAT_TO_DO[fault]
    spoken = speaks_tls(address) if unclear(error.message) else None
    if spoken is not None and encrypted:
        return CHECK_TLS if spoken else WHAT_TO_DO[Fault.NOT_TLS]
    if spoken:
        return SPEAKS_TLS
    if is_here(address):
        return START if spoken is None and refused(error.message) else ""
    proxy = next((name for name in PROXIES if environment.get(name)), None)
    # The value may hold a password.
    return f"{proxy} is set, so gRPC may go through a proxy; no_grpc_proxy=host excludes hosts" if proxy else ""
