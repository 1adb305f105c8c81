"""The stages of a call, as its code marks them: ``with stage("decode"): …``. Works in coroutines and in threads."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import cast

from sameface.observation.observers import STAGE_NAMES, Details, End, Observer, StageName, observers, registered

NO_DETAILS: Details = {}


class _Unobserved:
    """A stage that nobody observes. Both methods are built-in functions, so that it costs no Python call."""

    __slots__ = ()
    __enter__ = type(None)
    """Takes nothing, and returns None."""
    __exit__ = "".format
    """Takes anything, and returns "", which lets exceptions through."""


UNOBSERVED = cast("AbstractContextManager[None]", _Unobserved())


class _Observed:
    """A stage that somebody observes."""

    __slots__ = ("_details", "_ends", "_name")

    def __init__(self, name: StageName, details: Details) -> None:
        self._name, self._details = name, details

    def __enter__(self) -> None:
        self._ends: list[End] = [one.begin_stage(self._name, self._details) for one in observers()]

    def __exit__(self, kind: object, error: BaseException | None, *_: object) -> None:
        for end in reversed(self._ends):
            end(error)


class _Stages(dict[StageName, AbstractContextManager[None]]):
    """The stages that nobody observes, by name. It is empty, and makes each stage, while somebody observes."""

    def __missing__(self, name: StageName) -> AbstractContextManager[None]:
        if name not in STAGE_NAMES:
            raise KeyError(name)
        return _Observed(name, NO_DETAILS)

    def settle(self) -> None:
        """Take a change of the observers."""
        if observers():
            self.clear()
        else:
            self.update(dict.fromkeys(STAGE_NAMES, UNOBSERVED))


_STAGES = _Stages()
_STAGES.settle()

stage: Callable[[StageName], AbstractContextManager[None]] = _STAGES.__getitem__
"""Mark a stage: ``with stage("decode"): …``. A look-up in a dictionary, while nobody observes."""


def stage_with(name: StageName, details: Details) -> AbstractContextManager[None]:
    """Mark a stage of which more is known. It costs more than `stage`: for parts that exist only while observed."""
    return _Observed(name, details)


@contextmanager
def observing(observer: Observer) -> Iterator[None]:
    """Let an observer see every call and stage inside the block. Begin before the service takes calls."""
    with registered(observer, [_STAGES.settle]):
        yield
