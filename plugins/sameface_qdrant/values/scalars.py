"""Single numbers: what counts as one, and numpy's as numbers of Python."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def is_whole(value: object) -> bool:
    """Return whether a value is a whole number of Python or numpy. A truth value is none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Return whether a value is a real number of Python or numpy. A truth value is none."""
    return is_whole(value) or isinstance(value, float | np.floating)


def of_python(value: Any) -> Any:
    """Return a scalar of numpy as a number, a truth value or a text of Python; anything else as it is.

    No store can write numpy's.

    >>> of_python(np.float32(0.5)), of_python(np.int64(3)), of_python("ada")
    (0.5, 3, 'ada')
    """
    if isinstance(value, np.floating):
        return float(value)  # `item` leaves a long double as it is
    return value.item() if isinstance(value, np.generic) else value


def all_of_python(value: Any) -> Any:
    """Return a value with numpy's scalars and arrays in it as numbers and lists of Python; the rest as it is.

    >>> all_of_python({"size": np.int64(3), "box": np.zeros(2)})
    {'size': 3, 'box': [0.0, 0.0]}
    """
    if isinstance(value, Mapping):
        return {key: all_of_python(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [all_of_python(one) for one in value]
    if isinstance(value, np.ndarray):
        return all_of_python(value.tolist())
    return of_python(value)


def shown(value: object) -> str:
    """Return a number for a message, in at most 40 characters."""
    try:
        return f"{value:g}"
    except (OverflowError, TypeError, ValueError):
        return ascii(value)[:40]


def article(noun: str) -> str:
    """Return a noun with its indefinite article.

    >>> article("array"), article("Probe")
    ('an array', 'a Probe')
    """
    return f"{'an' if noun[:1].lower() in tuple('aeio') or noun.startswith('nd') else 'a'} {noun}"
