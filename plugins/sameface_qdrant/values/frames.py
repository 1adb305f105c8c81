"""Tables of values for pandas, which is imported when a table is made, and need not be installed otherwise."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.values.scalars import article

if TYPE_CHECKING:
    import pandas


def to_frame(values: Iterable[object]) -> "pandas.DataFrame":
    """Return a table with a row for each value: decisions, templates, neighbours, identities, or whatever a list holds.

    Fields of a field get a dot, ``policy.verify_threshold``, and so do labels and payloads. Items of a sequence get
    their position, ``candidates.0.identity``. A page goes on with the following ones, see `Page`.

    Raises:
        ImportError: pandas is not installed.
        InvalidArgument: ``values`` is no sequence of values of this package, or of ids.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InvalidArgument(
            f"values is {article(type(values).__name__)}; expected a page, or a list of values such as decisions",
            metadata={"field": "values"},
        )
    return table_of([_row(value) for value in values])


def table_of(columns: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> "pandas.DataFrame":
    """Return a table of rows, or of columns by name.

    Raises:
        ImportError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError("a table needs pandas, which is not installed; run `pip install pandas`") from error
    return pandas.DataFrame(columns)


def _row(value: object) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if isinstance(value, str | int):
        return {"id": value}
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        raise InvalidArgument(
            f"values holds {article(type(value).__name__)}; expected values such as decisions, templates or identities",
            metadata={"field": "values"},
        )
    _add(found, "", value)
    return found


def _add(row: dict[str, Any], name: str, content: Any) -> None:
    """Add the cells of a field, or of a whole value, to a row."""
    start = f"{name}." if name else ""
    if dataclasses.is_dataclass(content) and not isinstance(content, type):
        for field in dataclasses.fields(content):
            if field.repr:
                _add(row, f"{start}{field.name}", getattr(content, field.name))
    elif isinstance(content, Mapping):
        for key, inner in content.items():
            _add(row, f"{start}{getattr(key, 'value', key)}", inner)
    elif isinstance(content, tuple) and content and all(map(dataclasses.is_dataclass, content)):
        for position, inner in enumerate(content):
            _add(row, f"{start}{position}", inner)
    else:
        row[name] = content.value if isinstance(content, Enum) else content
