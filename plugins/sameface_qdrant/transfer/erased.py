"""What was erased since an export: follows each identity and template of it through later moves and erasures. Pure.

Receipts name a gallery, an identity or a template by its id at that time, so a move in between matters. An erasure
applies to a record only if the record was made before it: the id may have been given again.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sameface_qdrant.engines.base import Point
from sameface_qdrant.store.move_notes import MOVE, moved_template_id
from sameface_qdrant.store.payloads import GALLERY, IDENTITY, RECEIPT, TEMPLATE, Payload, in_force
from sameface_qdrant.values.erasure import ErasedResource

OF_OTHER_STORE = "of_other_store"
"""A stored field of a receipt: it tells of the galleries that the store had before it took over another secret."""
CLOCKS_AGREE_S = 5.0
"""How far the clocks of services may be apart. In doubt a record counts as erased."""


@dataclass(frozen=True, slots=True)
class Event:
    """An erasure, or a move if ``target`` is set."""

    note: str
    """Id of the receipt's record, or of the note of the move."""
    time: float
    gallery: str
    resource: str
    identity: str = ""
    template: str = ""
    target: str = ""
    uid: str = ""
    """The gallery's key, of a move alone: receipts name a gallery by its id."""


def event_of(note: Point) -> Event | None:
    """Return what a receipt or a note of a move tells; None if it names nothing, as the receipt of a sweep does."""
    payload = note.payload
    if payload["kind"] == MOVE:
        ids = payload["source"], "", payload["target"], payload["of_uid"]
        return Event(note.id, float(payload["time"]), payload["of_gallery"], IDENTITY, *ids)
    if payload["kind"] != RECEIPT or payload.get(OF_OTHER_STORE):
        return None
    names = (payload["of_identity"], payload["template"])
    if payload["resource"] != ErasedResource.GALLERY and not any(names):
        return None
    kind = {ErasedResource.GALLERY: GALLERY, ErasedResource.IDENTITY: IDENTITY, ErasedResource.TEMPLATE: TEMPLATE}
    resource = kind[ErasedResource(payload["resource"])]
    return Event(note.id, float(payload["erase_time"]), payload["of_gallery"], resource, *names)


@dataclass(slots=True)
class ErasedSince:
    """The erasures and moves of one gallery since an export was begun."""

    uid: str
    slack: float
    """0 if one process alone wrote the store, else `CLOCKS_AGREE_S`."""
    gallery_erased: bool = False
    _events: dict[str, list[tuple[int, Event]]] = field(default_factory=lambda: defaultdict(list))
    """By the identity that each names, with its place in the order of all."""

    @classmethod
    def of(
        cls,
        events: Iterable[Event],
        *,
        uid: str,
        created: float,
        since: float,
        shared: bool,
        undelete: bool = False,
    ) -> "ErasedSince":
        """Choose the events that concern a gallery.

        Args:
            events: everything that is known of galleries with its id.
            uid: its key.
            created: when it was made, in seconds since the epoch.
            since: the moment from which on events count, in seconds since the epoch.
            shared: whether several processes, with clocks of their own, could write the store.
            undelete: whether the deletion of the gallery itself does not count.
        """
        found = cls(uid, CLOCKS_AGREE_S if shared else 0.0)
        for place, event in enumerate(sorted(set(events), key=lambda event: event.time)):
            if event.time < max(since, created - found.slack):
                continue
            if event.resource == GALLERY and undelete:
                continue
            if event.resource == GALLERY:
                found.gallery_erased = True
                return found  # what follows concerns a later gallery of the same id
            if event.uid in ("", uid):
                found._events[event.identity].append((place, event))
        return found

    def identity_erased(self, record: Payload) -> bool:
        """Return whether an identity was erased, under its id or one that it was moved to."""
        return any(event.resource == IDENTITY and not event.target for event in self._life(record))

    def template_erased(self, record: Payload, template: str) -> bool:
        """Return whether a template was erased, under its id or one that a move gave it."""
        for event in self._life(record):
            if event.target:
                template = moved_template_id(self.uid, event.target, template)
            elif event.resource == TEMPLATE and event.template == template:
                return True
        return False

    def _life(self, record: Payload) -> Iterator[Event]:
        """Yield what happened to an identity, in order, up to its erasure."""
        identity, born, place = str(record["identity"]), float(record["created"]) - self.slack, -1
        while True:
            later = (one for one in self._events.get(identity, ()) if one[0] > place and one[1].time >= born)
            place, event = next(later, (-1, None))
            if event is None:
                return
            yield event
            if event.target:
                identity = event.target
            elif event.resource == IDENTITY:
                return


@dataclass(slots=True)
class LeftOut:
    """What of a gallery's export is not written, by why."""

    erased_identities: int = 0
    erased_templates: int = 0
    """Of identities that were not erased."""
    expired_identities: int = 0
    expired_templates: int = 0


@dataclass(frozen=True, slots=True)
class Kept:
    """What is left of a frame of identities."""

    points: list[Point]
    erased: tuple[str, ...]
    """Ids of identities that were erased."""
    erased_templates: tuple[str, ...]


def kept(points: Sequence[Point], since: ErasedSince, now: float, left_out: LeftOut) -> Kept:
    """Return the points of a frame of whole identities without what was erased, or has expired by ``now``.

    ``left_out`` counts what is not in it.
    """
    left: list[Point] = []
    erased: list[str] = []
    templates: list[str] = []
    owner: Payload = {}
    taken = False
    for point in points:
        payload = point.payload
        if payload["kind"] == IDENTITY:
            owner, taken = payload, False
            if since.identity_erased(payload):
                erased.append(str(payload["identity"]))
                left_out.erased_identities += 1
            elif not in_force(payload, now):
                left_out.expired_identities += 1
            else:
                taken = True
                left.append(point)
        elif taken and since.template_erased(owner, point.id):
            templates.append(point.id)
            left_out.erased_templates += 1
        elif taken and not in_force(payload, now):
            left_out.expired_templates += 1
        elif taken:
            left.append(point)
    return Kept(left, tuple(erased), tuple(templates))
