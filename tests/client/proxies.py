"""A proxy that notes what it is asked for, and refuses it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """The URL of a proxy, and the first lines of the requests that it got."""
    asked: list[str] = []

    def answer() -> None:
        while True:
            try:
                caller, _ = listener.accept()
            except OSError:
                return
            with caller:
                asked.append(caller.recv(1000).split(b"\r\n")[0].decode())
                caller.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def use(monkeypatch: pytest.MonkeyPatch, url: str, *variables: str) -> None:
    """Name a proxy in some variables of the environment alone."""
    for name in (*VARIABLES, "no_grpc_proxy", "no_proxy", "NO_PROXY", "HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in variables:
        monkeypatch.setenv(name, url)
