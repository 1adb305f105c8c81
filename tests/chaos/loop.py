"""Kills a working process again and again, and checks after each kill that the store keeps its promises."""

import asyncio
import multiprocessing
import random
import statistics
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sameface_qdrant import ErasureState, NewTemplate, Policy, Probe, Store
from sameface_qdrant.engines.base import Where
from tests.chaos.worker import CONTRACT, GALLERY, KINDS, Task, receipts, threshold_of, work
from tests.disk import contents

PRELOADED = ["tests.chaos.worker", "sameface_qdrant.engines.edge.engine"]
FIRST_GUESS_S = 0.2
POPULATION = 24
SETTLED_WITHIN_S = 60.0


class Violation(AssertionError):
    """The store broke a promise."""


@dataclass(slots=True)
class Model:
    """What the store must hold, according to its acknowledgements."""

    identities: dict[str, set[str]] = field(default_factory=dict)
    thresholds: list[float] = field(default_factory=list)
    erased: set[str] = field(default_factory=set)
    """Ids of templates that were erased; a template is never enrolled a second time here."""
    owed: set[str] = field(default_factory=set)
    """Receipts that the store returned."""
    vectors: dict[str, bytes] = field(default_factory=dict)
    """Bytes of the templates, as they were stored."""


@dataclass(slots=True)
class Landings:
    """Where the kills landed."""

    inside: Counter[str] = field(default_factory=Counter)
    between: Counter[str] = field(default_factory=Counter)
    phases: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    operations: Counter[str] = field(default_factory=Counter)
    withdrawn: int = 0
    """Operations that were cut off and had no effect; the others had all of it."""
    applied: int = 0

    def table(self) -> str:
        """Return it as text."""
        lines = [f"{'operation':16} {'kills':>5} {'inside':>6}  {'done':>6}  phases of the kills inside"]
        for kind in KINDS:
            phases = ", ".join(f"{name} {count}" for name, count in self.phases[kind].most_common())
            kills = self.inside[kind] + self.between[kind]
            lines.append(f"{kind:16} {kills:5} {self.inside[kind]:6}  {self.operations[kind]:6}  {phases}")
        lines.append(f"cut off: {self.applied} with all of their effect, {self.withdrawn} with none")
        return "\n".join(lines)


async def chaos(folder: Path, kills: int, seed: int, report: Callable[[str], None] = print) -> Landings:
    """Kill ``kills`` workers; raise Violation as soon as the store breaks a promise."""
    moments = random.Random(seed)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    model, landings = Model(), Landings()
    lengths: dict[str, list[float]] = {kind: [FIRST_GUESS_S] for kind in KINDS}
    url = f"edge://{folder}"
    store = await Store.open(url)
    gallery = await store.galleries.create(
        GALLERY, CONTRACT, policy=Policy(verify_threshold=threshold_of(0), max_templates=64)
    )
    assert gallery.policy.verify_threshold is not None
    model.thresholds.append(gallery.policy.verify_threshold)
    vectors = np.random.default_rng(seed).normal(size=(POPULATION, 3, CONTRACT.dimension)).astype(np.float32)
    for number, three in enumerate(vectors):
        new = [NewTemplate(vector, CONTRACT) for vector in three]
        model.identities[f"p{number}"] = {one.id for one in await store.enroll(GALLERY, f"p{number}", new)}
    await store.aclose()
    for kill in range(kills):
        kind = KINDS[kill % len(KINDS)]
        if len(model.identities) < 12 and kind not in ("enroll", "policy"):
            kind = "bulk"
        targets = [(name, sorted(ids)) for name, ids in sorted(model.identities.items()) if ids]
        moments.shuffle(targets)
        task = Task(url, kind, (kill + 1) * 1000, targets[: max(0, len(targets) - 4)])
        theirs = _killed_at_a_random_moment(context, task, moments, lengths)
        store = await Store.open(url)
        try:
            await _check(store, folder, model, landings, task, theirs)
        except Violation as broken:
            raise Violation(f"kill {kill} (seed {seed}) inside {kind}: {broken}; journal: {theirs[-12:]}") from broken
        finally:
            await store.aclose()
        if (kill + 1) % 20 == 0:
            report(f"{kill + 1} kills, {len(model.identities)} identities, {len(model.erased)} templates erased")
    return landings


