"""Converts points and filters of a protected gallery to their stored form and back. Pure.

A stored point has an id of its own, and its embedding is rotated. Its fields are of three kinds:

- `CLEAR` ones are stored as they are.
- `LOOKED_UP` ones hold a keyed digest, so that filters find equal values. The value is in a sealed field beside it.
- All others, also those that a newer release may add, are sealed and cannot be filtered by.

A sealed field has the name of its field with `SEALED` at the end. `POINT` is the sealed field with the id and the
identity of a point: what a decision needs of a neighbour.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sameface_qdrant.engines.base import LABELS_FIELD, TENANT_FIELD, Hit, Point, Where
from sameface_qdrant.errors import StoreCorrupt
from sameface_qdrant.store.conditional_write import REVISION, SINCE, STATE, WRITER
from sameface_qdrant.store.move_notes import MOVE
from sameface_qdrant.store.payloads import GALLERY, RECEIPT, Payload
from sameface_qdrant.store.protection.derived import GenerationKeys
from sameface_qdrant.store.protection.rotation import Rotation
from sameface_qdrant.store.protection.sealing import Seal, digest
from sameface_qdrant.store.template_origin import AT_REST, RESTING
from sameface_qdrant.values.protection import Generation
from sameface_qdrant.values.schema import PROTECTED, SCHEMA_FIELD, stamped
from sameface_qdrant.values.vectors import Vector

CLEAR = frozenset(
    {
        "kind",
        "contract",
        "verify_threshold",
        "expires",
        "own_expires",
        "merging",
        "origin",
        "map",
        "erasing",
        RESTING,
        SCHEMA_FIELD,
        REVISION,
        STATE,
        SINCE,
    }
)
LOOKED_UP = frozenset({"identity", "digest", "source", WRITER})
SEALED = "_sealed"
POINT = "point" + SEALED
EMBEDDING = "embedding" + SEALED
"""A stored field of points at rest: the rotated embedding. All others have it as their vector."""
KEY = "key"
"""A stored field: id of the master key."""
STAGED = "+"
"""The end of the gallery field of copies that a re-key has not finished."""
NAMING: Mapping[str, tuple[str, ...]] = {
    GALLERY: ("display_name",),
    RECEIPT: ("of_identity", "template"),
    MOVE: ("source", "target"),
}
"""Fields of records of the meta collection that may name a person, by their kind."""
KEY_MARK = "key:"
"""Such records hold this and the id of their key in the indexed field ``digest``, which they do not use otherwise."""


@dataclass(frozen=True, slots=True)
class Form:
    """One stored form of a gallery's points."""

    uid: str
    keys: GenerationKeys
    staged: bool = False
    rotation: Rotation | None = None

    @property
    def tenant(self) -> str:
        """What the points hold in the field that names their gallery."""
        return tenant_of(self.uid, self.keys.generation.number, staged=self.staged)

    def stored(self, point: Point) -> Point:
        """Return the stored form of a point."""
        identifier = self.keys.stored_id(point.id)
        payload = {
            **self.fields(identifier, point.payload),
            KEY: self.keys.generation.key,
            POINT: self.keys.seal.sealed(identifier, POINT, [point.id, point.payload["identity"]]),
        }
        made = Point(identifier, stamped(payload, PROTECTED), self.turned(point.vector))
        return self.rested(made) if point.payload.get(RESTING) else made

    def rested(self, stored: Point) -> Point:
        """Return a stored point with its embedding at rest: the rotated one, encrypted."""
        if stored.vector is None:
            return stored
        content = base64.b64encode(np.asarray(stored.vector, np.float32).tobytes()).decode()
        sealed = self.keys.seal.sealed(stored.id, EMBEDDING, content)
        return Point(stored.id, {**stored.payload, RESTING: AT_REST, EMBEDDING: sealed})

    def woken(self, stored: Point) -> Point:
        """Return a stored point with the embedding that `rested` has encrypted, to the last bit."""
        if EMBEDDING not in stored.payload:
            return stored
        content = self.keys.seal.opened(stored.id, EMBEDDING, stored.payload[EMBEDDING])
        payload = {name: value for name, value in stored.payload.items() if name not in (RESTING, EMBEDDING)}
        return Point(stored.id, payload, np.frombuffer(base64.b64decode(content), np.float32))

    def fields(self, identifier: str, payload: Payload) -> dict[str, Any]:
        """Return the stored form of fields of the point with a stored id."""
        fields: dict[str, Any] = {}
        for name, value in payload.items():
            if name in CLEAR:
                fields[name] = value
                continue
            if name == TENANT_FIELD:
                fields[name] = self.tenant
                continue
            if name == LABELS_FIELD:
                fields[name] = {self._label(key): self._digest(f"{name}.{key}", one) for key, one in value.items()}
            elif name in LOOKED_UP:
                fields[name] = self._digest(name, value)
            if name != "identity":  # that is in `POINT`
                fields[name + SEALED] = self.keys.seal.sealed(identifier, name, value)
        return fields

    def opened(self, stored: Point) -> Point:
        """Return the point of a stored form. A sealed field is opened when it is first read.

        Raises:
            StoreCorrupt: a sealed field was changed, or belongs to another point; also where it is read.
        """
        seal, clear, sealed = self.keys.seal, dict[str, Any](), dict[str, Any]()
        identifier, identity = seal.opened(stored.id, POINT, stored.payload.get(POINT))
        for name, value in stored.payload.items():
            if name in CLEAR:
                clear[name] = value
            elif name.endswith(SEALED) and name not in (POINT, EMBEDDING):
                sealed[name.removesuffix(SEALED)] = value
        clear |= {TENANT_FIELD: self.uid, "identity": identity}
        turned = None if self.rotation is None else self.woken(stored).vector
        vector = None if turned is None or self.rotation is None else self.rotation.undone(turned)
        return Point(identifier, _Opened(clear, sealed, seal, stored.id), vector)

    def opened_hit(self, hit: Hit) -> Hit:
        """Return a neighbour of the stored form as one of the gallery."""
        point = self.opened(Point(hit.id, hit.payload))
        return Hit(point.id, hit.score, point.payload)

    def needed(self, fields: Sequence[str]) -> tuple[str, ...]:
        """Return the stored fields from which `opened` makes some fields."""
        return (*(name if name in CLEAR else name + SEALED for name in fields if name != "identity"), POINT)

    def turned(self, vector: Vector | None) -> Vector | None:
        """Return the stored form of an embedding."""
        if vector is None:
            return None
        assert self.rotation is not None
        return self.rotation.applied(vector)

    def where(self, where: Where) -> Where:
        """Return the filter on the stored points that a filter means."""
        return Where(
            {**self._compared(where.equals), TENANT_FIELD: self.tenant},
            self._compared(where.excludes) if where.excludes else {},
            self._one_of(where.among) if where.among else {},
            self._one_of(where.outside) if where.outside else {},
            tuple(map(self.keys.stored_id, where.ids)),
            where.valid_at,
            where.expired_at,
        )

    def _compared(self, fields: Mapping[str, str | int]) -> dict[str, str | int]:
        return dict(self._condition(name, value) for name, value in fields.items())

    def _one_of(self, fields: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        return {name: tuple(str(self._condition(name, one)[1]) for one in values) for name, values in fields.items()}

    def _condition(self, name: str, value: str | int) -> tuple[str, str | int]:
        if name.startswith(LABELS_FIELD + "."):
            return f"{LABELS_FIELD}.{self._label(name.removeprefix(LABELS_FIELD + '.'))}", self._digest(name, value)
        if name in LOOKED_UP:
            return name, self._digest(name, value)
        assert name in CLEAR or name == TENANT_FIELD, f"{name} is encrypted and cannot be filtered by"
        return name, value

    def _label(self, key: str) -> str:
        return digest(self.keys.lookup, "label", key)

    def _digest(self, name: str, value: object) -> str:
        return digest(self.keys.lookup, "value", name, str(value))


class _Opened(Mapping[str, Any]):
    """A payload whose sealed fields are opened when they are read: a decision needs few of them."""

    def __init__(self, clear: dict[str, Any], sealed: dict[str, Any], seal: Seal, point: str) -> None:
        self._values, self._sealed, self._seal, self._point = clear, sealed, seal, point

    def __getitem__(self, name: str) -> Any:
        if name in self._sealed:
            self._values[name] = self._seal.opened(self._point, name, self._sealed[name])
            del self._sealed[name]
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values or name in self._sealed

    def __iter__(self) -> Iterator[str]:
        return iter((*self._values, *self._sealed))

    def __len__(self) -> int:
        return len(self._values) + len(self._sealed)

    def __repr__(self) -> str:
        return f"<payload of the point {self._point}>"


def tenant_of(uid: str, number: int, *, staged: bool = False) -> str:
    """Return what the points of a generation hold in the field that names their gallery."""
    return f"{uid}.{number}{STAGED if staged else ''}"


def in_clear(where: Where) -> bool:
    """Return whether a filter on the points of one gallery needs no key to be mapped to the stored ones."""
    conditions = (where.equals, where.excludes or {}, where.among or {}, where.outside or {})
    names = {name for fields in conditions for name in fields} - {TENANT_FIELD}
    return not where.ids and not has_sealed(names)


def has_sealed(fields: Iterable[str]) -> bool:
    """Return whether some fields are not stored as they are."""
    return any(name not in CLEAR for name in fields)


def is_newer(one: Point, other: Point) -> bool:
    """Return whether a copy of a record has a later revision than another copy; templates have none."""
    return int(one.payload.get(REVISION, 0)) > int(other.payload.get(REVISION, 0))


def sealed_record(point: Point, seal: Seal, generation: Generation) -> Point:
    """Return a record of the meta collection with the fields that may name a person sealed."""
    payload = dict(point.payload)
    for name in NAMING[payload["kind"]]:
        payload[name + SEALED], payload[name] = seal.sealed(point.id, name, payload[name]), ""
    return Point(point.id, stamped({**payload, "digest": KEY_MARK + generation.key}, PROTECTED))


def opened_record(point: Point, seal: Seal) -> Point:
    """Return a record of the meta collection as it was before `sealed_record`."""
    payload = dict(point.payload)
    for name in NAMING[payload["kind"]]:
        payload[name] = seal.opened(point.id, name, payload.pop(name + SEALED))
    del payload["digest"]
    return Point(point.id, payload)


def unnamed_record(point: Point) -> Point:
    """Return a sealed record without the fields that may name a person."""
    payload = {**point.payload, **dict.fromkeys(NAMING[point.payload["kind"]], "")}
    for name in NAMING[payload["kind"]]:
        payload.pop(name + SEALED, None)
    payload.pop("digest", None)
    return Point(point.id, payload)


def sealed_text(payload: Payload) -> Any:
    """Return a sealed field of a record of the meta collection; None if it has none.

    Raises:
        StoreCorrupt: some of its fields are not sealed.
    """
    names = NAMING.get(str(payload.get("kind")), ())
    found = [payload[name + SEALED] for name in names if name + SEALED in payload]
    if found and len(found) < len(names):
        raise StoreCorrupt(f"encrypted fields of a record of the kind {payload['kind']} are missing: restore a backup")
    return found[0] if found else None
