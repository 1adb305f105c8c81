"""Addresses of gRPC servers: which texts are one, what to write instead, and which lead to this machine. Pure.

gRPC takes any text. It waits for seconds before it says that ``http://host`` is no name, takes port 443 where none is
given, and a part of the number where a port is too large.
"""

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
PATHS = ("unix:", "unix-abstract:")
LISTS = ("ipv4:", "ipv6:")
URIS = ("dns://", "xds://", "unix://", "unix-abstract://", "ipv4://", "ipv6://")
SCHEMES = ("unix", "unix-abstract", "vsock", "dns", "ipv4", "ipv6", "xds")
LONGEST_HOST, LONGEST_SHOWN = 253, 100


@dataclass(frozen=True, slots=True)
class Server:
    """What an address is for, so that an error can say what to write."""

    example: str
    """An address, such as ``127.0.0.1:50051``."""
    encrypted: str
    """How to ask for TLS."""

    @property
    def port(self) -> str:
        """The port of the example."""
        return self.example.rpartition(":")[2]


SERVICE = Server("127.0.0.1:50051", "pass credentials=tls_credentials(), or set SAMEFACE_CLIENT_CA for a command")
TRITON = Server("triton:8001", "set SAMEFACE_TRITON_TLS__ENABLED=true")


def check_target(text: object, server: Server = SERVICE) -> str:
    """Return ``text`` if it is the address of a gRPC server.

    Taken are ``host:port`` and ``[v6]:port`` with a port from 1 to 65535, both also after ``dns:`` or
    ``dns://authority/``; ``ipv4:`` and ``ipv6:`` with one address or several and commas between them; ``unix:path``,
    ``unix-abstract:name``, ``vsock:cid:port`` and ``xds:///name``.

    Raises:
        ValueError: it is something else. The message says what to write, and quotes no password.
    """
    if not isinstance(text, str):
        raise ValueError(f"an address is text, for instance {server.example}; got {type(text).__name__}")
    if "@" in text and not text.startswith(PATHS):
        # What stands before the @ may be a password, so nothing is quoted.
        raise ValueError(f"an address holds no user or password; write host:{server.port} without them")
    if "://" in text and not text.startswith(URIS):
        raise ValueError(_without_scheme(text, server))
    fault = _fault_of(text, server)
    if fault is not None:
        raise ValueError(f"{_shown(text)} is not an address: {fault[0]}; write {fault[1]}")
    return text


def is_here(address: str) -> bool:
    """Return whether an address that `check_target` takes leads to this machine, and to no other, by itself.

    A name other than localhost may be looked up as anything, so it does not.
    """
    if address.startswith(PATHS):
        return True
    if address.startswith("dns://") and not address.startswith("dns:///"):
        # Another machine says what the name stands for.
        return False
    return all(is_loopback(host) for host in _hosts(address))


def proxy_options(address: str) -> tuple[tuple[str, int], ...]:
    """Return the options of a channel that keep calls to this machine away from a proxy of the environment."""
    return (("grpc.enable_http_proxy", 0),) if is_here(address) else ()


