"""Exchanges the contract of a gallery: promotion, rollback, and what ends a migration."""

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from sameface_qdrant.engines.base import Where
from sameface_qdrant.errors import ConcurrentUpdate, InvalidArgument, StoreUnavailable
from sameface_qdrant.store import payloads
from sameface_qdrant.store.conditional_write import confirmed
from sameface_qdrant.store.erasure import Removal
from sameface_qdrant.store.filters import gallery_filter
from sameface_qdrant.store.migration_link import (
    KEPT,
    LINK,
    MAPPED,
    Link,
    contract_payload,
    link_of,
    link_payload,
    mapped_payload,
    points_payload,
    secondary_of,
)
from sameface_qdrant.store.migrations.fence import Gate, Standing, claimed
from sameface_qdrant.store.migrations.mapped import mapped_count
from sameface_qdrant.store.migrations.passes import Direction, Pass
from sameface_qdrant.store.migrations.records import Stored, kept_of, kept_payload
from sameface_qdrant.store.migrations.resting import Resting
from sameface_qdrant.store.migrations.state import Fields, MigrationRecords
from sameface_qdrant.store.migrations.thresholds import check_calibrated, promoted_policy, restored_policy
from sameface_qdrant.store.payloads import Payload
from sameface_qdrant.store.write_lock import WriteLock
from sameface_qdrant.values.display import counted
from sameface_qdrant.values.erasure import ErasedResource
from sameface_qdrant.values.gallery import MappedTemplates, MigrationLink, PolicyChanges
from sameface_qdrant.values.migration import MigrationState

if TYPE_CHECKING:
    from sameface_qdrant.store.erasure import Erasures

BEFORE, BEHIND = 4, 8
"""Most passes before the fence, and behind it."""
BEFORE_RATE = 2000.0
"""Templates a second that are mapped before the fence at most: what was written since the mapping ended."""


