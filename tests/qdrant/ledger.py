"""What services were promised, and how a store breaks it. Pure.

Every identity belongs to one service, which changes it by one call after the other. So what must be stored is known
exactly, once every call has ended. A template is recognised by its note, which no other template has.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

State = dict[str, frozenset[str]]
"""The notes of the templates of every identity."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of a service: ``enrol`` notes, ``delete``, ``drop`` one note, or ``move`` to another identity."""

    number: str
    kind: str
    identity: str
    notes: tuple[str, ...] = ()
    target: str = ""


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise."""

    kind: str
    """``lost``, ``back``, ``copies``, ``untyped`` or ``failed``."""
    what: str


@dataclass(slots=True)
class Ledger:
    """Everything that was acknowledged so far."""

    state: State = field(default_factory=dict)
    erased: set[str] = field(default_factory=set)
    """Notes of erased templates."""
    removed: set[str] = field(default_factory=set)
    """Identities that were deleted or moved away. No name is used twice."""
    open: dict[str, Operation] = field(default_factory=dict)
    """Calls that have begun and were not acknowledged, by number."""
    changes: Counter[str] = field(default_factory=Counter)
    """How often each identity was changed or is being changed, so that a reader notices a change in between."""
    acknowledged: Counter[str] = field(default_factory=Counter)

    def begin(self, operation: Operation) -> None:
        """Note that a call has begun; a repeat is the same call."""
        self.open[operation.number] = operation
        self._touch(operation)

    def done(self, number: str) -> None:
        """Note that a call was acknowledged."""
        one = self.open.pop(number)
        self._touch(one)
        self.acknowledged[one.kind] += 1
        before = self.state.get(one.identity, frozenset())
        if one.kind == "enrol":
            self.state[one.identity] = before | set(one.notes)
        elif one.kind == "drop":
            self.state[one.identity] = before - set(one.notes)
            self.erased |= set(one.notes)
        else:
            self.state.pop(one.identity, None)
            self.removed.add(one.identity)
            if one.kind == "move":
                self.state[one.target] = before
            else:
                self.erased |= before

    def busy(self, identity: str) -> bool:
        """Return whether a call that has not ended changes an identity."""
        return any(identity in (one.identity, one.target) for one in self.open.values())

    def _touch(self, operation: Operation) -> None:
        self.changes[operation.identity] += 1
        if operation.target:
            self.changes[operation.target] += 1


def broken(
    ledger: Ledger, seen: Mapping[str, Collection[str]], stored: Mapping[str, Collection[str]]
) -> list[Violation]:
    """Compare what was promised with what is there, once every call has ended.

    Args:
        ledger: the promises.
        seen: notes of the templates of every identity, as callers see them.
        stored: notes of all templates in the collection by identity, whether callers see them or not.
    """
    found = []
    for identity, notes in ledger.state.items():
        if missing := notes - set(seen.get(identity, ())):
            found.append(Violation("lost", f"{identity} lacks {sorted(missing)}"))
    for identity in seen.keys() & ledger.removed:
        found.append(Violation("back", f"{identity} is there again with {sorted(seen[identity])}"))
    for identity, there in seen.items():
        for note in sorted(set(there) & ledger.erased):
            found.append(Violation("back", f"{note} of {identity} is there again"))
    for identity, kept in stored.items():
        allowed = ledger.state.get(identity, frozenset())
        for note, count in Counter(kept).items():
            if note not in allowed or count > 1:
                found.append(Violation("copies", f"{identity} holds {count} of {note}"))
    return found