def _killed_at_a_random_moment(
    context: Any, task: Task, moments: random.Random, lengths: dict[str, list[float]]
) -> list[tuple[Any, ...]]:
    """Run a worker, kill it within an operation of its kind, and return its journal."""
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(task, theirs))
    process.start()
    theirs.close()
    passes = moments.randint(1, 3)
    within = moments.uniform(0, 1.1)
    journal: list[tuple[Any, ...]] = []
    while True:
        journal.append(ours.recv())
        if journal[-1][0] == "idle":
            break
        if journal[-1][0] == "begin" and journal[-1][3] == task.kind:
            if passes == 0:
                time.sleep(within * statistics.median(lengths[task.kind][-30:]))
                break
            passes -= 1
    process.kill()
    killed = time.monotonic()
    process.join()
    while True:
        try:
            journal.append(ours.recv())
        except (EOFError, OSError):  # an entry that was cut off is no acknowledgement
            break
    began = {entry[2]: (entry[1], entry[3]) for entry in journal if entry[0] == "begin"}
    for entry in journal:
        if entry[0] == "done" and entry[2] in began:
            start, kind = began[entry[2]]
            lengths[kind].append(entry[1] - start)
            del began[entry[2]]
    for start, kind in began.values():
        # It took at least this long. Otherwise the estimate stays too short for an operation that never ends in time.
        lengths[kind].append(max(killed - start, statistics.median(lengths[kind][-30:])))
    return journal


async def _check(
    store: Store, folder: Path, model: Model, landings: Landings, task: Task, journal: list[tuple[Any, ...]]
) -> None:
    begun = {entry[2]: (entry[3], entry[4], entry[5]) for entry in journal if entry[0] == "begin"}
    done = {entry[2]: entry[3] for entry in journal if entry[0] == "done"}
    for number, result in done.items():
        _apply(model, begun[number], result)
        landings.operations[begun[number][0]] += 1
    cut_off = {number: what for number, what in begun.items() if number not in done}
    inside = any(kind == task.kind for kind, *_ in cut_off.values())
    (landings.inside if inside else landings.between)[task.kind] += 1
    if inside:
        landings.phases[task.kind][next((e[2] for e in reversed(journal) if e[0] == "phase"), "-")] += 1
    stored = await _stored(store)
    for identity, target in [(identity, what) for kind, identity, what in cut_off.values() if kind == "move"]:
        if target in stored and identity in stored:
            # It has arrived under the new id, and the old one remains; a repeat finishes the move.
            _expect(len(stored[identity]) == len(stored[target]), f"{identity} arrived in part at {target}")
            await store.identities.move(GALLERY, identity, target)
            stored = await _stored(store)
    for kind, identity, what in cut_off.values():
        _settle(model, landings, stored, kind, identity, what)
    _expect(stored == model.identities, f"stored and acknowledged differ: {_difference(stored, model.identities)}")
    await _check_policies(store, model, landings, [what for kind, _, what in cut_off.values() if kind == "policy"])
    await _check_erasures(store, folder, model)
    collection = CONTRACT.key
    living = [template for templates in model.identities.values() for template in templates]
    points = await store._engine.get(collection, living, with_vector=True)
    model.vectors |= {key: point.vector.tobytes() for key, point in points.items() if point.vector is not None}


def _apply(model: Model, operation: tuple[str, str, Any], result: Any) -> None:
    kind, identity, what = operation
    if kind in ("enroll", "bulk"):
        model.identities[identity] = set(result)
    elif kind == "delete_template":
        model.identities[identity].discard(what)
        model.erased.add(what)
        model.owed.add(result)
    elif kind == "delete_identity":
        model.erased |= model.identities.pop(identity)
        model.owed.add(result)
    elif kind == "move":
        # Not erased: the same vectors stay under other ids.
        del model.identities[identity]
        model.identities[what] = set(result)
    elif kind == "policy":
        model.thresholds.append(threshold_of(what))


def _settle(model: Model, landings: Landings, stored: dict[str, set[str]], kind: str, identity: str, what: Any) -> None:
    """Apply an interrupted operation to the model if it had its whole effect; half of it is a violation."""
    before, now = model.identities.get(identity), stored.get(identity)
    if kind in ("enroll", "bulk"):
        _expect(now is None or len(now) == what, f"{identity} has {now and len(now)} of {what} templates")
        after = now
    elif kind == "delete_template":
        assert before is not None
        after = before - {what}
        _expect(now in (before, after), f"{identity} has {now}, had {before} when {what} was to be erased")
    elif kind == "delete_identity":
        _expect(now in (before, None), f"{identity} is half erased: {now} of {before}")
        after = None
    elif kind == "move":
        assert before is not None
        there = stored.get(what)
        whole = (now == before and there is None) or (now is None and there is not None and len(there) == len(before))
        _expect(whole, f"{identity} moved in part: {now} here, {there} at {what}, {before} before")
        if there is not None:
            del model.identities[identity]
            model.identities[what] = there
            landings.applied += 1
        else:
            landings.withdrawn += 1
        return
    else:
        return
    if now == before:
        landings.withdrawn += 1
        return
    landings.applied += 1
    if now is None:
        del model.identities[identity]
    else:
        model.identities[identity] = now
    model.erased |= (before or set()) - (now or set())


