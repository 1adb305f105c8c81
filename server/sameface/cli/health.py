"""`sameface health`: asks a service whether it is healthy, for container health checks."""

import os
from typing import Annotated, Any

import grpc
import typer

from sameface.cli.options import ExitCode, credentials_of
from sameface.cli.serve import load_settings
from sameface_qdrant.errors import InvalidArgument

# Addresses that stand for every address of the machine, and where a service on them is reached from this machine.
ANYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "::": "[::1]"}  # noqa: S104


def health(
    address: Annotated[
        str | None,
        typer.Option(
            "--address", envvar="SAMEFACE_ADDRESS", help="the service's host:port", show_default="from the settings"
        ),
    ] = None,
    timeout_s: Annotated[float, typer.Option("--timeout", help="seconds to wait for an answer")] = 3.0,
) -> None:
    """Ask a service whether it is healthy.

    Without --address, the service that `sameface serve` runs with the same environment and settings file is asked.
    Exit code: 0 it serves, 3 it does not serve or does not answer.
    """
    address = address or _where_it_listens()
    try:
        status = ask_health(address, timeout_s)
    except grpc.RpcError as error:
        status = f"no answer from {address} ({error.code().name})"
    print(status)
    if status != "SERVING":
        raise typer.Exit(ExitCode.ERROR)


def ask_health(address: str, timeout_s: float, service: str = "") -> str:
    """Return the health of a gRPC server, or of one of its services: SERVING, NOT_SERVING and so on.

    Raises:
        grpc.RpcError: there is no answer, it is not a gRPC server, or it does not know the service.
    """
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    credentials = credentials_of(os.environ)
    expected = os.environ.get("SAMEFACE_CLIENT_SERVER_NAME", "")
    options = [("grpc.ssl_target_name_override", expected)] if expected else []
    opened = grpc.secure_channel(address, credentials, options) if credentials else grpc.insecure_channel(address)
    with opened as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=timeout_s)
    name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return name


def _where_it_listens() -> str:
    listen = load_settings(None).listen
    host, _, port = listen.rpartition(":")
    if int(port) == 0:
        raise InvalidArgument(
            f"the setting listen is {listen}, so the port is chosen at the start; give the address with --address",
            metadata={"field": "address"},
        )
    return f"{ANYWHERE.get(host, host)}:{port}"
