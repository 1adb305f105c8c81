"""Checks columns of numbers and labels, and whole numbers, that callers give to a calibration."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sameface_qdrant.errors import InvalidArgument

_READ_AS_NUMBERS = "fiubOU"
"""Kinds of numpy's types whose values may be real numbers. Texts are read, so that a column of a CSV may be given."""


def real_numbers(values: ArrayLike, field: str) -> NDArray[np.float64]:
    """Return a column as float64. None stands for NaN.

    Raises:
        InvalidArgument: it holds something else than real numbers, or a masked value.
    """
    try:
        found = np.asanyarray(values)
        if found.dtype.kind in _READ_AS_NUMBERS and not np.ma.is_masked(found):
            return np.asarray(found, dtype=np.float64).ravel()
        given = "a masked value" if np.ma.is_masked(found) else f"values of the type {found.dtype}"
    except (TypeError, ValueError, RuntimeError) as error:
        given = f"something else ({str(error)[:120]})"
    raise _wrong(field, f"{field} holds {given}; expected real numbers")


def whole_numbers(values: ArrayLike, field: str) -> NDArray[np.int64]:
    """Return a column as int64.

    Raises:
        InvalidArgument: it holds something else than whole numbers of 64 bits.
    """
    found = real_numbers(values, field)
    if not (np.isfinite(found).all() and (found == np.round(found)).all() and (np.abs(found) < 2.0**63).all()):
        raise _wrong(field, f"{field} holds a number that is not whole, or needs more than 64 bits; expected numbers")
    # Not by way of float64, which holds whole numbers up to 2^53 alone.
    return np.asarray(np.asarray(values).ravel(), dtype=np.int64)


def truth_values(values: ArrayLike, field: str) -> NDArray[np.bool_]:
    """Return a column as truth values.

    Raises:
        InvalidArgument: it holds something else than True and False, or 1 and 0.
    """
    found = real_numbers(values, field)
    if not np.isin(found, (0.0, 1.0)).all():
        raise _wrong(field, f"{field} holds {found[~np.isin(found, (0.0, 1.0))][0]:g}; expected True or False")
    return np.asarray(found == 1.0, dtype=np.bool_)


def labels(values: Iterable[Any], field: str) -> list[str]:
    """Return a column of labels as texts.

    Raises:
        InvalidArgument: it is no column, or a label is missing.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise _wrong(field, f"{field} is a {type(values).__name__}; expected a sequence of labels")
    found = list(values)
    for number, label in enumerate(found):
        if label is None or (isinstance(label, float) and np.isnan(label)):
            raise _wrong(field, f"{field}[{number}] is {label}; expected a label, such as a name or a number")
    return [str(label) for label in found]


def check_least(value: int, least: int, field: str) -> None:
    """Raise InvalidArgument if a number is less than ``least``."""
    if value < least:
        raise _wrong(field, f"{field} is {value}; expected {least} or more")


def _wrong(field: str, message: str) -> InvalidArgument:
    return InvalidArgument(message, metadata={"field": field})
