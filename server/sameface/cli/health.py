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
    from grpc_health.v1 import health_pb2

    with grpc.insecure_channel(address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer: health_pb2.HealthCheckResponse = check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
            status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        except grpc.RpcError as error:
            status = f"no answer from {address} ({error.code().name})"
    print(status)
    if status != "SERVING":
        raise typer.Exit(ExitCode.ERROR)
