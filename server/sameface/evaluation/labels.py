"""Reads the labels of groups from a table, and makes bands of numbers such as ages."""

import csv
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from sameface.evaluation.samples import Samples
from sameface_qdrant.errors import InvalidArgument

MAX_GROUPS = 10
"""A column with more different values, such as an age in years or a name, is not a grouping."""
BY_SAMPLE, BY_IDENTITY = ("photo", "sample"), ("identity", "id")
UNKNOWN = ""
EVERYBODY = ""
"""The column of the group of everybody. No table has a column without a name."""
AGE, AGE_BANDS = "age", (18.0, 30.0, 45.0, 60.0)
"""Where a column of ages in years is cut, if nobody says otherwise."""

Labels = Mapping[str, tuple[str, ...]]
"""For each column the label of every sample; those that could not be acquired are last. Unknown labels are empty."""


def read_labels(
    path: Path, samples: Samples, bands: Mapping[str, Sequence[float]] | None = None
) -> tuple[Labels, tuple[str, ...]]:
    """Return the labels of ``samples`` by column, and the names of the columns that are not groupings.

    The first column is ``photo`` (paths below the data folder) or ``identity`` (or ``id``). The others are labels.

    Args:
        path: of the table.
        samples: what the labels are of.
        bands: where columns of numbers are cut, by column; see `band_names`.

    Raises:
        InvalidArgument: the first column has another name, a column has no name or the name of another one, a key
            occurs twice, no row is about one of the samples, no column is a grouping, or a column of ``bands`` is
            absent or holds something else than numbers.
        OSError: the file cannot be read.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        key, *columns = next(csv.reader(file), [""])
        rows = list(csv.reader(file))
    failed = samples.not_acquired
    if key in BY_SAMPLE:
        keys = [*samples.sample, *(one.sample for one in failed)]
    elif key in BY_IDENTITY:
        keys = [*samples.identity, *(one.identity for one in failed)]
    else:
        raise _refused(
            f"{path} has the first column {key!r}; expected photo or identity, and columns of labels after it"
        )
    _check_names(path, columns)
    table = {row[0]: row for row in rows if row}
    if len(table) != sum(1 for row in rows if row):
        raise _refused(f"{path} has two rows for the same {key}; expected one row for each")
    if not columns or not table.keys() & set(keys):
        raise _refused(
            f"{path} has {len(columns)} columns of labels and {len(table)} rows, none about the {len(keys)} samples; "
            f"expected rows such as {keys[0] if keys else '…'},label"
        )
    labels = {
        column: tuple(
            table[one][place].strip() if one in table and place < len(table[one]) else UNKNOWN for one in keys
        )
        for place, column in enumerate(columns, start=1)
    }
    for column, limits in (bands or {}).items():
        if column not in labels:
            raise _refused(f"{path} has no column {column!r} to make bands of; its columns are {', '.join(columns)}")
        labels[column] = banded(column, labels[column], limits)
    groupings = {name: values for name, values in labels.items() if 1 < len(set(values) - {UNKNOWN}) <= MAX_GROUPS}
    if not groupings:
        raise _refused(
            f"{path} has no column with 2 to {MAX_GROUPS} different labels; its columns are {', '.join(columns)}"
        )
    return groupings, tuple(name for name in columns if name not in groupings)


def _check_names(path: Path, columns: Sequence[str]) -> None:
    """Refuse columns that a name does not tell apart: one would take the place of another, or of everybody."""
    for place, column in enumerate(columns, start=2):
        if not column.strip():
            raise _refused(f"column {place} of {path} has no name; expected a name, or no comma at the end of the line")
    repeated = sorted({column for column in columns if columns.count(column) > 1})
    if repeated:
        raise _refused(f"{path} has several columns {', '.join(map(repr, repeated))}; expected different names")


def with_everybody(labels: Labels) -> Labels:
    """Return the labels with a group of everybody before the others.

    >>> with_everybody({"side": ("left", "", "right")})
    {'': ('everybody', 'everybody', 'everybody'), 'side': ('left', '', 'right')}
    """
    return {EVERYBODY: ("everybody",) * len(next(iter(labels.values()))), **labels}


def has_column(path: Path, column: str) -> bool:
    """Return whether a table has a column of labels with this name.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        return column in next(csv.reader(file), [""])[1:]


def banded(column: str, values: Sequence[str], limits: Sequence[float]) -> tuple[str, ...]:
    """Return the band of every number; an empty text stays empty.

    Raises:
        InvalidArgument: a value is not a number, or see `band_names`.

    >>> banded("age", ["17", "30", "44.5", "", "70"], (18, 30, 45))
    ('under 18', '30 to under 45', '30 to under 45', '', '45 and over')
    """
    names = band_names(limits)
    found = []
    for value in values:
        if value == UNKNOWN:
            found.append(UNKNOWN)
            continue
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise _refused(f"the column {column!r} has {value!r}; expected numbers, or nothing where it is not known")
        found.append(names[bisect_right(limits, number)])
    return tuple(found)


def band_names(limits: Sequence[float]) -> list[str]:
    """Return the names of the bands between limits. A limit belongs to the band above it.

    Raises:
        InvalidArgument: there is no limit, one is not finite, or they do not rise.

    >>> band_names((18, 30))
    ['under 18', '18 to under 30', '30 and over']
    """
    # All digits: two bands with the same name would be one group.
    texts = [repr(float(one)).removesuffix(".0") for one in limits]
    rise = all(one < other for one, other in pairwise(limits))
    if not limits or not rise or not all(map(math.isfinite, limits)):
        raise _refused(f"the limits of bands are {', '.join(texts)}; expected rising numbers")
    between = [f"{one} to under {other}" for one, other in pairwise(texts)]
    return [f"under {texts[0]}", *between, f"{texts[-1]} and over"]


def _refused(message: str) -> InvalidArgument:
    return InvalidArgument(message, metadata={"field": "groups"})
