"""How long the caller of the present call still waits. What is asked of other parts need not take longer."""

import time
from contextvars import ContextVar

_DEADLINE: ContextVar[float | None] = ContextVar("deadline", default=None)


def set_time_left(left_s: float | None) -> None:
    """Set how long the caller waits from now on, in seconds, until the task of the call ends; None: for ever."""
    _DEADLINE.set(None if left_s is None else time.monotonic() + left_s)


def within(most_s: float) -> float:
    """Return how long a part of the present call may take: ``most_s`` seconds, or less if its caller gives up sooner.

    It is 0.001 at least, because a timeout of 0 means none to some libraries.
    """
    deadline = _DEADLINE.get()
    return most_s if deadline is None else max(0.001, min(most_s, deadline - time.monotonic()))
