"""When certificates and API keys end. `sameface doctor` and the metrics of a service read it here."""

import dataclasses
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from sameface.access.api_keys import KeyFile

if TYPE_CHECKING:
    from sameface.settings import Settings

CERTIFICATES = {"certificate", "client_ca", "ca", "ca_certificate", "client_certificate"}
"""Names of settings that are files of certificates, in any section."""
CERTIFICATE_SOON = timedelta(days=14)
KEY_SOON = timedelta(days=7)
"""`docker/monitoring/rules.yaml` has the same days."""
KEY_ENDED = timedelta(days=7)
"""For so long an API key that has ended is still told of, unless it was revoked."""


def certificate_files(settings: "Settings") -> dict[str, Path]:
    """Return the files of certificates that the settings name, by the variable of each setting."""
    return dict(_files(settings, "SAMEFACE"))


def _files(section: Any, name: str) -> Iterator[tuple[str, Path]]:
    if isinstance(section, BaseModel):
        names = list(type(section).model_fields)
    elif dataclasses.is_dataclass(section):
        names = [one.name for one in dataclasses.fields(section)]
    else:
        return
    for one in names:
        value = getattr(section, one)
        variable = f"{name}{'_' if name == 'SAMEFACE' else '__'}{one.upper()}"
        if isinstance(value, Path) and one in CERTIFICATES:
            yield variable, value
        else:
            yield from _files(value, variable)


def certificate_end(path: Path) -> datetime:
    """Return when the first certificate of a PEM file ends.

    Raises:
        OSError: the file cannot be read.
        ValueError: it has no certificate.
    """
    from cryptography import x509

    return min(one.not_valid_after_utc for one in x509.load_pem_x509_certificates(path.read_bytes()))


def key_ends(path: Path, now: datetime) -> list[float]:
    """Return when API keys of a file end, in seconds of the epoch: of those that are valid or ended a few days ago.

    Keys that were revoked, that ended before `KEY_ENDED`, or that have no end are left out.

    Raises:
        SamefaceError: the file cannot be used.
    """
    since = (now - KEY_ENDED).timestamp()
    keys = KeyFile(path).read().values()
    return [one.expires for one in keys if one.revoked is None and one.expires is not None and one.expires > since]
