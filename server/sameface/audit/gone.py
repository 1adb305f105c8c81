"""Finds people who are gone from the store, and destroys what leads from them to their pseudonyms.

The service that erases somebody forgets the person at once. Everything else is found here: what another service or a
tool has erased or moved, and what was erased just before a crash.
"""

import asyncio
import logging
import time

from sameface.audit.pseudonyms import Pseudonyms
from sameface_qdrant.errors import GalleryNotFound
from sameface_qdrant.store.store import Store

log = logging.getLogger(__name__)


async def forget_the_gone(pseudonyms: Pseudonyms, store: Store) -> int:
    """Forget everybody who has a pseudonym and is not in the store. Return how many there were.

    Who got a pseudonym after the beginning is left for the next time. Nobody is forgotten where the store has no
    gallery at all: it may be the wrong one, or about to be restored, and what is forgotten is lost.

    Raises:
        StoreUnavailable: the store cannot be read; some may be forgotten already.
    """
    began = time.time()
    gone, left = 0, await asyncio.to_thread(pseudonyms.galleries)
    galleries = await _galleries(store) if left else []
    if left and not galleries:
        log.warning("the store has no gallery, and the audit log knows people; nobody was forgotten")
        return 0
    for gallery in galleries:
        key = pseudonyms.key(gallery)
        if key not in left:
            continue
        people = await asyncio.to_thread(pseudonyms.people, key, began)
        token = ""
        try:
            while people:
                page = await store.identities.ids(gallery, page_token=token)
                people -= {pseudonyms.key(gallery, identity) for identity in page.items}
                if not (token := page.next_token):
                    break
        except GalleryNotFound:
            continue  # deleted meanwhile: the gallery stays among those that are left
        left.remove(key)
        gone += await asyncio.to_thread(pseudonyms.forget_people, people, began)
    for key in left:
        people = await asyncio.to_thread(pseudonyms.people, key, began)
        gone += await asyncio.to_thread(pseudonyms.forget_people, people, began)
    return gone


async def _galleries(store: Store) -> list[str]:
    found, token = [], ""
    while True:
        page = await store.galleries.list(page_size=1000, page_token=token)
        found += [gallery.id for gallery in page.items]
        if not (token := page.next_token):
            return found
