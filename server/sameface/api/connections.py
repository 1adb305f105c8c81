"""Which connection a call comes from."""

from typing import Any, TypeAlias

import grpc

PEER_HEADER = "x-sameface-peer"
"""Metadata with the connection of an HTTP caller. Envoy writes it over what the caller sends."""
_UNIX = "unix:"

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


def came_over_http(context: Context) -> bool:
    """Return whether Envoy passed the call on: it alone can reach the socket that is no port."""
    return bool(context.peer().startswith(_UNIX))


def connection_of(context: Context) -> str:
    """Return the connection that a call comes from: over HTTP the caller's own, not the one that Envoy made for it."""
    peer: str = context.peer()
    if not peer.startswith(_UNIX):
        return peer
    for key, value in context.invocation_metadata() or ():
        if key == PEER_HEADER:
            return f"http:{value!s}"
    return peer
