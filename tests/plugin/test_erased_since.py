"""Erasures and moves since an export are followed for every identity and template, against a world that is played."""

import random

import pytest

from sameface_qdrant.engines.base import Point
from sameface_qdrant.store.move_notes import moved_template_id
from sameface_qdrant.transfer.erased import ErasedSince, Event, LeftOut, kept

UID = "u" * 32


class World:
    """People with templates under ids; who was there at the export is known by name, whatever their id is now."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.time = 100.0
        self.people: dict[str, tuple[str, float, dict[str, str]]] = {}
        """By present id: the name at the export (or ``new``), when the record was made, and by present template id its
        id at the export."""
        self.events: list[Event] = []
        for number in range(6):
            templates = {f"t{number}{part}": f"t{number}{part}" for part in range(self.random.randint(0, 3))}
            self.people[f"id{number}"] = f"id{number}", self.tick(), templates
        self.exported = {name: (created, list(templates)) for name, (_, created, templates) in self.people.items()}
        self.begun = self.tick()

    def tick(self) -> float:
        self.time += 10
        return self.time

    def note(self, resource: str, identity: str = "", template: str = "", target: str = "") -> None:
        uid = UID if target else ""
        name = f"n{len(self.events)}"
        self.events.append(Event(name, self.tick(), "g", resource, identity, template, target, uid))

    def step(self) -> None:
        ids = sorted(self.people)
        what = self.random.choice(["erase", "template", "move", "merge", "new", "new"])
        if what == "new":
            if free := [f"id{number}" for number in range(9) if f"id{number}" not in self.people]:
                self.people[self.random.choice(free)] = "new", self.tick(), {}
            return
        if not ids:
            return
        one = self.random.choice(ids)
        name, created, templates = self.people[one]
        if what == "erase":
            del self.people[one]
            self.note("identity", one)
        elif what == "template" and templates:
            chosen = self.random.choice(sorted(templates))
            del templates[chosen]
            self.note("template", one, chosen)
        elif what == "move":
            target = self.random.choice([f"id{number}" for number in range(9)])
            if target not in self.people:
                del self.people[one]
                self.people[target] = name, created, self.renamed(templates, target)
                self.note("identity", one, target=target)
        elif what == "merge" and len(ids) > 1:
            target = self.random.choice([id_ for id_ in ids if id_ != one])
            other, since, own = self.people[target]
            del self.people[one]
            self.people[target] = f"{other}+{name}", since, {**own, **self.renamed(templates, target)}
            self.note("identity", one, target=target)

    def renamed(self, templates: dict[str, str], target: str) -> dict[str, str]:
        return {moved_template_id(UID, target, now): before for now, before in templates.items()}


@pytest.mark.parametrize("seed", range(150))
def test_nobody_who_was_erased_is_kept_and_everybody_else_is(seed: int) -> None:
    world = World(seed)
    for _ in range(25):
        world.step()
    living = {name for names, _, _ in world.people.values() for name in names.split("+")}
    held = {before for _, _, templates in world.people.values() for before in templates.values()}
    events = world.events[:]
    world.random.shuffle(events)
    since = ErasedSince.of(events, uid=UID, created=0, since=world.begun, shared=False)
    points = []
    for name, (created, templates) in world.exported.items():
        points.append(Point(name, {"kind": "identity", "identity": name, "created": created}))
        points += [Point(template, {"kind": "template", "identity": name}) for template in templates]
    left_out = LeftOut()
    found = kept(points, since, 0.0, left_out)
    assert {point.id for point in found.points if point.payload["kind"] == "identity"} == living & set(world.exported)
    assert {point.id for point in found.points if point.payload["kind"] == "template"} == held
    assert left_out.erased_identities == len(found.erased) == len(set(world.exported) - living)


def event(time: float, resource: str, identity: str = "", target: str = "", uid: str = "") -> Event:
    return Event(f"{time}{resource}{identity}", time, "g", resource, identity, "", target, uid)


def chosen(*events: Event, created: float = 0, since: float = 50, shared: bool = False, **more: bool) -> ErasedSince:
    return ErasedSince.of(events, uid=UID, created=created, since=since, shared=shared, **more)


ADA = {"kind": "identity", "identity": "ada", "created": 10.0}


def test_what_happened_before_the_export_or_to_others_does_not_count() -> None:
    assert chosen(event(60, "identity", "ada")).identity_erased(ADA)
    assert not chosen(event(49, "identity", "ada")).identity_erased(ADA)
    assert not chosen(event(60, "identity", "bob")).identity_erased(ADA)


def test_a_record_that_was_made_later_was_not_erased_unless_clocks_may_differ() -> None:
    later = {**ADA, "created": 62.0}
    assert not chosen(event(60, "identity", "ada")).identity_erased(later)
    assert chosen(event(60, "identity", "ada"), shared=True).identity_erased(later)
    assert not chosen(event(56, "identity", "ada"), shared=True).identity_erased(later)


def test_a_move_counts_in_its_own_gallery_alone() -> None:
    erased = event(70, "identity", "eve")
    assert chosen(event(60, "identity", "ada", "eve", UID), erased).identity_erased(ADA)
    assert not chosen(event(60, "identity", "ada", "eve", "other"), erased).identity_erased(ADA)


def test_what_follows_the_deletion_of_a_gallery_concerns_another_one() -> None:
    found = chosen(event(60, "gallery"), event(70, "identity", "ada"))
    assert found.gallery_erased
    assert not found.identity_erased(ADA)
    assert not chosen(event(60, "gallery"), created=65).gallery_erased
    kept_on = chosen(event(60, "gallery"), event(70, "identity", "ada"), undelete=True)
    assert not kept_on.gallery_erased
    assert kept_on.identity_erased(ADA)
