"""The file of grants: which callers with tokens or certificates have which roles in which galleries.

```toml
[[grant]]
caller = "token:alice"              # or group:…, certificate:…
gallery = "staff"                   # an id, the start of ids such as team-*, or * for all and for the server
roles = ["verifier"]
```

API keys need no entry here: their grants are stored with them.
"""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from sameface.access.caller import Grant
from sameface_qdrant.errors import InvalidArgument

KINDS = ("token:", "group:", "certificate:")


def read_grants(path: Path) -> dict[str, tuple[Grant, ...]]:
    """Return the grants by caller.

    Raises:
        InvalidArgument: the file cannot be read, or an entry has another form.
    """
    try:
        entries = tomllib.loads(path.read_text()).get("grant", [])
        found: dict[str, tuple[Grant, ...]] = {}
        for number, entry in enumerate(entries, 1):
            if not isinstance(entry, dict) or set(entry) != {"caller", "gallery", "roles"}:
                raise ValueError(f"grant {number} needs caller, gallery and roles, and nothing else")
            caller = entry["caller"]
            if not isinstance(caller, str) or not caller.startswith(KINDS) or caller in KINDS:
                raise ValueError(f"the caller of grant {number} is {caller!r}; expected one of {', '.join(KINDS)}…")
            found[caller] = (*found.get(caller, ()), Grant.of(entry["gallery"], entry["roles"]))
        return found
    except InvalidArgument as error:
        raise _malformed(path, error.message) from None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _malformed(path, str(error)) from None


def granted(grants: Mapping[str, tuple[Grant, ...]], principals: Iterable[str]) -> tuple[Grant, ...]:
    """Return the grants of all the names of a caller."""
    return tuple(grant for one in principals for grant in grants.get(one, ()))


def _malformed(path: Path, why: str) -> InvalidArgument:
    return InvalidArgument(f"the file of grants {path} cannot be used: {why}", metadata={"field": "grants"})
