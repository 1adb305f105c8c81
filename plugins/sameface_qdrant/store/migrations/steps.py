"""What a call may do with a migration in its present state, and the refusals that say what to do."""

from sameface_qdrant.errors import MigrationEnded, MigrationInProgress
from sameface_qdrant.store import payloads
from sameface_qdrant.store.migration_link import link_of
from sameface_qdrant.store.migrations.records import Stored
from sameface_qdrant.store.migrations.state import Fields, MigrationRecords
from sameface_qdrant.store.migrations.worker import MigrationWorker
from sameface_qdrant.values.migration import MigrationState


async def settled(
    records: MigrationRecords, worker: MigrationWorker, gallery: str, migration: str, end: MigrationState | None = None
) -> Stored:
    """Return a migration with the state that the gallery's record tells.

    Raises:
        MigrationEnded: it has ended, in another way than ``end``: a repeat of the call that ended it is answered.
    """
    record, stored = await records.migration(gallery, migration)
    link = link_of(record.payload)
    if not stored.state.ended and link.migration is not None and link.migration.id == stored.id:
        if link.ending is not None:
            worker.wake()
            raise MigrationInProgress(
                f"the migration {stored.id} is being ended: {link.ending.value}; read it again after a while",
                metadata={"gallery": gallery, "migration": stored.id},
            )
        if link.migration.promoted:
            stored = await worker.note_promotion(stored)
    if stored.state.ended and not stored.settled:
        worker.wake()
    if stored.state.ended and stored.state is not end:
        raise MigrationEnded(
            f"the migration {stored.id} of {gallery!r} has ended: {stored.state.value}; create another one",
            metadata={"gallery": gallery, "migration": stored.id, "state": stored.state.value},
        )
    return stored


async def moved(
    records: MigrationRecords, stored: Stored, etag: str, before: MigrationState, after: MigrationState
) -> Stored:
    """Let a migration get another state, unless it has that already."""

    def change(present: Stored) -> Fields | None:
        check_etag(present, etag)
        if present.state is after:
            return None
        if present.state.ended:
            raise MigrationEnded(
                f"the migration {present.id} of {present.gallery!r} has ended: {present.state.value}; create "
                "another one",
                metadata={"gallery": present.gallery, "migration": present.id, "state": present.state.value},
            )
        if present.state is not before:
            raise not_yet(present, f"only one that is {before.value} can become {after.value}")
        return {"migration_state": after.value, "failure": ""}

    return await records.change(stored, change)


def check_etag(stored: Stored, etag: str) -> None:
    """Raise ConcurrentUpdate if an etag is given and not the present one."""
    payloads.check_etag(etag, stored.etag, f"migration {stored.id}")


def not_yet(stored: Stored, advice: str) -> MigrationInProgress:
    """Return the refusal of a call that does not fit the state."""
    why = f" ({stored.failure})" if stored.failure else ""
    return MigrationInProgress(
        f"the migration {stored.id} of {stored.gallery!r} is {stored.state.value}{why}; {advice}",
        metadata={"gallery": stored.gallery, "migration": stored.id, "state": stored.state.value},
    )
