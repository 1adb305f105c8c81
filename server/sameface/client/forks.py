"""Clients in a process that was forked.

The thread of grpc.aio that waits for answers does not live on in a child, and gRPC then prepares no other channel for
the fork either: a call would never end.
"""

import os

import grpc.aio

TELL = (
    "this process was forked from one that has used an AsyncClient, and gRPC does not work in it; start workers with "
    "spawn (multiprocessing.get_context('spawn')), or make the first AsyncClient after the fork"
)
_used = _lost = False


def use_asynchronously() -> None:
    """Note that this process uses grpc.aio. Raises RuntimeError as `check_usable` does."""
    global _used
    check_usable()
    if not _used:
        # When its last channel is collected, grpc.aio waits for its thread to end. In a child there is no such thread,
        # so the collection would never end. This holds one more reference, as long as the process lives.
        grpc.aio.init_grpc_aio()
    _used = True


def check_usable() -> None:
    """Raise RuntimeError if this process is the child of one that has used an AsyncClient."""
    if _lost:
        raise RuntimeError(TELL)


def _in_child() -> None:
    global _lost
    _lost = _lost or _used


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_in_child)
