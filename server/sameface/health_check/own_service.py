"""Where the service of the same environment and settings files listens, read without the other settings.

`sameface.settings` takes a second to import. What is not plain text here is left to it.
"""

import os
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple

LISTEN = "127.0.0.1:50051"
"""The default of the setting ``listen``."""
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
"""Addresses that stand for every address of the machine, and where a service on them is reached from this machine."""
READ = ("SAMEFACE_LISTEN", "SAMEFACE_TLS__CERTIFICATE", "SAMEFACE_TLS__PRIVATE_KEY", "SAMEFACE_TLS__CLIENT_CA")


class NotPlain(Exception):
    """The settings do not say it in the plain form that is read here."""


class OwnService(NamedTuple):
    """How to reach the service. Without a certificate the connection is not encrypted."""

    host: str
    port: int
    certificate: str = ""
    """PEM file of the service's certificate."""
    private_key: str = ""
    client_ca: str = ""
    """Not empty: the service asks for client certificates."""


def own_service(environment: Mapping[str, str]) -> OwnService:
    """Return where the service listens that `sameface serve` runs with this environment.

    Raises:
        NotPlain: the settings have to be read in full.
        OSError: a settings file cannot be read.
    """
    names = {name.upper(): name for name in environment if name.upper().startswith("SAMEFACE_")}
    if "SAMEFACE_TLS" in names or any(names.get(name, name) != name for name in READ):
        raise NotPlain
    found: dict[str, str] = {}
    for variable in ("SAMEFACE_DEFAULTS", "SAMEFACE_CONFIG"):
        if path := environment.get(variable):
            found |= _of_file(path)
    found |= {name: environment[name] for name in READ if name in environment}
    host, port = literal_address(found.get("SAMEFACE_LISTEN", LISTEN))
    certificate, key, client_ca = (found.get(name, "") for name in READ[1:])
    if bool(certificate) != bool(key) or (client_ca and not certificate) or "" in found.values():
        raise NotPlain
    return OwnService(host, port, certificate, key, client_ca)


def literal_address(text: str) -> tuple[str, int]:
    """Return the host and port where ``host:port`` is reached from this machine, if the host is an IP address.

    Raises:
        NotPlain: it is another text, or the port is 0.

    >>> literal_address("0.0.0.0:50051"), literal_address("[::1]:6000")
    (('127.0.0.1', 50051), ('::1', 6000))
    """
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    try:
        socket.inet_pton(socket.AF_INET6 if bracketed else socket.AF_INET, bare)
    except (OSError, ValueError):
        raise NotPlain from None
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and 0 < int(port) < 65536):
        raise NotPlain
    return ANYWHERE.get(bare, bare), int(port)


def _of_file(path: str) -> dict[str, str]:
    """Return what a TOML file says about the settings that are read here, by the names of their variables."""
    import tomllib  # not every service has a file

    if not os.path.isfile(path):
        raise NotPlain
    with open(path, "rb") as file:
        try:
            table: dict[str, Any] = tomllib.load(file)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError):
            raise NotPlain from None
    tls = table.get("tls", {})
    if not isinstance(tls, dict):
        raise NotPlain
    values = (table.get("listen"), tls.get("certificate"), tls.get("private_key"), tls.get("client_ca"))
    if not all(isinstance(value, str | None) for value in values):
        raise NotPlain
    return {name: value for name, value in zip(READ, values, strict=True) if value is not None}