def is_loopback(host: str) -> bool:
    """Return whether an address to listen on can be reached from this machine alone."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        return "%" not in bare and ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def host_and_port(address: str) -> tuple[str, int] | None:
    """Return the first host, without brackets, and port of an address; None if it has another form."""
    if address.startswith((*PATHS, "xds:", "vsock:")):
        return None
    plain = address.partition(":")[2].split(",")[0] if address.startswith(LISTS) else _host_and_port(address)
    host, _, port = plain.rpartition(":")
    return (host.strip("[]"), int(port)) if _is_port(port) else None


def socket_path(address: str) -> str:
    """Return the path of ``unix:path``, which may be percent-encoded."""
    return unquote(re.sub(r"^unix:(//(?=/))?", "", address))


def _host_and_port(text: str) -> str:
    """Return the part of a target that should be host:port."""
    if text.startswith("dns://"):
        return text.removeprefix("dns://").partition("/")[2]
    # dns:name:port, but dns:53 is a host with a port.
    return text.removeprefix("dns:") if text.count(":") > 1 and text.startswith("dns:") else text


def _hosts(address: str) -> Iterator[str]:
    if address.startswith(LISTS):
        yield from (one.rpartition(":")[0] for one in address.partition(":")[2].split(","))
    else:
        yield _host_and_port(address).rpartition(":")[0]


def _fault_of(text: str, server: Server) -> tuple[str, str] | None:
    """Return what is wrong with a target, and what to write; None if nothing is."""
    if not text.strip():
        return "it is empty", server.example
    if text != text.strip() or not text.isprintable():
        return "it has spaces or line breaks around it, or characters that do not print", "it without them"
    scheme, _, rest = text.partition(":")
    if text.startswith(PATHS):
        if rest.strip("/") and (not rest.startswith("//") or rest.startswith("///")):
            return None
        return "it names no path", f"{scheme}:/run/sameface.sock" if scheme == "unix" else f"{scheme}:sameface"
    if text.startswith("xds:///"):
        return None if rest.strip("/") else ("it has no name", f"xds:///sameface, or {server.example}")
    if re.fullmatch(r"vsock:[0-9]+:[0-9]+", text):
        return None
    if text.startswith(LISTS):
        faults = [fault for one in rest.split(",") if (fault := _fault_of_ip(one, scheme))]
        here = "127.0.0.1" if scheme == "ipv4" else "[::1]"
        return (faults[0], f"{scheme}:{here}:{server.port}") if faults else None
    return _fault_of_host_and_port(_host_and_port(text), server)


def _fault_of_host_and_port(plain: str, server: Server) -> tuple[str, str] | None:
    host, colon, port = plain.rpartition(":")
    if _is_v6(plain) and not plain.startswith("["):
        return "an IPv6 address stands in brackets", f"[{plain}]:{server.port}"
    if not colon or (plain.startswith("[") and plain.endswith("]")):
        if _is_host(plain):
            return "it has no port", f"{plain}:{server.port}"
        return "it is not host:port", server.example
    if not host:
        return "it has no host", f"127.0.0.1:{port if _is_port(port) else server.port}"
    if not _is_host(host):
        return "it is not host:port, in ASCII", server.example
    if not _is_port(port):
        return "its port is not a number from 1 to 65535", f"{host}:{server.port}"
    return None


def _fault_of_ip(one: str, scheme: str) -> str:
    host, _, port = one.rpartition(":")
    try:
        if scheme == "ipv4":
            ipaddress.IPv4Address(host)
        elif not _is_host(host) or not host.startswith("["):
            return "an IPv6 address stands in brackets"
    except ValueError:
        return "ipv4: takes addresses, not names"
    return "" if _is_port(port) else "its port is not a number from 1 to 65535"


def _is_host(text: str) -> bool:
    if text.startswith("[") and text.endswith("]"):
        return _is_v6(text[1:-1])
    return bool(HOST.fullmatch(text)) and len(text) <= LONGEST_HOST


def _is_v6(text: str) -> bool:
    """Return whether a text is an IPv6 address; one of a link has ``%`` and the name of the link behind it."""
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _is_port(text: str) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,5}", text)) and 1 <= int(text) <= 65535


def _without_scheme(text: str, server: Server) -> str:
    """Return what to write instead of a URL. A query may hold a token, so no more than scheme and host are quoted."""
    scheme, _, rest = text.partition("://")
    plain = re.split(r"[/?#]", rest)[0]
    given = _shown(f"{scheme}://{plain}")
    if _fault_of_host_and_port(plain, server) is not None:
        host = plain.rpartition(":")[0] if ":" in plain else plain
        plain = f"{host}:{server.port}" if _is_host(host) else server.example
    also = f", and {server.encrypted}" if scheme.lower() in ("https", "grpcs", "tls", "ssl") else ""
    return f"{given} is a URL, not an address; write {plain}{also}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…")
