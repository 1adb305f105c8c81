"""Whether a gallery holds mapped templates. Decisions of one that holds none need one search."""

from contextlib import suppress

from sameface_qdrant.engines.base import Engine, Where
from sameface_qdrant.errors import SamefaceError
from sameface_qdrant.store import payloads, template_origin
from sameface_qdrant.store.migration_link import LINK, MAPPED, link_of
from sameface_qdrant.store.migrations.resting import Resting
from sameface_qdrant.store.migrations.state import MigrationRecords
from sameface_qdrant.store.payloads import META
from sameface_qdrant.values.contract import Contract


async def mapped_count(engine: Engine, contract: Contract, uid: str) -> int:
    """Return how many mapped templates a gallery has under a contract."""
    await engine.ensure(contract.key, contract.dimension)
    where = Where({"gallery": uid, "kind": payloads.TEMPLATE, template_origin.ORIGIN: template_origin.MAPPED})
    return await engine.count(contract.key, where)


async def forget_mapped(records: MigrationRecords, gallery: str) -> None:
    """Note that a gallery has no mapped template any more, if that is so."""
    record = await records.gallery(gallery)
    link = link_of(record.payload)
    if link.migration is not None or not record.payload.get(MAPPED):
        return
    if not await mapped_count(records.engine, link.contract, link.uid):
        await records.change_gallery(gallery, link.uid, lambda present: None if present.get(LINK) else {MAPPED: None})


async def swept(records: MigrationRecords, resting: Resting) -> None:
    """Note which galleries have no mapped template any more, and wake what searches would not find."""
    start: str | None = None
    while True:
        points, start = await records.engine.scroll(META, Where({"kind": payloads.GALLERY}), 200, start)
        for point in points:
            with suppress(SamefaceError):  # the next sweep looks again
                if point.payload.get(MAPPED) and not point.payload.get(LINK):
                    await forget_mapped(records, str(point.payload["id"]))
                await resting.wake_primary(link_of(point.payload))
        if start is None:
            return
