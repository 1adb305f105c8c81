"""TLS of the service's port: certificate, key, and the authority whose client certificates are asked for.

The files are read again when they have changed; new connections then use them. Connections that are open stay.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sameface.access.changing_file import ChangingFiles
from sameface.addresses import is_loopback
from sameface_qdrant.errors import InvalidArgument

NAMES = ("x509_subject_alternative_name", "x509_common_name")
"""Where gRPC puts the names of a client certificate that it has verified."""


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """TLS of the service's port. Without a certificate it is not encrypted."""

    certificate: Path | None = None
    """PEM file of the certificate, followed by those of intermediate authorities."""
    private_key: Path | None = None
    """PEM file of its key, without a passphrase."""
    client_ca: Path | None = None
    """PEM file of the authority of client certificates. If set, every connection needs such a certificate."""

    def __post_init__(self) -> None:
        """Raise ValueError if only a part is given."""
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("certificate and private_key go together; give both, or neither")
        if self.client_ca is not None and self.certificate is None:
            raise ValueError("client_ca needs certificate and private_key")


@dataclass(frozen=True, slots=True)
class _Pem:
    certificate: bytes
    private_key: bytes
    client_ca: bytes | None


def server_credentials(options: TlsOptions) -> grpc.ServerCredentials | None:
    """Return the credentials of the port; None without TLS.

    Raises:
        InvalidArgument: a file cannot be read, is no PEM file, or key and certificate do not belong together.
    """
    if options.certificate is None:
        return None
    paths = [path for path in (options.certificate, options.private_key, options.client_ca) if path is not None]
    files = ChangingFiles(paths, lambda: _read(options), keep=True)
    used = files.content

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """Return new certificates, None for no change. gRPC asks before each handshake, in a thread of its own."""
        nonlocal used
        present = files.content
        if present is used:
            return None
        used = present
        return _configuration(present)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(used),
        fetch,  # type: ignore[arg-type]  # by its documentation it may return None
        require_client_authentication=options.client_ca is not None,
    )


def require_usable(options: TlsOptions) -> object:
    """Return what the files hold: another object after each change.

    Raises:
        InvalidArgument: as `server_credentials`.
    """
    return _read(options)


def check_encrypted(
    listen: str, options: TlsOptions, allow_plaintext: bool, *, setting: str = "listen", tls: str = "TLS"
) -> None:
    """Raise InvalidArgument if ``host:port`` can be reached by other machines and is not encrypted.

    ``setting`` is what the address is set with, and ``tls`` the section of its certificate, as variables name it.
    """
    host = listen.rpartition(":")[0]
    if options.certificate is None and not allow_plaintext and not is_loopback(host):
        raise InvalidArgument(
            f"{setting} is {listen}, which other machines can reach, and there is no certificate; set "
            f"SAMEFACE_{tls}__CERTIFICATE and SAMEFACE_{tls}__PRIVATE_KEY, or set SAMEFACE_ALLOW_PLAINTEXT=true if "
            "something else encrypts",
            metadata={"field": "tls"},
        )


def certificate_names(peer: Callable[[], Mapping[str, Iterable[bytes]]]) -> Iterator[str]:
    """Yield the names of the client certificate of a connection; ``peer`` returns gRPC's authentication context.

    It is asked for only where somebody reads the names: gRPC copies it for each call.
    """
    known = peer()
    yield from dict.fromkeys(name.decode(errors="replace") for key in NAMES for name in known.get(key, ()))


def _configuration(pem: _Pem) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(pem.private_key, pem.certificate)], root_certificates=pem.client_ca
    )


def _read(options: TlsOptions) -> _Pem:
    assert options.certificate is not None
    assert options.private_key is not None
    try:
        pem = _Pem(
            options.certificate.read_bytes(),
            options.private_key.read_bytes(),
            options.client_ca.read_bytes() if options.client_ca is not None else None,
        )
        certificate, *_ = x509.load_pem_x509_certificates(pem.certificate)
        key = load_pem_private_key(pem.private_key, None)
        if pem.client_ca is not None:
            x509.load_pem_x509_certificates(pem.client_ca)
        fits = certificate.public_key() == key.public_key()
    except Exception as error:
        # Of whatever kind: the parsers of certificates raise many that have nothing in common.
        raise InvalidArgument(
            f"TLS cannot be used: {error}; expected PEM files, and a key without a passphrase",
            metadata={"field": "tls"},
        ) from None
    if not fits:
        raise InvalidArgument(
            f"the key in {options.private_key} does not belong to the first certificate in {options.certificate}",
            metadata={"field": "tls"},
        )
    return pem
