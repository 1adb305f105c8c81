"""Pages of a list, and the token with which the next one starts."""

import copy
import functools
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.values.display import brief
from sameface_qdrant.values.frames import to_frame

if TYPE_CHECKING:
    import pandas

LARGEST_PAGE = 1000

Item = TypeVar("Item")
Arguments = ParamSpec("Arguments")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """One page of results, in a stable order; ``next_token`` is empty only at the end.

    A loop over it goes on with the following pages: ``async for``, or ``for`` with a blocking store. What is written
    meanwhile may be in them or not. ``items`` are those of this page alone.
    """

    __repr__ = brief

    items: tuple[Item, ...]
    next_token: str = ""
    read: Callable[[str], Coroutine[Any, Any, "Page[Item]"]] | None = field(default=None, repr=False, compare=False)
    """Reads the page of a token."""
    wait: Callable[[Coroutine[Any, Any, "Page[Item]"]], "Page[Item]"] | None = field(
        default=None, repr=False, compare=False
    )
    """Waits for a page that is being read; None where the caller awaits it."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the items and the token. What reads the following pages belongs to an open store."""
        return Page, (self.items, self.next_token)

    def __copy__(self) -> "Page[Item]":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Page[Item]":
        return replace(self, items=copy.deepcopy(self.items, memo))

    def waiting(self, wait: Callable[[Coroutine[Any, Any, "Page[Item]"]], "Page[Item]"]) -> "Page[Item]":
        """Return the page for a caller without asyncio: ``wait`` waits for the following ones."""
        return replace(self, wait=wait)

    def __iter__(self) -> Iterator[Item]:
        page = self
        while True:
            yield from page.items
            if not page.next_token:
                return
            if page.read is None or self.wait is None:
                raise InvalidArgument(
                    f"these are {len(page.items)} items of more; use `async for`, or `page.items` for these alone",
                    metadata={"field": "page"},
                )
            page = self.wait(page.read(page.next_token))

    def to_frame(self) -> "pandas.DataFrame":
        """Return a table with a row for each item of this page and, with a blocking store, of the following ones.

        Raises:
            ImportError: pandas is not installed.
            InvalidArgument: another page follows that only `async for` can read.
        """
        return to_frame(self)

    async def __aiter__(self) -> AsyncIterator[Item]:
        page = self
        while True:
            for item in page.items:
                yield item
            if not page.next_token:
                return
            if page.read is None:
                raise InvalidArgument(
                    "this page was not read from an open store, and another one follows; use `page.items`",
                    metadata={"field": "page"},
                )
            page = await page.read(page.next_token)


def continued(
    method: Callable[Arguments, Coroutine[Any, Any, Page[Item]]],
) -> Callable[Arguments, Coroutine[Any, Any, Page[Item]]]:
    """Make a list method, with the keyword ``page_token``, return pages that read the following ones."""

    @functools.wraps(method)
    async def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Page[Item]:
        def read(token: str) -> Coroutine[Any, Any, Page[Item]]:
            return cast(Any, call)(*args, **{**kwargs, "page_token": token})  # type: ignore[no-any-return]

        return replace(await method(*args, **kwargs), read=read)

    return call


def check_page(page_size: int, page_token: str) -> str | None:
    """Return the id of the point that a page starts with; None for the first page.

    Raises:
        InvalidArgument: the size is not 1..1000, or the token does not come from a list call.
    """
    if not 1 <= page_size <= LARGEST_PAGE:
        raise InvalidArgument(
            f"page_size is {page_size}; expected 1 to {LARGEST_PAGE}", metadata={"field": "page_size"}
        )
    if not page_token:
        return None
    try:
        return str(uuid.UUID(page_token))
    except ValueError:
        raise InvalidArgument(
            f"page_token is {page_token[:64]!r}; expected next_page_token of the previous page",
            metadata={"field": "page_token"},
        ) from None