class Exchange:
    """Promotes, rolls back and ends migrations."""

    def __init__(
        self, records: MigrationRecords, gate: Gate, write_lock: WriteLock, erasures: "Erasures", lease_s: float
    ) -> None:
        self._records, self._gate, self._write_lock, self._erasures = records, gate, write_lock, erasures
        self.lease_s = lease_s
        """How long it may take until every service has noticed a change of a gallery's record."""
        self._engine = records.engine
        self.resting = Resting(records.contracts, write_lock)

    async def promote(
        self, stored: Stored, changes: PolicyChanges, *, drop_identity_thresholds: bool, author: str
    ) -> None:
        """Let a gallery decide under the new contract. `Migrations.promote` lists the errors."""
        record = await self._records.gallery(stored.gallery)
        link = link_of(record.payload)
        check_link(link.migration, stored, promoted=False)
        template_map = await self._records.map(stored.map_sha256)
        direction = Direction(stored.uid, stored.old, stored.new, template_map)
        await self._check_promotion(stored, record.payload, changes, drop_identity_thresholds)
        async with self._made_alike(direction, link) as fence:
            if fence.changed.ever:
                await self._check_promotion(stored, record.payload, changes, drop_identity_thresholds)
            mapped = await mapped_count(self._engine, stored.new, stored.uid)

            def change(present: Payload) -> Fields:
                now = self._still(fence, present)
                assert now.migration is not None
                policy = promoted_policy(payloads.policy_of(present["policy"]), changes, author, datetime.now(UTC))
                check_calibrated(policy, stored.operating_points, stored.mapped_operating_points, mapped)
                held = MappedTemplates(stored.map_sha256, stored.mapped_operating_points) if mapped else None
                return {
                    LINK: link_payload(dataclasses.replace(now.migration, promoted=True)),
                    "contract": contract_payload(stored.new),
                    "policy": {**present["policy"], **payloads.policy_payload(policy)},
                    "operating_points": points_payload(stored.operating_points),
                    MAPPED: mapped_payload(held),
                    # What a roll back restores, in the same write.
                    KEPT: kept_payload(present, changes),
                }

            await self._records.change_gallery(stored.gallery, stored.uid, change)

    async def roll_back(self, stored: Stored, *, discard_new: bool, author: str) -> None:
        """Let a gallery decide under the old contract again. `Migrations.roll_back` lists the errors."""
        record = await self._records.gallery(stored.gallery)
        link = link_of(record.payload)
        check_link(link.migration, stored, promoted=True)
        direction = Direction(stored.uid, stored.new, stored.old, None)
        kept = kept_of(record.payload[KEPT])
        async with self._made_alike(direction, link) as fence:
            await self._records.contracts.end_erasures(link)
            check_complete(await self._without_counterpart(direction), discard_new)

            def change(present: Payload) -> Fields:
                now = self._still(fence, present)
                assert now.migration is not None
                policy = restored_policy(
                    payloads.policy_of(present["policy"]), kept.policy, kept.promoted, author, datetime.now(UTC)
                )
                return {
                    LINK: link_payload(
                        dataclasses.replace(now.migration, promoted=False), ending=MigrationState.ROLLED_BACK
                    ),
                    "contract": contract_payload(stored.old),
                    "policy": {**present["policy"], **payloads.policy_payload(policy)},
                    "operating_points": points_payload(kept.operating_points),
                    MAPPED: mapped_payload(kept.mapped),
                    KEPT: None,
                }

            await self._records.change_gallery(stored.gallery, stored.uid, change)

    async def begin_ending(self, stored: Stored, ending: MigrationState, *, promoted: bool) -> None:
        """Note that the secondary templates of a gallery are no longer needed."""

        def change(present: Payload) -> Fields | None:
            now = link_of(present)
            if now.ending is ending:
                return None
            check_link(now.migration, stored, promoted)
            if now.fence is not None and not self._gate.is_old(now.fence):
                raise StoreUnavailable(
                    f"another call exchanges the contract of the gallery {stored.gallery!r}; repeat the call",
                    metadata={"gallery": stored.gallery},
                    retry_after_s=2.0,
                )
            assert now.migration is not None
            return {LINK: link_payload(now.migration, ending=ending)}

        await self._records.change_gallery(stored.gallery, stored.uid, change)

    async def erase_secondary(self, stored: Stored) -> None:
        """Erase the secondary templates of a gallery whose migration is being ended, with a receipt."""
        link = link_of((await self._records.gallery(stored.gallery)).payload)
        if link.migration is None or link.migration.id != stored.id or link.ending is None:
            return
        contract = secondary_of(link.migration)
        await self._engine.ensure(contract.key, contract.dimension)
        everything = Where({"gallery": stored.uid})

        async def find() -> Removal | None:
            # Each time: another service may have ended this migration, and the gallery may be in the next one.
            now = link_of((await self._records.gallery(stored.gallery)).payload)
            if (now.uid, now.migration, now.ending) != (link.uid, link.migration, link.ending):
                return None
            templates = await self._engine.count(contract.key, gallery_filter(stored.uid, payloads.TEMPLATE))
            records = await self._engine.count(contract.key, gallery_filter(stored.uid, payloads.IDENTITY))
            if not templates and not records:
                return None
            return Removal(
                contract.key,
                contract.dimension,
                everything,
                # It names no template: nobody is erased, so an import restores what is there under the other contract.
                ErasedResource.TEMPLATE,
                stored.gallery,
                templates=templates,
                records=records,
            )

        await self._erasures.erase(find)

    async def take_link(self, stored: Stored) -> None:
        """Take a migration that has ended from the record of its gallery."""
        link = link_of((await self._records.gallery(stored.gallery)).payload)
        mapped = await mapped_count(self._engine, link.contract, stored.uid)

        def change(present: Payload) -> Fields | None:
            now = link_of(present)
            if now.migration is None or now.migration.id != stored.id:
                return None
            return {LINK: None, KEPT: None, **({} if mapped else {MAPPED: None})}

        await self._records.change_gallery(stored.gallery, stored.uid, change)

    @asynccontextmanager
    async def _made_alike(self, direction: Direction, link: Link) -> AsyncIterator[Standing]:
        """Make both collections alike, and keep them so: no other call exchanges the contract, and none writes.

        Where only this process writes, what was changed since the beginning is known, and the rest need not be looked
        at again behind the fence.

        Raises:
            ConcurrentUpdate: another call exchanges the contract.
            StoreUnavailable: they still differ; somebody writes in spite of the fence.
        """
        async with claimed(self._gate, self._records.contracts, self._records, link) as fence:
            await self._pass(direction, fence, BEFORE_RATE).until_clean(BEFORE)
            await self.resting.wake(link.uid, direction.secondary, fence.renew)
            await fence.shut(self.lease_s)
            if not await self._pass(direction, fence, 0.0).until_clean(BEHIND, fence.changed.taken):
                raise _unsettled()
            await self.resting.wake(link.uid, direction.secondary, fence.renew)
            yield fence

    @staticmethod
    def _still(fence: Standing, record: Payload) -> Link:
        """Check, at the moment of the exchange, that both collections are still alike."""
        if fence.changed.ids:
            raise _unsettled()
        return fence.check(record)

    async def _without_counterpart(self, direction: Direction) -> int:
        """Return how many templates have none in the secondary collection, once both are alike."""
        templates = Where({"gallery": direction.uid, "kind": payloads.TEMPLATE})
        primary, secondary = direction.primary.key, direction.secondary.key
        counting = confirmed(self._engine, templates)
        return await self._engine.count(primary, counting) - await self._engine.count(secondary, templates)

    def _pass(self, direction: Direction, fence: Standing, rate: float) -> Pass:
        return Pass(
            self._records.below,
            self._write_lock,
            direction,
            live=fence.is_live,
            stale=partial(self._records.contracts.stale_copies, fence.link),
            rate=rate,
            go_on=fence.renew,
        )

    async def _check_promotion(
        self, stored: Stored, record: Payload, changes: PolicyChanges, drop_identity_thresholds: bool
    ) -> None:
        policy = promoted_policy(payloads.policy_of(record["policy"]), changes, "", datetime.now(UTC))
        mapped = await mapped_count(self._engine, stored.new, stored.uid)
        check_calibrated(policy, stored.operating_points, stored.mapped_operating_points, mapped)
        if drop_identity_thresholds:
            return
        await self._engine.ensure(stored.old.key, stored.old.dimension)
        held = await identity_thresholds(self._records, stored.old.key, stored.uid)
        if held:
            raise InvalidArgument(
                f"{counted(held, 'identity has', 'identities have')} a verify_threshold that was set under the old "
                "contract; measure them again under the new one, and set drop_identity_thresholds",
                metadata={"field": "drop_identity_thresholds", "identities": held},
            )


