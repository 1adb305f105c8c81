"""Settings of the HTTP listener."""

import ipaddress
import re
from dataclasses import dataclass

from sameface.access.tls import TlsOptions
from sameface.addresses import is_loopback

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
_HOST = re.compile(r"(\*\.)?[a-z0-9.-]+|\[[0-9a-f:.]+\]")
_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?")


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """HTTP: REST/JSON and gRPC-Web. Without `listen` there is none."""

    listen: str = ""
    """IP address and port, or localhost and port; port 0 chooses a free port."""
    origins: tuple[str, ...] = ()
    """Origins of web pages that may call, for instance https://app.example.org. None by default."""
    hosts: tuple[str, ...] = ()
    """Names under which callers reach the service, without ports; ``*.`` at the start stands for any name below.
    Requests with another ``Host`` are refused. On a loopback address, localhost, 127.0.0.1 and [::1] are taken as well;
    elsewhere at least one name is needed."""
    tls: TlsOptions | None = None
    """Certificate and key, and the authority of client certificates; what is None is that of the gRPC port."""
    max_connections: int = 256
    """Most open connections; further ones are closed at once."""
    max_body_bytes: int = 50 << 20
    """Largest body of a request. In JSON a photo takes four thirds of its bytes."""
    header_s: float = 10.0
    """Seconds that the header of a request may take to arrive."""
    idle_s: float = 60.0
    """Seconds without a request after which a connection is closed."""
    openapi: bool = True
    """Let everybody read the OpenAPI document, /openapi.yaml."""

    def __post_init__(self) -> None:
        """Raise ValueError if a value is not allowed."""
        if not self.listen:
            return
        host, port = self.address
        if host != "localhost" and not _is_ip(host):
            raise ValueError(f"listen is {self.listen!r}; expected an IP address and a port, for instance 0.0.0.0:8080")
        if not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"listen is {self.listen!r}; expected a port from 0 to 65535, for instance 127.0.0.1:8080")
        for one in self.hosts:
            if not _HOST.fullmatch(one):
                raise ValueError(f"hosts has {one!r}; expected a name in lower case without a port, as api.example.org")
        for one in self.origins:
            if not _ORIGIN.fullmatch(one):
                raise ValueError(f"origins has {one!r}; expected a scheme, a host and no path, as https://example.org")
        if not self.hosts and not is_loopback(host):
            raise ValueError(
                f"listen is {self.listen}, which other machines can reach, and hosts is empty; set the names that "
                'callers use, for instance SAMEFACE_HTTP__HOSTS=["api.example.org"]'
            )
        for name in ("max_connections", "max_body_bytes", "header_s", "idle_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected more than 0")

    @property
    def address(self) -> tuple[str, str]:
        """Host without brackets, and port."""
        host, _, port = self.listen.rpartition(":")
        return host.removeprefix("[").removesuffix("]"), port

    def tls_beside(self, grpc: TlsOptions) -> TlsOptions:
        """Return the TLS of this listener: its own, and what that leaves out from the gRPC port.

        Certificate and key go together. The authority of client certificates is taken over by itself, so that another
        certificate does not let in who has none.
        """
        own = self.tls or TlsOptions()
        pair = own if own.certificate is not None else grpc
        return TlsOptions(pair.certificate, pair.private_key, own.client_ca or grpc.client_ca)

    @property
    def served_hosts(self) -> tuple[str, ...]:
        """Every name that a request may have in ``Host``."""
        own = LOOPBACK_HOSTS if is_loopback(self.address[0]) else ()
        return tuple(dict.fromkeys((*own, *self.hosts)))


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
