"""`sameface health`: asks a service whether it is healthy, for container health checks."""

import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import grpc
import typer

from sameface.addresses import check_target, proxy_options
from sameface.cli.options import ExitCode, credentials_of
from sameface.cli.serve import load_settings
from sameface.health.parts import AWAY
from sameface_qdrant.errors import InvalidArgument

if TYPE_CHECKING:
    from cryptography import x509

    from sameface.access.tls import TlsOptions

# Addresses that stand for every address of the machine, and where a service on them is reached from this machine.
ANYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104


def health(
    address: Annotated[
        str | None,
        typer.Option(
            "--address", envvar="SAMEFACE_ADDRESS", help="the service's host:port", show_default="from the settings"
        ),
    ] = None,
    timeout_s: Annotated[float, typer.Option("--timeout", help="seconds to wait for an answer")] = 3.0,
    service: Annotated[
        str, typer.Option(help="what to ask for: live, writes, or another name of docs/operations.md, Health")
    ] = "",
) -> None:
    """Ask a service whether it is healthy.

    Without --address, the service that `sameface serve` runs with the same environment and settings file is asked.
    If it has a certificate, it is asked with TLS, and no other certificate is accepted. If it asks for client
    certificates, it is shown that of SAMEFACE_CLIENT_CERTIFICATE, or its own.
    Each part of the service that does not answer has a line after the status: its name, since when, and the reason of
    the error that calls get. Writes may be away while the service serves.
    Exit code: 0 it serves, 3 it does not serve or does not answer.
    """
    encryption = encryption_of_environment()
    if address is None:
        settings = load_settings(None)
        address = where_it_listens(settings.listen)
        if settings.tls.certificate and not os.environ.get("SAMEFACE_CLIENT_CA"):
            encryption = encryption_of(settings.tls)
    missing: tuple[str, ...] = ()
    try:
        status, missing = ask_parts(address, timeout_s, service, encryption)
    except grpc.RpcError as error:
        # Only then: to import the client takes longer than the call.
        from sameface.client import ServiceError
        from sameface.client.hints import why_unreachable

        encrypted = encryption.credentials is not None
        hint = why_unreachable(ServiceError.of(error), address, encrypted=encrypted)
        status = f"no answer from {address} ({error.code().name}){hint and f': {hint}'}"
        if error.code() is grpc.StatusCode.NOT_FOUND:
            status = f"{address} knows no health of {service!r}: {error.details()}"
    print("\n".join([status, *map(away_line, missing)]))
    if status != "SERVING":
        raise typer.Exit(ExitCode.ERROR)


@dataclass(frozen=True, slots=True)
class Encryption:
    """How a connection is encrypted."""

    credentials: grpc.ChannelCredentials | None = None
    """None: not at all."""
    server_name: str = ""
    """The name that the server's certificate has to have; empty: that of the address."""


def encryption_of_environment() -> Encryption:
    """Return what the variables ``SAMEFACE_CLIENT_…`` say."""
    return Encryption(credentials_of(os.environ), os.environ.get("SAMEFACE_CLIENT_SERVER_NAME", ""))


def encryption_of(options: "TlsOptions") -> Encryption:
    """Return how to reach a service with these settings on this machine: it has to have the certificate in its file.

    The client's certificate is that of SAMEFACE_CLIENT_CERTIFICATE, or the service's own.

    Raises:
        InvalidArgument: a file cannot be read, or is no certificate.
    """
    from cryptography import x509

    if options.certificate is None or options.private_key is None:
        return Encryption()
    shown = [os.environ.get(f"SAMEFACE_CLIENT_{name}", "") for name in ("CERTIFICATE", "PRIVATE_KEY")]
    try:
        pem = options.certificate.read_bytes()
        name = _a_name_of(x509.load_pem_x509_certificates(pem)[0])
        certificate, key = (
            Path(own if not all(shown) else given).read_bytes() if options.client_ca else None
            for own, given in zip((options.certificate, options.private_key), shown, strict=True)
        )
    except Exception as error:
        # Of whatever kind: the parsers of certificates raise many that have nothing in common.
        raise InvalidArgument(f"TLS cannot be used: {error}", metadata={"field": "tls"}) from None
    return Encryption(grpc.ssl_channel_credentials(pem, key, certificate), name)


def _a_name_of(certificate: "x509.Certificate") -> str:
    """Return a name for which a certificate is valid; for one with a wildcard, a name that it covers."""
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return str(common[0].value) if common else ""
    found = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    return found[0].replace("*", "health") if found else ""


def ask_health(address: str, timeout_s: float, service: str = "", encryption: Encryption | None = None) -> str:
    """Return the health of a gRPC server, or of one of its services: SERVING, NOT_SERVING and so on.

    See `ask_parts`.
    """
    return ask_parts(address, timeout_s, service, encryption)[0]


def ask_parts(
    address: str, timeout_s: float, service: str = "", encryption: Encryption | None = None
) -> tuple[str, tuple[str, ...]]:
    """Return the health of a gRPC server, or of one of its services, and what it says of parts that do not answer.

    Without ``encryption`` the variables ``SAMEFACE_CLIENT_…`` say how to connect.

    Raises:
        InvalidArgument: ``address`` is not one.
        grpc.RpcError: there is no answer, it is not a gRPC server, or it does not know the service.
    """
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    try:
        check_target(address)
    except ValueError as error:
        raise InvalidArgument(str(error), metadata={"field": "address"}) from None
    encryption = encryption or encryption_of_environment()
    named = [("grpc.ssl_target_name_override", encryption.server_name)] if encryption.server_name else []
    options, credentials = [*proxy_options(address), *named], encryption.credentials
    opened = (
        grpc.secure_channel(address, credentials, options) if credentials else grpc.insecure_channel(address, options)
    )
    with opened as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer, call = stub.Check.with_call(health_pb2.HealthCheckRequest(service=service), timeout=timeout_s)
        missing = tuple(str(value) for key, value in call.trailing_metadata() or () if key == AWAY)
    name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return name, missing


def away_line(told: str) -> str:
    """Return a line about a part that does not answer: ``name seconds-of-the-epoch reason``, as the service says it.

    Another server's text is returned as it is.
    """
    with suppress(ValueError, OverflowError, OSError):
        name, since, reason = told.split(" ")
        return f"{name}: away since {datetime.fromtimestamp(float(since), UTC).isoformat(timespec='seconds')}, {reason}"
    return told


def where_it_listens(listen: str) -> str:
    """Return the address at which a service with the setting ``listen`` is reached from this machine.

    Raises:
        InvalidArgument: the service chooses its port.
    """
    host, _, port = listen.rpartition(":")
    if int(port) == 0:
        raise InvalidArgument(
            f"the setting listen is {listen}, so the port is chosen at the start; give the address with --address",
            metadata={"field": "address"},
        )
    bare = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"{ANYWHERE.get(bare, bare)}:{port}"
