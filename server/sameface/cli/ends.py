"""What `sameface doctor` says of the certificates and API keys that the settings name."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sameface.access.api_keys import KeyFile
from sameface.access.ends import CERTIFICATE_SOON, KEY_SOON, certificate_end


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

    valid = [one for one in KeyFile(path).read().values() if one.state(now.timestamp()) == "valid"]
    ends = [(f"{one.name} ({one.id})", datetime.fromtimestamp(one.expires, UTC)) for one in valid if one.expires]
    good, told = told_ends([one for one in ends if one[1] - now < KEY_SOON], KEY_SOON, now)
    return good, told or f"{len(valid)} valid in {path}"
