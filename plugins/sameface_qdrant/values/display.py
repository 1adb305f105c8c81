"""Short texts of values, for a prompt or a log: ``__repr__ = brief`` in a dataclass."""

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any

from sameface_qdrant.values.scalars import of_python

LONGEST, LONGEST_INSIDE, LONGEST_TEXT, MOST = 180, 80, 40, 3
"""Characters of a text, of one inside another, and of a string; items of a sequence that are shown."""


def counted(number: int, one: str, several: str = "") -> str:
    """Return a number with its noun; the plural is ``one`` with an s unless it is given.

    >>> counted(1, "search", "searches"), counted(2_000, "score")
    ('1 search', '2,000 scores')
    """
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def brief(value: Any) -> str:
    """Return a dataclass as ``Name(field=value, …)``, in at most 180 characters.

    Fields with their default, and those that are None, are left out. Arrays are shown by type and shape, and long
    sequences by their length.
    """
    return _dataclass(value, LONGEST)


def _dataclass(value: Any, longest: int) -> str:
    name = type(value).__name__
    shown = [
        f"{field.name}={_short(content)}"
        for field in dataclasses.fields(value)
        if field.repr and (content := getattr(value, field.name)) is not None and not _is_default(field, content)
    ]
    text, kept = f"{name}({', '.join(shown)})", len(shown)
    while len(text) > longest and kept:
        kept -= 1
        text = f"{name}({', '.join([*shown[:kept], '…'])})"
    return text


def _is_default(field: "dataclasses.Field[Any]", content: Any) -> bool:
    if hasattr(content, "shape"):
        return False
    default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
    return bool(default is not dataclasses.MISSING and (content is default or content == default))


def _short(content: Any) -> str:
    content = of_python(content)
    if isinstance(content, Enum):
        return str(content.value)
    if dataclasses.is_dataclass(content):
        return _dataclass(content, LONGEST_INSIDE)
    if hasattr(content, "shape"):
        return f"<{getattr(content, 'dtype', type(content).__name__)} {list(content.shape)}>"
    match content:
        case float():
            return f"{content:.6g}"
        case str():
            return repr(content if len(content) <= LONGEST_TEXT else content[: LONGEST_TEXT - 1] + "…")
        case bytes():
            return f"<{len(content)} bytes>"
        case datetime():
            return content.isoformat(timespec="seconds")
        case list() | tuple() | Mapping() | frozenset():
            return _collection(content)
    text = repr(content)
    return text if len(text) <= LONGEST_INSIDE else f"<{type(content).__name__}>"


def _collection(content: Any) -> str:
    if isinstance(content, Mapping):
        items, brackets = [f"{key!r}: {_short(value)}" for key, value in list(content.items())[:MOST]], "{}"
    else:
        items = [_short(one) for one in list(content)[:MOST]]
        brackets = "[]" if isinstance(content, list) else "{}" if isinstance(content, frozenset) else "()"
    alone = "," if brackets == "()" and len(content) == 1 else ""
    text = f"{brackets[0]}{', '.join(items)}{alone}{brackets[1]}"
    return text if len(content) <= MOST and len(text) <= LONGEST_INSIDE else f"<{len(content)} items>"