async def identity_thresholds(records: MigrationRecords, collection: str, uid: str) -> int:
    """Return how many identities of a gallery have a threshold of their own."""
    held, start = 0, None
    while True:
        points, start = await records.engine.scroll(collection, gallery_filter(uid, payloads.IDENTITY), 1000, start)
        held += sum(point.payload.get("verify_threshold") is not None for point in points)
        if start is None:
            return held


def check_complete(lost: int, discard_new: bool) -> None:
    """Raise InvalidArgument if templates would be lost by a rollback, and nobody said that they may be."""
    if lost and not discard_new:
        raise InvalidArgument(
            f"{counted(lost, 'template was', 'templates were')} enrolled since the promotion and "
            "has no form under the old contract; set discard_new to lose what was enrolled, or stay with the new one",
            metadata={"field": "discard_new", "templates": lost},
        )


def check_link(link: MigrationLink | None, stored: Stored, promoted: bool) -> None:
    """Raise if a gallery's record does not name a migration in the expected state."""
    if link is None or link.id != stored.id or link.promoted is not promoted:
        raise ConcurrentUpdate(
            f"another call changes the migration of the gallery {stored.gallery!r}; read it again and repeat",
            metadata={"gallery": stored.gallery, "migration": stored.id},
        )


def _unsettled() -> StoreUnavailable:
    return StoreUnavailable(
        "the templates were still being changed behind the fence; repeat the call", retry_after_s=2.0
    )
