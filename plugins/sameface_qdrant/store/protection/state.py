"""Knows how each protected gallery is stored, and has the keys for it.

The record of a gallery names its generations, and every such record that a store reads or writes passes
`Protections.learn`. Where several services write, a state that was read some time ago is read again before it is used,
see `MAX_AGE_S`.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sameface_qdrant.engines.base import Engine, Point
from sameface_qdrant.errors import ProtectionKeyRefused, StoreCorrupt
from sameface_qdrant.store.payloads import META
from sameface_qdrant.store.protection.derived import (
    GenerationKeys,
    asked,
    compare_checks,
    derived_with_check,
    key_check,
)
from sameface_qdrant.store.protection.keys import ProtectionKeys
from sameface_qdrant.store.protection.points import Form
from sameface_qdrant.store.protection.rotation import Rotation
from sameface_qdrant.values.ids import gallery_tag, point_id
from sameface_qdrant.values.protection import Generation, Protection, protection_of

Name = TypeVar("Name", bound=Hashable)
Value = TypeVar("Value")

MAX_AGE_S = 2.0
"""How old the state of a gallery may be when a call begins, if other services write too."""
LEASE_S = 6.0
"""How long a re-key waits until every service has noticed a change of the state."""
MOST_KEYS = 4096
MOST_ROTATION_BYTES = 256 << 20
CHECK = "protection-key"
"""The kind of the records with check values of master keys."""
OF_STORE = 0
"""The generation number of the keys for records of the meta collection."""


@dataclass(frozen=True, slots=True)
class Known:
    """A protected gallery as it was read."""

    uid: str
    record: str
    """Id of the record that was read."""
    dimension: int
    protection: Protection
    read_at: float
    """By the monotonic clock, when the read began."""


class Protections:
    """The protected galleries that were read, and their keys."""

    def __init__(self, engine: Engine, keys: ProtectionKeys | None) -> None:
        self.keys = keys
        self._engine = engine
        self.checks: dict[str, str] = {}
        """The stored check values of the master keys that were compared with them."""
        self._known: dict[str, Known] = {}
        self._tags: dict[bytes, str] = {}
        self._derived = _Remembered[tuple[str, Generation], GenerationKeys](MOST_KEYS)
        self._rotations = _Remembered[tuple[str, Generation], Rotation](MOST_ROTATION_BYTES)

    def learn(self, record: Point, read_at: float) -> None:
        """Remember how a gallery is stored, if a record of the meta collection says so."""
        protection = protection_of(record.payload.get("protection"))
        if protection is None:
            return
        uid = str(record.payload["gallery"])
        dimension = record.payload["contract"]["dimension"] if "contract" in record.payload else None
        before = self._known.get(uid)
        if before is not None and before.read_at > read_at:
            return  # a slow read
        self._known[uid] = Known(uid, record.id, dimension or record.payload["dimension"], protection, read_at)
        self._tags[gallery_tag(uid)] = uid

    def find(self, uid: object) -> Known | None:
        """Return what is known of a gallery; None if it is not protected."""
        return self._known.get(uid) if isinstance(uid, str) else None

    def of_tag(self, tag: bytes | None) -> Known | None:
        """Return what is known of the gallery whose ids begin with a tag."""
        return self._known.get(self._tags.get(tag, "")) if tag is not None else None

    async def current(self, uid: str) -> Known:
        """Return a gallery as it is now, or was a short time ago."""
        known = self._known[uid]
        if self._engine.exclusive or time.monotonic() - known.read_at < MAX_AGE_S:
            return known
        return await self.read(uid)

    async def read(self, uid: str) -> Known:
        """Read the state of a gallery. One that is deleted keeps its last state."""
        began, known = time.monotonic(), self._known[uid]
        found = (await self._engine.get(META, [known.record])).get(known.record)
        if found is not None and found.payload["gallery"] == uid:
            self.learn(found, began)
        return self._known[uid]

    async def forms(self, known: Known, *, vectors: bool) -> list[Form]:
        """Return the stored forms of a gallery's points, in the order in which they are looked through.

        While it is being re-keyed: the old one, that of copies that do not count yet, and the new one.
        """
        protection = known.protection
        newest = await self.form(known, protection.latest, vectors=vectors)
        if protection.following is None:
            return [newest]
        old = await self.form(known, protection.current, vectors=vectors)
        return [old, Form(newest.uid, newest.keys, True, newest.rotation), newest]

    async def form(self, known: Known, generation: Generation, *, vectors: bool) -> Form:
        """Return one stored form, with its rotation if it is needed for ``vectors``."""
        named = known.uid, generation
        keys = await self._keys_of(*named)
        if not vectors:
            return Form(known.uid, keys)

        async def draw() -> Rotation:
            return await asyncio.to_thread(Rotation, keys.rotation, known.dimension)

        return Form(known.uid, keys, rotation=await self._rotations.made(named, draw, lambda one: one.size))

    async def of_store(self, key: str = "") -> GenerationKeys:
        """Return the keys for records of the meta collection, by default under the current master key."""
        return await self._keys_of("", Generation(key or await self.current_key(), OF_STORE, salt=""))

    async def current_key(self) -> str:
        """Return the id of the current master key.

        Raises:
            ProtectionKeyRefused: there are no keys.
            StoreUnavailable: their source fails.
        """
        if self.keys is None:
            raise missing_key("")
        keys = self.keys
        return await asyncio.to_thread(asked, lambda: str(keys.current))

    async def check_value(self, key: str) -> str:
        """Return the check value of a master key.

        Raises:
            ProtectionKeyRefused: it is missing.
        """
        if self.keys is None:
            raise missing_key(key)
        return await asyncio.to_thread(key_check, self.keys, key)

    async def check(self, key: str, given: str) -> None:
        """Compare the check value of a master key with the one that the store has.

        Raises:
            ProtectionKeyRefused: it is another key than the store was made with.
            StoreCorrupt: the store has none.
        """
        expected = self.checks.get(key)
        if expected is None:
            identifier = point_id(CHECK, key)
            record = (await self._engine.get(META, [identifier])).get(identifier)
            if record is None:
                raise unchecked(key)
            expected = str(record.payload["check"])
        compare_checks(key, given, expected)
        self.checks[key] = expected

    async def _keys_of(self, uid: str, generation: Generation) -> GenerationKeys:
        async def derive() -> GenerationKeys:
            if self.keys is None:
                raise missing_key(generation.key)
            derived, check = await asyncio.to_thread(derived_with_check, self.keys, generation, uid)
            # Also in a store that was opened long ago: the master key may have been exchanged since.
            await self.check(generation.key, check)
            return derived

        return await self._derived.made((uid, generation), derive, lambda keys: 1)


def missing_key(key: str) -> ProtectionKeyRefused:
    """Return the error for a store that was opened without protection keys."""
    which = f"the protection key {key!r}" if key else "protection keys"
    return ProtectionKeyRefused(
        f"this needs {which}, and the store was opened without any; give the file of keys "
        "(SAMEFACE_PROTECTION__KEYS_FILE)",
        metadata={"key": key},
    )


def unchecked(key: str) -> StoreCorrupt:
    """Return the error for a master key in use that the store has no check value of."""
    return StoreCorrupt(
        f"the check value of the protection key {key!r} was removed from the store, so a wrong key would not be "
        "noticed: restore a backup",
        metadata={"key": key},
    )


class _Remembered(Generic[Name, Value]):
    """Keeps the values that were used last, up to a total weight."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[Name, tuple[Value, int]] = OrderedDict()
        self._weight = 0
        self._making: dict[Name, asyncio.Task[Value]] = {}

    async def made(
        self, name: Name, make: Callable[[], Coroutine[Any, Any, Value]], weight: Callable[[Value], int]
    ) -> Value:
        """Return a value. If it is not kept, it is made once, however many calls wait for it."""
        if name in self._values:
            self._values.move_to_end(name)
            return self._values[name][0]
        if name not in self._making:
            self._making[name] = asyncio.create_task(make())
            self._making[name].add_done_callback(lambda done: self._end(name, done, weight))
        return await asyncio.shield(self._making[name])

    def _end(self, name: Name, done: asyncio.Task[Value], weight: Callable[[Value], int]) -> None:
        del self._making[name]
        if not done.cancelled() and done.exception() is None:
            self._keep(name, done.result(), weight(done.result()))

    def _keep(self, name: Name, value: Value, weight: int) -> None:
        self._weight += weight - self._values.pop(name, (value, 0))[1]
        self._values[name] = value, weight
        while self._weight > self._most and len(self._values) > 1:
            self._weight -= self._values.popitem(last=False)[1][1]
