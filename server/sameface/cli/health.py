"""`sameface health`: whether a service would answer, for container health checks."""

from typing import Annotated

import grpc
import typer

from sameface.cli.options import DEFAULT_ADDRESS, Address, ExitCode


def health(
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Annotated[float, typer.Option("--timeout", help="seconds to wait for an answer")] = 3.0,
) -> None:
    """Ask a service for its health; exit code 0 when it serves, 3 when it does not or nobody answers."""
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
    from grpc_health.v1 import health_pb2

    with grpc.insecure_channel(address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        answer = check(health_pb2.HealthCheckRequest(service=service), timeout=timeout_s)
    name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return name
