"""Pages of a list, and the token with which the next one starts."""

import uuid
from dataclasses import dataclass
from typing import Generic, TypeVar

from sameface_qdrant.errors import InvalidArgument

LARGEST_PAGE = 1000

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """One page of results, in a stable order; ``next_token`` is empty only at the end."""

    items: tuple[Item, ...]
    next_token: str = ""


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
