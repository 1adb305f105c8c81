"""The meta collection of a store with protected galleries.

Fields of its records that may name a person are sealed under the current master key: display names of protected
galleries, and whom receipts and notes of moves are about. The last two stay when their gallery is deleted. So they are
sealed for all galleries, once the store has had a protected one.

The collection also holds a check value of every master key, so that another key of the same id is noticed before
anything is written with it.
"""

import logging
import time
from collections.abc import Sequence

from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import ProtectionKeyRefused
from sameface_qdrant.store.conditional_write import REVISION
from sameface_qdrant.store.payloads import GALLERY, META, RECEIPT, SECRET, UNFINISHED
from sameface_qdrant.store.protection.derived import GenerationKeys
from sameface_qdrant.store.protection.points import (
    KEY_MARK,
    NAMING,
    opened_record,
    sealed_record,
    sealed_text,
    unnamed_record,
)
from sameface_qdrant.store.protection.sealing import generation_of
from sameface_qdrant.store.protection.state import CHECK, Protections, missing_key, unchecked
from sameface_qdrant.values.ids import point_id
from sameface_qdrant.values.protection import protection_of
from sameface_qdrant.values.schema import PROTECTED, stamped

PAGE = 256

log = logging.getLogger(__name__)


class ProtectedRecords:
    """Reads and writes the meta collection."""

    def __init__(self, engine: Engine, protections: Protections) -> None:
        self._engine = engine
        self._protections = protections

    async def check_keys(self) -> None:
        """Check that the keys are those that the store was made with. Nothing is written.

        Raises:
            ProtectionKeyRefused: a key that records need is missing, or a key is another one than before.
            StoreCorrupt: the check value of a key was removed.
        """
        checks, used = await self._checks_and_used()
        for key in sorted(checks):
            try:
                check = await self._protections.check_value(key)
            except ProtectionKeyRefused:
                if key in used or await self._seals(key):
                    raise
                continue
            await self._protections.check(key, check)
        if missing := sorted(used - checks):
            raise unchecked(missing[0])

    async def needed_keys(self) -> set[str]:
        """Return the ids of the master keys without which something in the store cannot be read."""
        checks, used = await self._checks_and_used()
        return used | {key for key in checks if await self._seals(key)}

    async def _seals(self, key: str) -> bool:
        """Return whether names in the meta collection are sealed under a master key."""
        return bool(await self._engine.count(META, Where({"digest": KEY_MARK + key})))

    async def _checks_and_used(self) -> tuple[set[str], set[str]]:
        """Return the master keys with check values, and those that points of galleries are stored under."""
        checks: set[str] = set()
        used: set[str] = set()
        start: str | None = None
        while True:
            where = Where({}, among={"kind": (CHECK, GALLERY, UNFINISHED)})
            points, start = await self._engine.scroll(META, where, PAGE, start)
            for payload in (point.payload for point in points):
                if payload["kind"] == CHECK:
                    checks.add(str(payload["key"]))
                elif (protection := protection_of(payload.get("protection"))) is not None:
                    used.update(protection.keys)
            if start is None:
                return checks, used

    async def activate(self, key: str) -> None:
        """Store the check value of a key before its first use, and keep older releases out.

        Raises:
            ProtectionKeyRefused: the store knows another key of the same id.
        """
        check = await self._protections.check_value(key)
        if key in self._protections.checks:
            await self._protections.check(key, check)
            return
        identifier = point_id(CHECK, key)
        if await self._engine.get(META, [identifier]):
            await self._protections.check(key, check)
            return
        payload = {"kind": CHECK, "gallery": "", "identity": "", "key": key, "check": check}
        # First this, and durable: where a check value is, older releases are kept out.
        (secret,), _ = await self._engine.scroll(META, Where({"kind": SECRET}), 1)
        raised = {"schema": stamped(secret.payload, PROTECTED)["schema"]}
        await self._engine.set_payload(META, Where({"kind": SECRET}), raised)
        await self._engine.commit(META)
        await self._engine.upsert(META, [Point(identifier, stamped(payload, PROTECTED))], insert_only=True)
        await self._protections.check(key, check)
        await self._engine.commit(META)

    async def get(self, ids: Sequence[str], *, with_vector: bool) -> dict[str, Point]:
        """See `Engine.get`."""
        began = time.monotonic()
        found = await self._engine.get(META, ids, with_vector=with_vector)
        return {key: await self._opened(point, began) for key, point in found.items()}

    async def scroll(
        self, where: Where, limit: int, start: str | None, *, strict: bool
    ) -> tuple[list[Point], str | None]:
        """See `Engine.scroll`.

        One key that this service lacks must not stop what concerns all galleries. So a gallery under such a key has an
        empty display name, and receipts under it are left out, unless ``strict`` is set.
        """
        began = time.monotonic()
        points, following = await self._engine.scroll(META, where, limit, start)
        opened: list[Point] = []
        left_out: dict[str, int] = {}
        for point in points:
            try:
                opened.append(await self._opened(point, began))
            except ProtectionKeyRefused as error:
                kind, key = point.payload["kind"], str(error.metadata.get("key", ""))
                if strict or kind not in (GALLERY, RECEIPT):
                    raise
                if kind == GALLERY:
                    opened.append(unnamed_record(point))
                else:
                    left_out[key] = left_out.get(key, 0) + 1
        for key, count in left_out.items():
            log.warning("%d receipts cannot be read without the protection key %r", count, key)
        return opened, following

    async def upsert(
        self, points: Sequence[Point], *, insert_only: bool, only_if: Where | None, companions: Sequence[Point]
    ) -> None:
        """See `Engine.upsert`."""
        sealed = [await self._sealed(point) for point in points]
        await self._engine.upsert(META, sealed, insert_only=insert_only, only_if=only_if, companions=companions)
        if insert_only or only_if is not None:
            return  # whoever wrote it reads it back
        for point in points:
            self._protections.learn(point, time.monotonic())

    async def seal_again(self, kind: str) -> None:
        """Seal the records of a kind under the current key, those under other keys."""
        key = await self._protections.current_key()
        current: GenerationKeys | None = None
        start: str | None = None
        while True:
            points, start = await self._engine.scroll(META, Where({"kind": kind}), PAGE, start)
            for point in points:
                text = sealed_text(point.payload)
                if text is None or generation_of(text).key == key:
                    continue
                if current is None:
                    await self.activate(key)
                    current = await self._protections.of_store(key)
                opened = opened_record(point, (await self._keys_of(text)).seal)
                again = sealed_record(opened, current.seal, current.generation)
                # Not if it was changed meanwhile, maybe by a service with another current key.
                revision = {REVISION: point.payload[REVISION]} if REVISION in point.payload else {}
                unchanged = Where({"digest": point.payload["digest"], **revision})
                await self._engine.upsert(META, [again], only_if=unchanged)
            if start is None:
                return

    async def _opened(self, point: Point, read_at: float) -> Point:
        self._protections.learn(point, read_at)
        text = sealed_text(point.payload)
        if text is not None:
            return opened_record(point, (await self._keys_of(text)).seal)
        protection = protection_of(point.payload.get("protection"))
        if protection is not None and self._protections.keys is None:
            raise missing_key(protection.latest.key)
        return point

    async def _sealed(self, point: Point) -> Point:
        kind = point.payload.get("kind")
        if kind not in NAMING:
            return point
        protection = protection_of(point.payload.get("protection"))
        if protection is None and (kind == GALLERY or not self._protections.checks):
            return point
        key = await self._protections.current_key()
        if key not in self._protections.checks:
            await self.activate(key)
        keys = await self._protections.of_store(key)
        return sealed_record(point, keys.seal, keys.generation)

    async def _keys_of(self, text: str) -> GenerationKeys:
        return await self._protections.of_store(generation_of(text).key)
