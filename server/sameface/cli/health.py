"""`sameface health`: whether a service would answer, for container health checks."""

from typing import Annotated, Any

import grpc
import typer

from sameface.cli.options import ExitCode
from sameface.cli.serve import load_settings
from sameface_qdrant.errors import InvalidArgument

# What a service listens on that listens on every address of the machine, and where it is reached from there.
ANYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "::": "[::1]"}  # noqa: S104


def health(
    address: Annotated[
        str | None,
        typer.Option(
            "--address", envvar="SAMEFACE_ADDRESS", help="the service's host:port", show_default="where it listens here"
        ),
    ] = None,
    timeout_s: Annotated[float, typer.Option("--timeout", help="seconds to wait for an answer")] = 3.0,
) -> None:
    """Ask a service for its health; exit code 0 when it serves, 3 when it does not or nobody answers.

    Without an address: the one that `sameface serve` listens on under the same environment and file.
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
    """Return how a gRPC server, or one service of it, feels: SERVING, NOT_SERVING and so on.

    Raises:
        grpc.RpcError: nobody answers, it is no gRPC server, or it does not know the service.
    """
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=timeout_s)
    name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return name


def _where_it_listens() -> str:
    listen = load_settings(None).listen
    host, _, port = listen.rpartition(":")
    if int(port) == 0:
        raise InvalidArgument(
            f"the settings say listen on {listen}, a port that is picked at the start; name the address with --address",
            metadata={"field": "address"},
        )
    return f"{ANYWHERE.get(host, host)}:{port}"