async def _stored(store: Store) -> dict[str, set[str]]:
    """Return what callers see: identities with their templates."""
    found: dict[str, set[str]] = {}
    counted: dict[str, int] = {}
    token = ""
    while True:
        page = await store.identities.list(GALLERY, page_size=1000, page_token=token)
        counted |= {identity.id: identity.template_count for identity in page.items}
        token = page.next_token
        if not token:
            break
    start = None
    while True:
        # By the engine: a template without its identity's record would be in no list.
        points, start = await store._engine.scroll(CONTRACT.key, Where({"kind": "template"}), 1000, start)
        for point in points:
            found.setdefault(point.payload["identity"], set()).add(point.id)
        if start is None:
            break
    _expect(found.keys() <= counted.keys(), f"templates without a record: {found.keys() - counted.keys()}")
    for identity, count in counted.items():
        _expect(len(found.get(identity, ())) == count, f"{identity} counts {count} templates")
    return {identity: found.get(identity, set()) for identity in counted}


async def _check_policies(store: Store, model: Model, landings: Landings, cut_off: list[int]) -> None:
    revisions = await store.galleries.revisions(GALLERY)
    thresholds = [policy.verify_threshold for policy in revisions]
    allowed = [model.thresholds, *([*model.thresholds, threshold_of(number)] for number in cut_off)]
    _expect(thresholds in allowed, f"policies are {thresholds[-4:]}, acknowledged were {model.thresholds[-4:]}")
    _expect([policy.revision for policy in revisions] == list(range(1, len(revisions) + 1)), "a revision is missing")
    in_force = (await store.galleries.get(GALLERY)).policy
    _expect(in_force == revisions[-1], "the policy in force is not the last revision")
    if cut_off:
        landings.applied += len(thresholds) > len(model.thresholds)
        landings.withdrawn += len(thresholds) == len(model.thresholds)
    model.thresholds = [threshold for threshold in thresholds if threshold is not None]


async def _check_erasures(store: Store, folder: Path, model: Model) -> None:
    """Wait until all erasures are finished, then look for what was erased, without the plugin's own scan."""
    end = time.monotonic() + SETTLED_WITHIN_S
    while True:
        known = await receipts(store)
        if all(one.state is ErasureState.DONE for one in known):
            break
        pending = [one for one in known if one.state is ErasureState.PENDING]
        _expect(time.monotonic() < end, f"still pending: {pending[:2]}")
        await asyncio.sleep(0.01)
    done = {one.id: one for one in known}
    _expect(model.owed <= done.keys(), f"receipts are missing: {model.owed - done.keys()}")
    for receipt in done.values():
        for one in receipt.evidence:
            _expect(one.found_after == one.held_elsewhere, f"bytes were left: {receipt}")
    # The same compaction finishes erasures without a receipt; it may still be running.
    while list(folder.glob("*/ERASE_PENDING")):  # noqa: ASYNC240
        _expect(time.monotonic() < end, "a mark of a pending erasure stays")
        await asyncio.sleep(0.01)
    _expect(len(list((folder / CONTRACT.key).glob("shard-*"))) == 1, "a shard folder was left behind")
    # What the store completes in the background may still be running, too.
    while kept := list(folder.glob("*/erasures/*")) + list(folder.glob("*/erasures/.*")):  # noqa: ASYNC240
        _expect(time.monotonic() < end, f"notes of finished erasures were left: {kept}")
        await asyncio.sleep(0.01)
    blob = await asyncio.to_thread(contents, folder)
    for template in sorted(model.erased):
        _expect(uuid.UUID(template).bytes not in blob, f"the id of {template} lies in the files")
        _expect(model.vectors.get(template, b"\xff" * 64) not in blob, f"the vector of {template} lies in the files")
    living = {template for templates in model.identities.values() for template in templates}
    if known_living := sorted(living & model.vectors.keys()):
        # Positive control: the scan must find what is stored.
        _expect(model.vectors[known_living[0]] in blob, "the scan does not find a template that is there")
        probe = Probe(np.frombuffer(model.vectors[known_living[0]], dtype="<f4"), CONTRACT)
        hits = await store.search(GALLERY, probe, limit=1000)
        _expect(not model.erased & {hit.template.id for hit in hits}, "an erased template is found by a search")


def _difference(stored: dict[str, set[str]], owed: dict[str, set[str]]) -> str:
    names = [name for name in sorted(stored.keys() | owed.keys()) if stored.get(name) != owed.get(name)]
    return ", ".join(f"{name}: stored {stored.get(name)}, owed {owed.get(name)}" for name in names[:4])


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Violation(otherwise)
