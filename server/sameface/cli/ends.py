"""When certificates and API keys end: what `sameface doctor` says of the files that the settings name."""

import dataclasses
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from sameface.settings import Settings

CERTIFICATES = {"certificate", "client_ca", "ca", "ca_certificate", "client_certificate"}
"""Names of settings that are files of certificates, in any section."""
CERTIFICATE_SOON = timedelta(days=14)
KEY_SOON = timedelta(days=7)


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


def told_ends(ends: Iterable[tuple[str, datetime]], soon: timedelta, now: datetime) -> tuple[bool, str]:
    """Return whether nothing ends soon, and a text that names each end, the first one first."""
    ordered = sorted(ends, key=lambda one: one[1])
    good = all(end - now >= soon for _, end in ordered)
    told = [
        f"{name} {'ended' if end <= now else 'ends'} {end.astimezone(UTC):%Y-%m-%d %H:%M} UTC" for name, end in ordered
    ]
    return good, "; ".join(told)


def certificates_found(files: dict[str, Path], now: datetime) -> tuple[bool, str]:
    """Return whether all certificates can be read and none ends within two weeks, and a text that names each end."""
    ends, unreadable = [], []
    for variable, path in files.items():
        try:
            ends.append((variable, certificate_end(path)))
        except OSError as error:
            unreadable.append(f"{variable}: {path}: {error.strerror}")
        except ValueError:
            unreadable.append(f"{variable}: {path} has no certificate in PEM")
    good, told = told_ends(ends, CERTIFICATE_SOON, now)
    return good and not unreadable, "; ".join(filter(None, [*unreadable, told]))


def keys_found(path: Path, now: datetime) -> tuple[bool, str]:
    """Return whether no valid key of a file of API keys ends within a week, and a text that names those that do.

    Raises:
        SamefaceError: the file cannot be used.
        OSError: it cannot be read.
    """
    from sameface.access.api_keys import KeyFile

    valid = [one for one in KeyFile(path).read().values() if one.state(now.timestamp()) == "valid"]
    ends = [(f"{one.name} ({one.id})", datetime.fromtimestamp(one.expires, UTC)) for one in valid if one.expires]
    good, told = told_ends([one for one in ends if one[1] - now < KEY_SOON], KEY_SOON, now)
    return good, told or f"{len(valid)} valid in {path}"
