"""Pages of lists that are limited in bytes."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from google.protobuf.message import Message

from sameface_qdrant.values.paging import Page

Item = TypeVar("Item")
Answer = TypeVar("Answer", bound=Message)

MOST_BYTES = 2 << 20
"""A page with more bytes ends early. gRPC clients receive 4 MiB by default."""


def as_many_as_fit(answers: Iterable[Answer], most_bytes: int = MOST_BYTES) -> list[Answer]:
    """Return the first answers that together have at most so many bytes, and at least one."""
    fitting: list[Answer] = []
    size = 0
    for answer in answers:
        size += answer.ByteSize()
        if fitting and size > most_bytes:
            break
        fitting.append(answer)
    return fitting


async def page_of(
    ask: Callable[[int], Awaitable[Page[Any]]], answer_to: Callable[[Any], Answer], page_size: int
) -> tuple[list[Answer], str]:
    """Return one page of answers and the token of the next one. ``ask`` reads a page of a size.

    A page that is too large is read again with as many items as fit, because only the store makes tokens.
    """
    while True:
        page = await ask(page_size)
        answers = as_many_as_fit(map(answer_to, page.items))
        if len(answers) == len(page.items):
            return answers, page.next_token
        page_size = len(answers)
