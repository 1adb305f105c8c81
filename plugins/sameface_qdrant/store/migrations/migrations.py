"""Migrations of galleries to another embedding contract: create, watch, promote, roll back, finish."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from sameface_qdrant.engines.base import Where
from sameface_qdrant.errors import (
    GalleryNotFound,
    InvalidArgument,
    MigrationEnded,
    MigrationInProgress,
    SamefaceError,
)
from sameface_qdrant.policy import check_operating_points
from sameface_qdrant.store import payloads
from sameface_qdrant.store.clock import time_now
from sameface_qdrant.store.migration_link import LINK, MAPPED, link_of
from sameface_qdrant.store.migrations.beginning import begun, check_begin, id_of, names, unstored
from sameface_qdrant.store.migrations.exchange import Exchange
from sameface_qdrant.store.migrations.fence import Gate
from sameface_qdrant.store.migrations.plan import planned
from sameface_qdrant.store.migrations.records import Stored, migration_payload
from sameface_qdrant.store.migrations.state import Fields, MigrationRecords
from sameface_qdrant.store.migrations.worker import MigrationWorker
from sameface_qdrant.store.payloads import META
from sameface_qdrant.store.protection.state import LEASE_S
from sameface_qdrant.store.write_lock import WriteLock, runs_to_completion
from sameface_qdrant.values.argument_types import checks_arguments
from sameface_qdrant.values.gallery import OperatingPoint, PolicyChanges
from sameface_qdrant.values.migration import (
    DEFAULT_RATE,
    HIGHEST_RATE,
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
        self.gate = Gate(galleries.contracts, self._records)
        lease_s = 0.0 if self._engine.exclusive else max(LEASE_S, galleries.memory.max_age_s + MARGIN_S)
        self._exchange = Exchange(self._records, self.gate, write_lock, galleries.erasures, lease_s)
        self.worker = MigrationWorker(self._records, self._exchange, self.gate, write_lock)

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
            rate: templates a second that are mapped at most.
            request_id: a repeat with the same one returns the first call's migration.
            author: stored with the migration.
            validate_only: check everything, and begin nothing.

        Raises:
            GalleryNotFound: there is no such gallery.
            MapMismatch: the map is for another contract than the gallery's.
            MigrationInProgress: the gallery is being migrated, re-keyed or imported already.
            InvalidArgument: the rate or an operating point is out of range.
        """
        points = check_operating_points(operating_points)
        if not (math.isfinite(rate) and 0 < rate <= HIGHEST_RATE):
            raise InvalidArgument(
                f"rate is {rate:g}; expected more than 0, and at most {HIGHEST_RATE:g}, templates a second",
                metadata={"field": "rate"},
            )
        record = await self._records.gallery(gallery)
        uid = str(record.payload["gallery"])
        migration = id_of(uid, request_id)
        earlier = await self._records.find(uid, migration) if request_id else None
        if earlier is not None and (earlier.state.ended or names(record.payload, earlier)):
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
        self.worker.busy.add((uid, migration))  # its record comes before that of the gallery
        try:
            stored = await begun(self._records, gallery, uid, payload, template_map)
        finally:
            self.worker.busy.discard((uid, migration))
        self.worker.wake()
        return await self._shown(stored)

    async def plan(
        self, gallery: str, template_map: TemplateMap, *, operating_points: Sequence[OperatingPoint] = ()
    ) -> MigrationPlan:
        """Return what a migration would do. Nothing is changed.

        Raises:
            GalleryNotFound, MapMismatch, MigrationInProgress: as `create`.
        """
        record = await self._records.gallery(gallery)
        check_begin(record.payload, template_map)
        points = check_operating_points(operating_points)
        return await planned(self._records, record, template_map, points)

    async def get(self, gallery: str, migration: str) -> Migration:
        """Return a migration as it is now, or raise GalleryNotFound or MigrationNotFound."""
        _, stored = await self._records.migration(gallery, migration)
        return await self._current(stored)

    async def earlier(self, gallery: str, request_id: str) -> Migration | None:
        """Return the migration that an earlier `create` with this request id has begun; None if there was none.

        Raises:
            GalleryNotFound: there is no such gallery.
        """
        uid = str((await self._records.gallery(gallery)).payload["gallery"])
        stored = await self._records.find(uid, id_of(uid, request_id)) if request_id else None
        return None if stored is None else await self._current(stored)

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
        return await self._shown(await self._move(stored, etag, MigrationState.MAPPING, MigrationState.PAUSED))

    @runs_to_completion
    async def resume(self, gallery: str, migration: str, *, etag: str = "") -> Migration:
        """Let a paused mapping go on. Raises as `pause`."""
        _, stored = await self._records.migration(gallery, migration)
        resumed = await self._move(stored, etag, MigrationState.PAUSED, MigrationState.MAPPING)
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
        stored = await self._settled(gallery, migration)
        _check_etag(stored, etag)
        if stored.state is MigrationState.PROMOTED:
            return await self._shown(stored)
        if stored.state is not MigrationState.MAPPED:
            raise _not_yet(stored, "promote it when its state is MAPPED")
        changes = PolicyChanges() if policy is None else policy
        await self._exchange.promote(stored, changes, drop_identity_thresholds=drop_identity_thresholds, author=author)
        return await self._shown(await self.worker.note_promotion(stored))

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
        stored = await self._settled(gallery, migration, MigrationState.ROLLED_BACK)
        if stored.state.ended:
            return await self._shown(stored)
        _check_etag(stored, etag)
        if stored.state is not MigrationState.PROMOTED:
            raise _not_yet(stored, "cancel it instead")
        await self._exchange.roll_back(stored, discard_new=discard_new, author=author)
        return await self._shown(await self.worker.end(stored, MigrationState.ROLLED_BACK))

    @runs_to_completion
    async def cancel(self, gallery: str, migration: str, *, etag: str = "") -> Migration:
        """Give a migration up that was not promoted, and erase the new templates.

        Raises:
            GalleryNotFound, MigrationNotFound, MigrationEnded, ConcurrentUpdate: as `pause`.
            MigrationInProgress: it was promoted; roll it back or finish it.
        """
        stored = await self._settled(gallery, migration, MigrationState.CANCELLED)
        if stored.state.ended:
            return await self._shown(stored)
        _check_etag(stored, etag)
        if stored.state is MigrationState.PROMOTED:
            raise _not_yet(stored, "roll it back, or finish it")
        await self._exchange.begin_ending(stored, MigrationState.CANCELLED, promoted=False)
        return await self._shown(await self.worker.end(stored, MigrationState.CANCELLED))

    @runs_to_completion
    async def finish(self, gallery: str, migration: str, *, etag: str = "") -> Migration:
        """Erase the old templates, with a receipt. The migration cannot be rolled back any more.

        Raises:
            GalleryNotFound, MigrationNotFound, MigrationEnded, ConcurrentUpdate: as `pause`.
            MigrationInProgress: it was not promoted.
        """
        stored = await self._settled(gallery, migration, MigrationState.FINISHED)
        if stored.state.ended:
            return await self._shown(stored)
        _check_etag(stored, etag)
        if stored.state is not MigrationState.PROMOTED:
            raise _not_yet(stored, "promote it first, or cancel it")
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

    async def forget_mapped_everywhere(self) -> None:
        """Note which galleries have no mapped template any more."""
        start: str | None = None
        while True:
            points, start = await self._engine.scroll(META, Where({"kind": payloads.GALLERY}), 200, start)
            for point in points:
                if point.payload.get(MAPPED) and not point.payload.get(LINK):
                    with suppress(SamefaceError):  # the next sweep looks again
                        await self.forget_mapped(str(point.payload["id"]))
            if start is None:
                return

    async def forget_mapped(self, gallery: str) -> None:
        """Note that a gallery has no mapped template any more, if that is so: its decisions need one search then."""
        record = await self._records.gallery(gallery)
        link = link_of(record.payload)
        if link.migration is not None or not record.payload.get(MAPPED):
            return
        if await self._exchange.mapped(link.contract, link.uid):
            return
        await self._records.change_gallery(
            gallery, link.uid, lambda present: None if present.get(LINK) else {MAPPED: None}
        )

    # How.

    async def _settled(self, gallery: str, migration: str, end: MigrationState | None = None) -> Stored:
        """Return a migration with the state that the gallery's record tells.

        Raises:
            MigrationEnded: it has ended, in another way than ``end``: a repeat of the call that ended it is answered.
        """
        record, stored = await self._records.migration(gallery, migration)
        link = link_of(record.payload)
        if not stored.state.ended and link.migration is not None and link.migration.id == stored.id:
            if link.ending is not None:
                self.worker.wake()
                raise MigrationInProgress(
                    f"the migration {stored.id} is being ended: {link.ending.value}; read it again after a while",
                    metadata={"gallery": gallery, "migration": stored.id},
                )
            if link.migration.promoted:
                stored = await self.worker.note_promotion(stored)
        if stored.state.ended and stored.state is not end:
            raise MigrationEnded(
                f"the migration {stored.id} of {gallery!r} has ended: {stored.state.value}; create another one",
                metadata={"gallery": gallery, "migration": stored.id, "state": stored.state.value},
            )
        return stored

    async def _move(self, stored: Stored, etag: str, before: MigrationState, after: MigrationState) -> Stored:
        def change(present: Stored) -> Fields | None:
            _check_etag(present, etag)
            if present.state is after:
                return None
            if present.state.ended:
                raise MigrationEnded(
                    f"the migration {present.id} of {present.gallery!r} has ended: {present.state.value}; create "
                    "another one",
                    metadata={"gallery": present.gallery, "migration": present.id, "state": present.state.value},
                )
            if present.state is not before:
                raise _not_yet(present, f"only one that is {before.value} can become {after.value}")
            return {"migration_state": after.value, "failure": ""}

        return await self._records.change(stored, change)

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
        end = time.time() + left / stored.rate if stored.state is MigrationState.MAPPING else None
        return stored.shown(total, mapped, native, end)


def _check_etag(stored: Stored, etag: str) -> None:
    payloads.check_etag(etag, stored.etag, f"migration {stored.id}")


def _not_yet(stored: Stored, advice: str) -> MigrationInProgress:
    why = f" ({stored.failure})" if stored.failure else ""
    return MigrationInProgress(
        f"the migration {stored.id} of {stored.gallery!r} is {stored.state.value}{why}; {advice}",
        metadata={"gallery": stored.gallery, "migration": stored.id, "state": stored.state.value},
    )
