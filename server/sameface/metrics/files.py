"""What metrics say of files: when certificates end, and how much space is left."""

import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from cryptography import x509

from sameface.access.api_keys import KeyFile
from sameface.access.tls import TlsOptions
from sameface_qdrant.errors import InvalidArgument


def certificates_of(use: str, tls: TlsOptions) -> dict[str, Path]:
    """Return the certificate files of a port, by what they are for: ``use`` and ``use_client_ca``."""
    files = {use: tls.certificate, f"{use}_client_ca": tls.client_ca}
    return {name: path for name, path in files.items() if path is not None}


def first_end(path: Path) -> float | None:
    """Return when the first certificate of a PEM file ends, in seconds of the epoch; None if it cannot be read."""
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return None
    return min(one.not_valid_after_utc.timestamp() for one in found)


def next_key_end(path: Path) -> float | None:
    """Return when the next API key of a file ends that is valid now, in seconds of the epoch; None without one."""
    now = time.time()
    try:
        keys = KeyFile(path).read().values()
    except InvalidArgument:
        return None
    return min((key.expires for key in keys if key.expires is not None and key.state(now) == "valid"), default=None)


def space(folders: Mapping[str, Path]) -> Iterator[tuple[str, int, int]]:
    """Yield for each folder its name, the free bytes of its file system and the size of that."""
    for name, folder in folders.items():
        try:
            usage = shutil.disk_usage(folder)
        except OSError:
            continue
        yield name, usage.free, usage.total
