"""TLS to the own service: no certificate but that in its file is accepted."""

import os
import ssl
from collections.abc import Mapping

from sameface.health_check.own_service import OwnService


def context_of(service: OwnService, environment: Mapping[str, str]) -> ssl.SSLContext:
    """Return how to encrypt. If the service asks for client certificates, that of SAMEFACE_CLIENT_CERTIFICATE is shown,
    or the service's own.

    Raises:
        OSError: a file cannot be read, or is no certificate or key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The certificate is compared with the file as a whole, so its names do not matter.
    context.check_hostname = False
    # The file need not hold the authority.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(service.certificate)
    context.set_alpn_protocols(["h2"])
    if service.client_ca:
        shown = [environment.get(f"SAMEFACE_CLIENT_{name}", "") for name in ("CERTIFICATE", "PRIVATE_KEY")]
        own = (service.certificate, service.private_key)
        certificate, key = own if not all(shown) else shown
        # A key with a passphrase would be asked for on the terminal.
        context.load_cert_chain(certificate, key, password=lambda: "")
    return context


def is_the_one(connection: ssl.SSLSocket, service: OwnService) -> bool:
    """Return whether the peer has shown the first certificate in the service's file."""
    with open(os.fspath(service.certificate), encoding="ascii", errors="replace") as file:
        text = file.read()
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    first = begin + text.partition(begin)[2].partition(end)[0] + end
    return connection.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(first)
