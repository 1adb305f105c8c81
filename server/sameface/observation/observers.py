"""Who observes the service. Observers are registered before it serves, and each is told of every call and stage."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, get_args

if TYPE_CHECKING:
    # Only then: they load numpy, which commands that write a log do not need.
    from sameface_qdrant.values.contract import Contract
    from sameface_qdrant.values.decision import Decision

StageName: TypeAlias = Literal[
    "queue", "acquire", "decode", "detect", "quality", "embed", "inference", "decide", "enroll", "store", "audit"
]
"""What a stage is called.

queue: a call waits for its turn. acquire: from a photo to the embedding of its one face. decode, detect, quality,
embed: the steps of a photo; quality holds the alignment. inference: one run of a model, in Triton or in process, with
``model`` and ``version``. decide: a verification, an identification or a search in the store. enroll: the store
writes a template. store: one request to the store's engine, with ``operation`` and ``engine``. audit: an entry of the
audit log. acquire holds the steps of a photo, detect and embed hold stages "inference"; decide and enroll hold stages
"store", unless the store answers from its memory.
"""
STAGE_NAMES: tuple[StageName, ...] = get_args(StageName)

Details: TypeAlias = Mapping[str, str | int]
"""More about a stage. Never what names a person or comes from a caller."""
End: TypeAlias = Callable[[BaseException | None], None]
"""Ends a stage; the argument is what it raised. Called once, perhaps in another thread than that of the begin."""
Metadata: TypeAlias = Callable[[], Iterable[tuple[str, str | bytes]]]
"""Returns the metadata of a call. gRPC copies it, so an observer asks for it only if it reads it."""


class ObservedCall(Protocol):
    """One call, as one observer sees it."""

    def answered(self, reason: str, answer: Any) -> None:
        """Take an answer: the only one, or one of a stream. ``reason`` is that of the error in it; empty without."""
        ...

    def decided(self, decision: "Decision", contract: "Contract") -> None:
        """Take a decision of the call, about an embedding under a contract. It holds scores and names people."""
        ...

    def ended(self, reason: str) -> None:
        """Take the reason of the error that ended the call; empty for success. It is called once, at the end."""
        ...


class Observer(Protocol):
    """Observes calls and their stages. Nothing that it does may raise, wait or take long."""

    def begin_call(self, rpc: str, metadata: Metadata) -> ObservedCall:
        """Take the begin of a call of ``rpc``, a method of the service. Runs in the task of the call."""
        ...

    def begin_stage(self, name: StageName, details: Details) -> End:
        """Take the begin of a stage, in the context of its call. Return what ends it."""
        ...


_OBSERVERS: list[Observer] = []


def observers() -> tuple[Observer, ...]:
    """Return the observers that are registered, in their order."""
    return tuple(_OBSERVERS)


@contextmanager
def registered(observer: Observer, changed: Iterable[Callable[[], None]] = ()) -> Iterator[None]:
    """Register an observer inside the block. ``changed`` is called after each change."""
    _OBSERVERS.append(observer)
    try:
        for call in changed:
            call()
        yield
    finally:
        _OBSERVERS.remove(observer)
        for call in changed:
            call()
