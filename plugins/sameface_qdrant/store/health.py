"""Asks an engine whether the store's reads and writes would be answered at the moment."""

from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import StoreCorrupt
from sameface_qdrant.store.payloads import META, SECRET
from sameface_qdrant.store.secret import SECRET_ID
from sameface_qdrant.values.ids import point_id
from sameface_qdrant.values.schema import check_writable, schema_of

_NOBODY = point_id("health")
_NO_KIND = Where({"kind": "none"})


async def check_reads(engine: Engine) -> None:
    """Raise the typed error that reads would raise now, or StoreTooNew if this release must not use the store."""
    probe = getattr(engine, "health_probe", None)
    if probe is not None:
        await probe.check_reads()
    found = (await engine.get(META, [SECRET_ID])).get(SECRET_ID)
    if found is None:
        location = engine.description.location
        raise StoreCorrupt(
            f"the store in {location} has lost its {SECRET}; restore it from a backup, or start the service again to "
            "begin with an empty one",
            metadata={"path": location},
        )
    # A newer service may have begun to write to it since this one opened it.
    check_writable(schema_of(found.payload), "the store")


async def check_writes(engine: Engine) -> None:
    """Raise the typed error that writes would raise now. Nothing is changed."""
    probe = getattr(engine, "health_probe", None)
    if probe is not None:
        await probe.check_writes()
    elif not engine.exclusive:
        # A write like any other, for a point that is never there: it changes only points that exist.
        await engine.upsert(META, [Point(_NOBODY, {})], only_if=_NO_KIND)
