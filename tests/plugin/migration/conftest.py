"""A store in memory."""

from collections.abc import AsyncIterator

import pytest

from sameface_qdrant import Store


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    opened = await Store.open(":memory:")
    yield opened
    await opened.aclose()
