"""Reads that do not depend on one another share a round trip."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar, overload

One = TypeVar("One")
Two = TypeVar("Two")
Three = TypeVar("Three")
Four = TypeVar("Four")
Reading = Coroutine[Any, Any, One]


class Reader(Protocol):
    """What reads: an engine, or something that reads from one."""

    @property
    def exclusive(self) -> bool:
        """Whether this process is the only one that uses the engine."""
        ...


@overload
async def together(reader: Reader, one: Reading[One], two: Reading[Two], /) -> tuple[One, Two]: ...
@overload
async def together(
    reader: Reader, one: Reading[One], two: Reading[Two], three: Reading[Three], /
) -> tuple[One, Two, Three]: ...
@overload
async def together(
    reader: Reader, one: Reading[One], two: Reading[Two], three: Reading[Three], four: Reading[Four], /
) -> tuple[One, Two, Three, Four]: ...
@overload
async def together(reader: Reader, /, *reads: Reading[One]) -> tuple[One, ...]: ...


async def together(reader: Reader, /, *reads: Reading[Any]) -> tuple[Any, ...]:
    """Return what each read returns.

    On a shared engine each read is a round trip, so they run at once. On an exclusive engine a task costs as much as a
    read, so they run one after another. The first error in the order of the arguments is raised, once all have ended.
    """
    if not reader.exclusive:
        results = await asyncio.gather(*reads, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return tuple(results)
    try:
        return tuple([await read for read in reads])
    finally:
        for read in reads:
            read.close()  # those that were not begun


async def nothing(value: One) -> One:
    """Return a value in the place of a read that is not needed."""
    return value
