"""What is known of the galleries in migration: every record of one that is read or written passes here."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from sameface_qdrant.engines.base import Point
from sameface_qdrant.store.migration_link import LINK, Link, link_of
from sameface_qdrant.store.migrations.copies import exchanged, exchanging
from sameface_qdrant.store.payloads import GALLERY, META
from sameface_qdrant.store.protection.state import LEASE_S

FORGIVEN_S = LEASE_S / 2
"""A write that ends so soon after a fence was shut is brought over by the pass behind the fence."""


@dataclass(slots=True)
class Changed:
    """The ids of a gallery's points that were changed since somebody began to watch."""

    ids: set[str] | None = field(default_factory=set)
    """None if any may have been."""
    ever: bool = False
    """Whether any was, as far as it is known."""

    def none_of(self, ids: Sequence[str]) -> bool:
        """Return whether none of some points was changed since this was asked last."""
        return self.ids is not None and self.ids.isdisjoint(ids)

    def taken(self) -> set[str] | None:
        """Return what was changed since this was asked last; None if any may have been."""
        ids = self.ids
        if ids is not None:
            self.ids = set()
        return ids


class KnownGalleries:
    """The links of galleries as they were read last."""

    def __init__(self, exclusive: bool) -> None:
        """``exclusive`` says that no other process writes."""
        self._exclusive = exclusive
        self._links: dict[str, Link] = {}
        """By the key of the gallery: those that are in a migration, or were since this store was opened."""
        self._open_at: dict[str, float] = {}
        """By the key of the gallery: when a read began that found no shut fence, by the monotonic clock."""
        self._watched: dict[str, list[Changed]] = {}

    def __iter__(self) -> Iterator[Link]:
        return iter(self._links.values())

    def find(self, uid: object) -> Link | None:
        """Return what is known of a gallery that is in a migration, or was."""
        return self._links.get(uid) if isinstance(uid, str) else None

    def shut(self, gallery: str) -> Link | None:
        """Return what is known of a gallery that must not be written now; None of any other one."""
        return next((one for one in self if one.gallery == gallery and one.is_shut), None)

    def learn(self, points: Iterable[Point], began: float) -> None:
        """Take note of records of galleries. ``began`` is when their read began, by the monotonic clock."""
        for point in points:
            payload = point.payload
            if payload.get("kind") != GALLERY:
                continue
            uid = payload["gallery"]
            self.drop_others(payload["id"], uid)
            if payload.get(LINK) or uid in self._links:
                self._links[uid] = link_of(payload)
                if not self._links[uid].is_shut:
                    self._open_at[uid] = max(began, self._open_at.get(uid, began))

    def drop_others(self, gallery: str, uid: str) -> None:
        """Forget an earlier gallery with the same id."""
        for one in [link.uid for link in self if link.gallery == gallery and link.uid != uid]:
            del self._links[one]
            self._open_at.pop(one, None)

    # Who may write.

    def check_before(self, collection: str, uid: object) -> Link | None:
        """Return what is known of the gallery that is written to.

        Calls wait at the fence before they write (`sameface_qdrant.store.migrations.fence.Gate`). One that has begun
        before may end: cut off in the middle, it would keep others waiting until it is taken for crashed.

        Raises:
            StoreUnavailable: its contract is being exchanged.
            ConcurrentUpdate: it has another contract by now.
        """
        link = self.find(uid)
        if collection == META or link is None:
            return None
        self._check_fence(link)
        if link.ending is not None and link.secondary is not None and link.secondary.key == collection:
            return None  # the end of the migration erases what it leaves
        if link.primary != collection:
            raise exchanged(link.gallery)
        return link

    def check_after(self, link: Link, now: Link) -> None:
        """Refuse a write that came while the gallery's contract was exchanged, or after that.

        Args:
            link: what was known before the write.
            now: what the gallery's record says after it.

        Raises:
            StoreUnavailable, ConcurrentUpdate: as `check_before`.
        """
        if now.primary != link.primary:
            raise exchanged(link.gallery)
        self._check_fence(now)

    def _check_fence(self, link: Link) -> None:
        """Refuse a write, unless the gallery is open, or was so a short time ago.

        The clocks of services may differ. So it counts when this one has seen for itself that the gallery was open.
        """
        if link.is_shut and time.monotonic() > self._open_at.get(link.uid, float("-inf")) + FORGIVEN_S:
            raise exchanging(link.gallery)

    # What is changed.

    @contextmanager
    def watching(self, uid: str) -> Iterator[Changed]:
        """Note which points of a gallery are changed. Where others write, their changes are not seen: any may be."""
        changed = Changed() if self._exclusive else Changed(None, ever=True)
        self._watched.setdefault(uid, []).append(changed)
        try:
            yield changed
        finally:
            self._watched[uid] = [one for one in self._watched[uid] if one is not changed]
            if not self._watched[uid]:
                del self._watched[uid]

    def is_watched(self, uid: str) -> bool:
        """Return whether somebody wants to know what is changed."""
        return uid in self._watched

    def note(self, uid: str, ids: Sequence[str] | None) -> None:
        """Note that points of a gallery are about to be changed; None means that any may be."""
        for changed in self._watched.get(uid, ()):
            changed.ever = True
            if ids is None:
                changed.ids = None
            elif changed.ids is not None:
                changed.ids |= {*ids}
