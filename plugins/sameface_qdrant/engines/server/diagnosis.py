"""Finds out why a connection to a Qdrant server fails. gRPC tells only what happened at the last address it tried."""

import asyncio
import ssl
from contextlib import suppress
from urllib.parse import urlsplit

from sameface_qdrant.engines.server.addresses import addresses, port_of
from sameface_qdrant.engines.server.options import ServerOptions

PATIENCE_S = 2.0


async def encryption_fault(url: str, options: ServerOptions) -> str:
    """Return why no encrypted connection can be made; empty if one can, or if nothing answers at all.

    Args:
        url: that of the server, or of several nodes, of which the first with a fault is named. ``http`` needs no
            encryption.
        options: with the certificates and the name to expect.
    """
    nodes = addresses(url)
    faults = await asyncio.gather(*(_fault_of(node, options) for node in nodes))
    named = [
        fault if len(nodes) == 1 else f"{node}: {fault}" for node, fault in zip(nodes, faults, strict=True) if fault
    ]
    return named[0] if named else ""


async def _fault_of(url: str, options: ServerOptions) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https":
        return ""
    try:
        context = ssl.create_default_context(cafile=options.ca_certificate)
        if options.client_certificate is not None:
            context.load_cert_chain(options.client_certificate, options.client_private_key)
        async with asyncio.timeout(PATIENCE_S):
            _, writer = await asyncio.open_connection(
                parts.hostname,
                port_of(url),
                ssl=context,
                server_hostname=options.server_name or parts.hostname,
            )
    except ssl.SSLCertVerificationError as error:
        return f"certificate refused: {error.verify_message}"
    except ssl.SSLError as error:
        return f"TLS handshake failed: {error.reason or error}"
    except (OSError, TimeoutError):
        return ""
    writer.close()
    with suppress(OSError, ssl.SSLError):
        await writer.wait_closed()
    return ""
