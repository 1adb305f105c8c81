"""One declaration of each method for both clients.

A method builds the request of one rpc. `Rpc` and `Listing` turn it into a method of both clients. On `Client` it sends
the request and returns the answer; on `AsyncClient` it returns a coroutine that does so.
"""

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from sameface.client.answer import read

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Call(Generic[Result]):
    """One request; the rpc follows from its type. ``Result`` is what the caller gets.

    Every call may be sent again after a lost answer: a read changes nothing, a creation is recognised by its request
    id, and an update or deletion has the same effect the second time.
    """

    request: Message
    kind: type[Result] | None = None
    """What the caller gets it as, an `Answer`; None for the message itself."""
    part: str = ""
    """The field of the answer that is the result; empty for the whole answer."""
    repeat_lost_races: bool = False
    """Whether to send it again after another writer was faster (CONCURRENT_UPDATE)."""
    gone: str = ""
    """For a deletion: the reason of an error that means there is nothing to delete."""
    exists: str = ""
    """For a creation: the reason of an error that means it exists. ``instead`` is then sent."""
    instead: "Call[Result] | None" = None

    @property
    def method(self) -> MethodDescriptor:
        """The rpc: ``XRequest`` is the request of rpc ``X``, and each proto file with requests has one service."""
        service: Any
        (service,) = self.request.DESCRIPTOR.file.services_by_name.values()
        method: MethodDescriptor = service.methods_by_name[self.request.DESCRIPTOR.name.removesuffix("Request")]
        return method

    @property
    def path(self) -> str:
        """The name of the rpc in gRPC."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"

    @property
    def answer(self) -> type[Message]:
        """The class of the answer."""
        return message_factory.GetMessageClass(self.method.output_type)

    def result(self, answer: Any) -> Result:
        """Return the part of an answer that the caller gets."""
        message: Any = getattr(answer, self.part) if self.part else answer
        result: Result = message if self.kind is None else _read(self.kind, message)
        return result


@dataclass(frozen=True, slots=True)
class Pages(Generic[Item]):
    """A list request, to be sent page by page (AIP-158)."""

    request: Message
    items: str
    """The field of the answer that holds the items of a page."""
    kind: type[Item]
    """What the caller gets each of them as, an `Answer`."""

    def of_page(self, answer: Any) -> list[Item]:
        """Return the items of a page."""
        return [_read(self.kind, item) for item in getattr(answer, self.items)]

    def page(self, token: str) -> Call[Any]:
        """Return the call for the page that ``token`` names."""
        request = type(self.request)()
        request.CopyFrom(self.request)
        request.page_token = token  # type: ignore[attr-defined]  # every list request has it
        return Call(request)


def _read(kind: Any, message: Message) -> Any:
    return read(kind, message)


class Blocking(Protocol):
    """A client whose methods return answers."""

    def _send(self, build: Callable[[], Call[Result]]) -> Result: ...

    def _list(self, build: Callable[[], Pages[Item]]) -> Iterator[Item]: ...


class Awaited(Protocol):
    """A client whose methods return coroutines."""

    async def _send(self, build: Callable[[], Call[Result]]) -> Result: ...

    def _list(self, build: Callable[[], Pages[Item]]) -> AsyncIterator[Item]: ...


class Rpc(Generic[Parameters, Result]):
    """Decorates a method that builds a `Call`; called on a client, it sends the call."""

    def __init__(self, build: Callable[Concatenate[Any, Parameters], Call[Result]]) -> None:
        @functools.wraps(build)
        def send(client: Any, *args: Any, **options: Any) -> Any:
            return client._send(functools.partial(build, client, *args, **options))

        self._send = send

    @overload
    def __get__(self, client: None, owner: type) -> Callable[Concatenate[Any, Parameters], Any]: ...
    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[Parameters, Result]: ...
    @overload
    def __get__(self, client: Awaited, owner: type) -> Callable[Parameters, Coroutine[Any, Any, Result]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        return self._send if client is None else MethodType(self._send, client)


class Listing(Generic[Parameters, Item]):
    """Decorates a method that builds `Pages`; called on a client, it returns an iterator over every item."""

    def __init__(self, build: Callable[Concatenate[Any, Parameters], Pages[Item]]) -> None:
        @functools.wraps(build)
        def listed(client: Any, *args: Any, **options: Any) -> Any:
            return client._list(functools.partial(build, client, *args, **options))

        self._listed = listed

    @overload
    def __get__(self, client: None, owner: type) -> Callable[Concatenate[Any, Parameters], Any]: ...
    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[Parameters, Iterator[Item]]: ...
    @overload
    def __get__(self, client: Awaited, owner: type) -> Callable[Parameters, AsyncIterator[Item]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        return self._listed if client is None else MethodType(self._listed, client)
