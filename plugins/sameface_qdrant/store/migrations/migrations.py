"""Migrations of galleries to another embedding contract: create, watch, promote, roll back, finish."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from sameface_qdrant.engines.base import Point
from sameface_qdrant.errors import GalleryNotFound, SamefaceError
from sameface_qdrant.policy import check_operating_points
from sameface_qdrant.store.clock import time_now
from sameface_qdrant.store.migration_link import link_of
from sameface_qdrant.store.migrations.beginning import (
    begun,
    check_begin,
    check_rate,
    check_same,
    id_of,
    names,
    unstored,
)
from sameface_qdrant.store.migrations.exchange import Exchange
from sameface_qdrant.store.migrations.fence import Gate
from sameface_qdrant.store.migrations.mapped import forget_mapped, swept
from sameface_qdrant.store.migrations.mapping import Mapper
from sameface_qdrant.store.migrations.plan import planned, seconds_for
from sameface_qdrant.store.migrations.records import Stored, migration_payload
from sameface_qdrant.store.migrations.state import MigrationRecords
from sameface_qdrant.store.migrations.steps import check_etag, moved, not_yet, settled
from sameface_qdrant.store.migrations.worker import MigrationWorker
from sameface_qdrant.store.protection.state import LEASE_S
from sameface_qdrant.store.write_lock import WriteLock, runs_to_completion
from sameface_qdrant.values.argument_types import checks_arguments
from sameface_qdrant.values.gallery import OperatingPoint, PolicyChanges
from sameface_qdrant.values.migration import (
    DEFAULT_RATE,
    Migration,
    MigrationPlan,
    MigrationState,
    UnaskedChange,
)
from sameface_qdrant.values.paging import Page, check_page, continued
from sameface_qdrant.values.template_map import TemplateMap

if TYPE_CHECKING:
    from sameface_qdrant.store.galleries import Galleries

MARGIN_S = 1.0
"""How much longer than the record that a decision uses is old a decision may take."""


@checks_arguments
class Migrations:
    """Reached as ``store.migrations``."""

    def __init__(self, galleries: "Galleries", write_lock: WriteLock) -> None:
        self._galleries = galleries
        self._write_lock = write_lock
        self._records = MigrationRecords(galleries.contracts, galleries.memory, write_lock)
        self._engine = self._records.engine
        self._beginning = asyncio.Lock()
        """Calls with one request id would mark the same migration as busy."""
        self.gate = Gate(galleries.contracts, self._records)
        lease_s = 0.0 if self._engine.exclusive else max(LEASE_S, galleries.memory.max_age_s + MARGIN_S)
        self._exchange = Exchange(self._records, self.gate, write_lock, galleries.erasures, lease_s)
        mapper = Mapper(self._records, write_lock, lease_s)
        self.worker = MigrationWorker(self._records, self._exchange, self.gate, mapper)

    @runs_to_completion
    async def create(
        self,
        gallery: str,
        template_map: TemplateMap,
        *,
        operating_points: Sequence[OperatingPoint] = (),
        rate: float = DEFAULT_RATE,
        request_id: str = "",
        author: str = "",
        validate_only: bool = False,
    ) -> Migration:
        """Begin the migration of a gallery. Its templates are mapped in the background from now on.

        Args:
            gallery: its id.
            template_map: from the gallery's contract to the new one.
            operating_points: the model card's points for the new contract.
            rate: templates a second that are mapped at most, `LOWEST_RATE` to `HIGHEST_RATE`.
            request_id: a repeat with the same one returns the first call's migration.
            author: stored with the migration.
            validate_only: check everything, and begin nothing.

        Raises:
            GalleryNotFound: there is no such gallery.
            MapMismatch: the map is for another contract than the gallery's.
            MigrationInProgress: the gallery is being migrated, re-keyed or imported already.
            RequestIdReused: a call with this request id has begun a migration to another version, or at another rate.
            InvalidArgument: the rate or an operating point is out of range.
        """
        points = check_operating_points(operating_points)
        check_rate(rate)
        record = await self._records.gallery(gallery)
        uid = str(record.payload["gallery"])
        migration = id_of(uid, request_id)
        earlier = await self._earlier(record, request_id)
        if earlier is not None:
            check_same(earlier, request_id, template_map.new.version, rate)
            return await self._current(earlier)
        check_begin(record.payload, template_map)
        payload = migration_payload(
            migration,
            uid,
            gallery,
            link_of(record.payload).contract,
            template_map,
            rate=float(rate),
            operating_points=points,
            author=author,
            request_id=request_id,
            now=time_now(),
        )
        if validate_only:
            return unstored(payload)
        contract = template_map.new
        await self._engine.ensure(contract.key, contract.dimension)
        async with self._beginning:
            self.worker.busy.add((uid, migration))  # its record comes before that of the gallery
            try:
                stored = await begun(self._records, gallery, uid, payload, template_map)
            finally:
                self.worker.busy.discard((uid, migration))
        self.worker.wake()
        return await self._shown(stored)

    async def plan(
        self,
        gallery: str,
        template_map: TemplateMap,
        *,
        operating_points: Sequence[OperatingPoint] = (),
        rate: float = DEFAULT_RATE,
    ) -> MigrationPlan:
        """Return what a migration would do. Nothing is changed.

        Raises:
            GalleryNotFound, MapMismatch, MigrationInProgress, InvalidArgument: as `create`.
        """
        check_rate(rate)
        record = await self._records.gallery(gallery)
        check_begin(record.payload, template_map)
        points = check_operating_points(operating_points)
        return await planned(self._records, record, template_map, points, rate)

    async def get(self, gallery: str, migration: str) -> Migration:
        """Return a migration as it is now, or raise GalleryNotFound or MigrationNotFound."""
        _, stored = await self._records.migration(gallery, migration)
        return await self._current(stored)

    async def earlier(self, gallery: str, request_id: str, *, version: int, rate: float) -> Migration | None:
        """Return the migration that an earlier `create` with this request id has begun; None if there was none.

        Args:
            gallery: its id.
            request_id: of the call; without one there was none.
            version: of the new contract; 0 for any.
            rate: as for `create`.

        Raises:
            GalleryNotFound: there is no such gallery.
            RequestIdReused: it was begun with another version or rate.
        """
        stored = await self._earlier(await self._records.gallery(gallery), request_id)
        if stored is None:
            return None
        check_same(stored, request_id, version, rate)
        return await self._current(stored)

    @continued
    async def list(self, *, gallery: str = "", page_size: int = 100, page_token: str = "") -> Page[Migration]:
        """Return one page of migrations, of one gallery or of all, in a stable order."""
        start = check_page(page_size, page_token)
        where = {"of_gallery": gallery} if gallery else {}
        found, following = await self._records.page(where, page_size, start)
        items = []
        for stored in found:
            try:
                items.append(await self._current(stored))
            except GalleryNotFound:
                continue  # deleted, and its migration is about to be
        return Page(tuple(items), following or "")

    @runs_to_completion
    async def pause(self, gallery: str, migration: str, *, etag: str = "") -> Migration:
        """Let the mapping stand still. Calls go on as before.

        Raises:
            GalleryNotFound, MigrationNotFound: there is no such gallery or migration.
            MigrationEnded: it has ended.
            ConcurrentUpdate: ``etag`` is given and not the present one.
        """
        _, stored = await self._records.migration(gallery, migration)
        return await self._shown(
            await moved(self._records, stored, etag, MigrationState.MAPPING, MigrationState.PAUSED)
        )

    @runs_to_completion
    async def resume(self, gallery: str, migration: str, *, etag: str = "") -> Migration:
        """Let a paused mapping go on. Raises as `pause`."""
        _, stored = await self._records.migration(gallery, migration)
        resumed = await moved(self._records, stored, etag, MigrationState.PAUSED, MigrationState.MAPPING)
        self.worker.wake()
        return await self._shown(resumed)

    @runs_to_completion
    async def promote(
        self,
        gallery: str,
        migration: str,
        *,
        policy: PolicyChanges | None = None,
        drop_identity_thresholds: bool = False,
        author: str = "",
        etag: str = "",
    ) -> Migration:
        """Let the gallery decide under the new contract.

        Thresholds that the policy sets belong to the old contract: they are reset, unless ``policy`` gives new ones.

        Raises:
            GalleryNotFound, MigrationNotFound: there is no such gallery or migration.
            MigrationEnded: it has ended.
            MigrationInProgress: templates are not mapped yet.
            ThresholdNotCalibrated: no threshold is known under the new contract, or none for mapped templates.
            InvalidArgument: identities have thresholds of their own, and ``drop_identity_thresholds`` is not set.
            StoreUnavailable: what was changed meanwhile could not be brought over in time; repeat the call.
            ConcurrentUpdate: ``etag`` is given and not the present one, or another call promotes it.
        """
        stored = await settled(self._records, self.worker, gallery, migration)
        check_etag(stored, etag)
        if stored.state is MigrationState.PROMOTED:
            return await self._shown(stored)
        if stored.state is not MigrationState.MAPPED:
            raise not_yet(stored, "promote it when its state is MAPPED")
        changes = PolicyChanges() if policy is None else policy
        try:
            await self._exchange.promote(
                stored, changes, drop_identity_thresholds=drop_identity_thresholds, author=author
            )
            return await self._shown(await self.worker.note_promotion(stored))
        finally:
            await self._at_rest(gallery)

    @runs_to_completion
    async def roll_back(
        self, gallery: str, migration: str, *, discard_new: bool = False, author: str = "", etag: str = ""
    ) -> Migration:
        """Let the gallery decide under the old contract again, and erase the new templates.

        Raises:
            GalleryNotFound, MigrationNotFound: there is no such gallery or migration.
            MigrationEnded: it has ended, so the old templates are erased.
            MigrationInProgress: it was not promoted; cancel it.
            InvalidArgument: templates were enrolled since that have no form under the old contract, and
                ``discard_new`` is not set.
            StoreUnavailable, ConcurrentUpdate: as `promote`.
        """
        stored = await settled(self._records, self.worker, gallery, migration, MigrationState.ROLLED_BACK)
        if stored.state.ended:
            return await self._shown(stored)
        check_etag(stored, etag)
        if stored.state is not MigrationState.PROMOTED:
            raise not_yet(stored, "cancel it instead")
        try:
            with self.worker.alone(stored):
                await self._exchange.roll_back(stored, discard_new=discard_new, author=author)
                return await self._shown(await self.worker.end(stored, MigrationState.ROLLED_BACK))
        finally:
            await self._at_rest(gallery)  # if it was refused

    @runs_to_completion
    async def cancel(self, gallery: str, migration: str, *, etag: str = "") -> Migration:
        """Give a migration up that was not promoted, and erase the new templates.

        Raises:
            GalleryNotFound, MigrationNotFound, MigrationEnded, ConcurrentUpdate: as `pause`.
            MigrationInProgress: it was promoted; roll it back or finish it.
        """
        stored = await settled(self._records, self.worker, gallery, migration, MigrationState.CANCELLED)
        if stored.state.ended:
            return await self._shown(stored)
        check_etag(stored, etag)
        if stored.state is MigrationState.PROMOTED:
            raise not_yet(stored, "roll it back, or finish it")
        with self.worker.alone(stored):
            await self._exchange.begin_ending(stored, MigrationState.CANCELLED, promoted=False)
            return await self._shown(await self.worker.end(stored, MigrationState.CANCELLED))

    @runs_to_completion
    async def finish(self, gallery: str, migration: str, *, etag: str = "") -> Migration:
        """Erase the old templates, with a receipt. The migration cannot be rolled back any more.

        Raises:
            GalleryNotFound, MigrationNotFound, MigrationEnded, ConcurrentUpdate: as `pause`.
            MigrationInProgress: it was not promoted.
        """
        stored = await settled(self._records, self.worker, gallery, migration, MigrationState.FINISHED)
        if stored.state.ended:
            return await self._shown(stored)
        check_etag(stored, etag)
        if stored.state is not MigrationState.PROMOTED:
            raise not_yet(stored, "promote it first, or cancel it")
        with self.worker.alone(stored):
            await self._exchange.begin_ending(stored, MigrationState.FINISHED, promoted=True)
            return await self._shown(await self.worker.end(stored, MigrationState.FINISHED))

    def observe(self, observer: Callable[[UnaskedChange], None]) -> None:
        """Call ``observer`` from now on after each change that no call has made, for instance for an audit log.

        It is called on the event loop of the store, and must neither wait nor raise. Where several services share a
        store, it is called in the one that has made the change. A crash right after a change may lose the call.
        """
        self._records.observe = observer

    # For the store.

    def wake(self) -> None:
        """Go on in the background with what was interrupted."""
        self.worker.wake()

    async def aclose(self) -> None:
        """Stop the background work. Another service, or the next start, goes on."""
        await self.worker.aclose()

    async def sweep(self) -> None:
        """Put right in all galleries what calls have left that were cut off."""
        await swept(self._records, self._exchange.resting)

    async def forget_mapped(self, gallery: str) -> None:
        """Note that a gallery has no mapped template any more, if that is so."""
        await forget_mapped(self._records, gallery)

    # How.

    async def _at_rest(self, gallery: str) -> None:
        """Put the secondary embeddings of a protected gallery to rest. The work in the background does it otherwise."""
        with suppress(SamefaceError):
            await self._exchange.resting.rest(gallery)
        self.worker.wake()

    async def _earlier(self, gallery: Point, request_id: str) -> Stored | None:
        """Return the migration of a call with this request id, if it has begun: the gallery's record decides."""
        uid = str(gallery.payload["gallery"])
        found = await self._records.find(uid, id_of(uid, request_id)) if request_id else None
        return found if found is not None and (found.state.ended or names(gallery.payload, found)) else None

    async def _current(self, stored: Stored) -> Migration:
        if stored.state is MigrationState.MAPPING:
            self.worker.wake()  # its worker may have crashed
        return await self._shown(stored)

    async def _shown(self, stored: Stored) -> Migration:
        if stored.state.ended:
            counts = stored.counts
            return stored.shown(counts.get("total", 0), counts.get("mapped", 0), counts.get("native", 0))
        total, mapped, native = await self.worker.counts(stored)
        left = max(0, total - mapped - native)
        end = time.time() + seconds_for(left, stored.rate) if stored.state is MigrationState.MAPPING else None
        return stored.shown(total, mapped, native, end)
