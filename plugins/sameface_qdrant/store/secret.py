"""The store's secret, the key of its digests. Its record also notes the schema version of the whole store."""

import contextlib
import secrets
from collections.abc import Awaitable, Callable

from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import StoreFull
from sameface_qdrant.store.payloads import META, SECRET
from sameface_qdrant.values.ids import point_id
from sameface_qdrant.values.schema import CURRENT, SCHEMA_FIELD, check_writable, schema_of, stamped

SECRET_ID = point_id(SECRET)


async def open_meta(engine: Engine, check: Callable[[], Awaitable[None]] | None = None) -> bytes:
    """Create the meta collection where it is missing, and return the store's secret.

    ``check`` is called before the first write, and may raise.

    Raises:
        StoreTooNew: a newer release wrote the store, and this one cannot read or change it.
    """
    await engine.ensure(META, 1)
    if check is not None:
        await check()
    # Read first, so that a store on a full disk opens for reading.
    if not await engine.get(META, [SECRET_ID]):
        payload = stamped({"kind": SECRET, "gallery": "", "identity": "", "secret": secrets.token_hex(32)})
        # Insert-only: of several services that start at once, one secret wins and all read it back.
        await engine.upsert(META, [Point(SECRET_ID, payload)], insert_only=True)
        await engine.commit(META)
    stored = (await engine.get(META, [SECRET_ID]))[SECRET_ID]
    found = schema_of(stored.payload)
    check_writable(found, "the store")
    if found.version < CURRENT.version or SCHEMA_FIELD not in stored.payload:
        # From now on releases that cannot read what this one writes refuse the store.
        with contextlib.suppress(StoreFull):  # the next opening notes it
            await engine.set_payload(META, Where({"kind": SECRET}, ids=(SECRET_ID,)), stamped({}))
            await engine.commit(META)
    return bytes.fromhex(stored.payload["secret"])
