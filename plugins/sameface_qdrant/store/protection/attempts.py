"""Repeats what was done with a gallery's points if the gallery's state was changed meanwhile."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from sameface_qdrant.engines.base import TENANT_FIELD, Engine, Where
from sameface_qdrant.store.protection.points import Form, tenant_of
from sameface_qdrant.store.protection.state import LEASE_S, Known, Protections
from sameface_qdrant.values.protection import Protection

Result = TypeVar("Result")


class Attempts:
    """Reads and writes of one collection, each in the stored forms that were valid until its end."""

    def __init__(self, engine: Engine, protections: Protections, collection: str) -> None:
        self._engine, self._protections, self._collection = engine, protections, collection

    async def reading(
        self, uid: str, read: Callable[[Sequence[Form]], Awaitable[Result]], *, vectors: bool = False
    ) -> Result:
        """Return what was read in forms that are still valid."""
        while True:
            known = await self._protections.current(uid)
            result = await read(await self._protections.forms(known, vectors=vectors))
            if not self._engine.exclusive and time.monotonic() - known.read_at > LEASE_S:
                await self._protections.read(uid)
            if self.is_unchanged(known):
                return result

    async def writing(
        self, uid: str, write: Callable[[Sequence[Form]], Awaitable[None]], *, vectors: bool = False
    ) -> None:
        """Write in forms that are still valid then. What was written in others before is removed.

        A re-key has ended before such a form is no longer valid, so it holds nothing but late writes, each of which is
        repeated.
        """
        written: set[str] = set()
        while True:
            known = await self._protections.current(uid)
            forms = await self._protections.forms(known, vectors=vectors)
            valid = {form.tenant for form in forms}
            if written - valid:
                await self._engine.delete(self._collection, _of_tenants(written - valid))
            written = valid
            await write(forms)
            if not self._engine.exclusive:
                await self._protections.read(uid)
            if self.is_unchanged(known):
                return

    async def remove_past(self, uid: str, protection: Protection) -> None:
        """Remove what services that stood still, or ended, in the middle of a write have left in past generations."""
        if self._engine.exclusive:
            return
        current = protection.current.number
        past = {tenant_of(uid, number, staged=staged) for number in range(1, current) for staged in (False, True)}
        await self._engine.delete(self._collection, _of_tenants(past | {tenant_of(uid, current, staged=True)}))

    def is_unchanged(self, known: Known) -> bool:
        """Return whether a gallery is still stored as it was when it was read."""
        now = self._protections.find(known.uid)
        return now is None or now.protection == known.protection


def _of_tenants(tenants: set[str]) -> Where:
    return Where({}, among={TENANT_FIELD: tuple(sorted(tenants))})
