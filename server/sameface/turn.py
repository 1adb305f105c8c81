"""The turn of the present call to use the processors. See `sameface.api.lanes`."""

from collections.abc import Callable
from contextvars import ContextVar


def _nothing() -> None:
    """Give nothing back, where the present call has no turn."""


_GIVE_BACK: ContextVar[Callable[[], None]] = ContextVar("turn", default=_nothing)


def set_turn(give_back: Callable[[], None]) -> None:
    """Set what gives the turn of the present call back. It may be called again."""
    _GIVE_BACK.set(give_back)


def give_turn_back() -> None:
    """Give the turn back before the call has ended, because from now on it waits for something else, such as a disk."""
    _GIVE_BACK.get()()
