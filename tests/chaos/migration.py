"""`python -m tests.chaos.migration`: kills a process that migrates a gallery on Qdrant Edge, again and again.

The process enrols and erases while its gallery is mapped, promoted, rolled back, cancelled or finished. After each kill
the store is opened again, and the work goes on to its end. Then everything that was acknowledged must be there under
the contract that the gallery has, what was erased must be nowhere, and the embeddings of the contract that a migration
leads away from must be as they were, to the last bit. After a migration that was finished, the next one leads back.
"""

import argparse
import asyncio
import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from sameface_qdrant import Contract, NewTemplate, OperatingPoint, Probe, Store
from sameface_qdrant.engines.base import Where
from sameface_qdrant.errors import SamefaceError
from sameface_qdrant.values.migration import MigrationState
from sameface_qdrant.values.template_map import TemplateMap

PRELOADED = ["sameface_qdrant.engines.edge.engine", "sameface_qdrant.store.store"]
OLD = Contract("voices", version=1, sha256="a" * 64, dimension=16, preprocessing="none")
NEW = Contract("voices", version=2, sha256="b" * 64, dimension=16, preprocessing="none")
POINTS = (OperatingPoint(1e-4, 0.5),)
GALLERY = "people"
POPULATION = 120
RATE = 250.0
LONGEST_S = 2.0
"""The kills come within so many seconds from the first call on, but the first one from the first erasure on."""
ANSWERED_WITHIN_S = 60.0
"""After so many seconds without an entry of its journal, the process counts as one that hangs."""
Floats = NDArray[np.float32]


class Violation(AssertionError):
    """The store broke a promise."""


@dataclass(slots=True)
class Model:
    """What the store must hold, according to its acknowledgements."""

    templates: dict[str, str] = field(default_factory=dict)
    """Identity by template."""
    erased: set[str] = field(default_factory=set)
    contract: Contract = OLD
    """The gallery's contract, or the old one while it is in a migration."""
    old: dict[str, bytes] = field(default_factory=dict)
    """Embeddings under this contract as they were seen first."""
    finished: int = 0
    states: Counter[str] = field(default_factory=Counter)
    """In which state a kill left the migration."""


def vector_of(number: int) -> Floats:
    """The old model's embedding of a photo."""
    vector = np.random.default_rng(number).normal(size=OLD.dimension)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def a_map(old: Contract = OLD) -> TemplateMap:
    """The map from one of the two contracts to the other one."""
    turned, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(OLD.dimension, OLD.dimension)))
    weight = (turned if old == OLD else turned.T).astype(np.float32)
    return TemplateMap(old, other(old), weight, np.zeros(OLD.dimension, np.float32), None, POINTS)


def other(contract: Contract) -> Contract:
    """The other contract."""
    return NEW if contract == OLD else OLD


def template_of(number: int, contract: Contract) -> NewTemplate:
    """A photo embedded by both models; its first embedding is under the gallery's contract."""
    old = Probe(vector_of(number), OLD)
    new = Probe(a_map().applied(vector_of(number)[None])[0], NEW)
    mine, also = (old, new) if contract == OLD else (new, old)
    return NewTemplate(mine.vector, mine.contract, content=b"%d" % number, also=(also,))


def work(url: str, first: int, end: str, victims: list[tuple[str, str]], journal: Any) -> None:
    """Migrate, enrol and erase until it is killed."""
    asyncio.run(_work(url, first, end, victims, journal))


async def _work(url: str, first: int, end: str, victims: list[tuple[str, str]], journal: Any) -> None:
    store = await Store.open(url)
    journal.send(("ready",))
    await asyncio.gather(_write(store, first, victims, journal), _migrate(store, end))
    journal.send(("idle",))


async def _write(store: Store, first: int, victims: list[tuple[str, str]], journal: Any) -> None:
    for turn, (identity, template) in enumerate(victims):
        gallery = await store.galleries.get(GALLERY)
        name = f"n{first + turn}"
        journal.send(("enroll", name))
        (stored,) = await store.enroll(GALLERY, name, template_of(first + turn, gallery.contract))
        journal.send(("enrolled", name, stored.id))
        journal.send(("erase", template))
        await store.templates.delete(GALLERY, identity, template)
        journal.send(("erased", template))


async def _migrate(store: Store, end: str) -> None:
    contract = (await store.galleries.get(GALLERY)).contract
    found = await store.migrations.create(GALLERY, a_map(contract), operating_points=POINTS, rate=RATE)
    await store.migrations.worker.settle()
    if end == "cancel":
        await store.migrations.cancel(GALLERY, found.id)
        return
    await store.migrations.promote(GALLERY, found.id)
    if end == "roll back":
        await store.migrations.roll_back(GALLERY, found.id)
        return
    await store.migrations.finish(GALLERY, found.id)


async def chaos(folder: Path, kills: int, seed: int) -> Model:
    """Kill so many times; raise Violation as soon as the store breaks a promise."""
    moments, context = random.Random(seed), multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    url, model = f"edge://{folder}", Model()
    store = await Store.open(url)
    await store.galleries.create(GALLERY, OLD, operating_points=POINTS)
    for number in range(POPULATION):
        (stored,) = await store.enroll(GALLERY, f"p{number}", template_of(number, OLD))
        model.templates[stored.id] = f"p{number}"
    await _check(store, model, set())
    await store.aclose()
    for kill in range(kills):
        end = ("roll back", "finish", "roll back", "cancel")[kill % 4]
        victims = [(name, one) for one, name in moments.sample(sorted(model.templates.items()), 40)]
        # The first kill comes when something is erased, or else chance alone would decide whether anything ever is.
        after = "ready" if kill else "erased"
        journal = _killed(context, moments, (url, 1000 * (kill + 1), end, victims), after)
        doubtful = _acknowledged(model, journal)
        store = await Store.open(url)
        try:
            model.states[await _state(store)] += 1
            await _check(store, model, doubtful)
            await _end(store, moments)
            await _check(store, model, set())
        except (Violation, SamefaceError) as broken:
            raise Violation(f"kill {kill} (seed {seed}): {broken!r}; journal: {journal[-8:]}") from broken
        finally:
            await store.aclose()
    return model


def _killed(context: Any, moments: random.Random, task: tuple[Any, ...], after: str) -> list[tuple[Any, ...]]:
    """Kill the process some time after the first entry of a kind; return what it has acknowledged."""
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(*task, theirs))
    process.start()
    theirs.close()
    journal: list[tuple[Any, ...]] = []
    if not _received(ours, journal, after):
        raise Violation(f"the process has ended, and nothing is {after}; journal: {journal[-8:]}")
    time.sleep(moments.uniform(0, LONGEST_S))
    process.kill()
    process.join()
    _received(ours, journal)
    return journal


def _received(journals: Any, journal: list[tuple[Any, ...]], until: str = "") -> bool:
    """Read entries up to the first one of a kind; return whether there is one."""
    while True:
        try:
            if not journals.poll(ANSWERED_WITHIN_S):
                raise Violation(f"nothing was acknowledged for {ANSWERED_WITHIN_S} s; journal: {journal[-8:]}")
            journal.append(journals.recv())
        except (EOFError, OSError):  # an entry that was cut off is no acknowledgement
            return False
        if journal[-1][0] == until:
            return True


def _acknowledged(model: Model, journal: list[tuple[Any, ...]]) -> set[str]:
    """Apply what was acknowledged; return the names and templates of calls that were cut off."""
    doubtful: set[str] = set()
    for kind, *what in journal:
        if kind in ("enroll", "erase"):
            doubtful.add(what[0])
        elif kind == "enrolled":
            model.templates[what[1]] = what[0]
            doubtful.discard(what[0])
        elif kind == "erased":
            del model.templates[what[0]]
            model.erased.add(what[0])
            doubtful.discard(what[0])
    return doubtful


async def _state(store: Store) -> str:
    gallery = await store.galleries.get(GALLERY)
    if gallery.migration is None:
        return "none"
    found = await store.migrations.get(GALLERY, gallery.migration.id)
    return f"{found.state.value}{' at the fence' if store.migrations.gate.is_closed(GALLERY) else ''}"


async def _points(store: Store, contract: Contract) -> dict[str, Any]:
    gallery = await store.galleries.get(GALLERY)
    engine = cast(Any, store.galleries.contracts).below
    await engine.ensure(contract.key, contract.dimension)
    where = Where({"gallery": gallery.uid, "kind": "template"})
    page, following = await engine.scroll(contract.key, where, 5000)
    assert following is None
    return dict(await engine.get(contract.key, [point.id for point in page], with_vector=True))


async def _check(store: Store, model: Model, doubtful: set[str]) -> None:
    """Compare the store with what was acknowledged; what is ``doubtful`` may be there or not, and then counts."""
    await store.migrations.worker.settle()
    gallery = await store.galleries.get(GALLERY)
    base = gallery.contract if gallery.migration is None else gallery.migration.old
    if base != model.contract:
        model.contract, model.old, model.finished = base, {}, model.finished + 1
    under = {contract: await _points(store, contract) for contract in (OLD, NEW)}
    present = under[gallery.contract]
    for one in [one for one in doubtful if one in model.templates and one not in present]:
        del model.templates[one]
        model.erased.add(one)
    for one, point in present.items():
        if point.payload["identity"] in doubtful:
            model.templates[one] = point.payload["identity"]
    if present.keys() != model.templates.keys():
        raise Violation(f"stored and acknowledged differ: {sorted(present.keys() ^ model.templates.keys())[:4]}")
    for one, point in present.items():
        if point.payload["contract"] != gallery.contract.key:
            raise Violation(f"{one} is compared under {gallery.contract.key} and is one of {point.payload['contract']}")
    for contract, points in under.items():
        # An erasure that was not acknowledged may have reached the primary collection alone, until the migration ends.
        if left := (model.erased - doubtful) & points.keys():
            raise Violation(f"erased templates are stored under {contract.key}: {sorted(left)[:4]}")
    if gallery.migration is None and under[other(gallery.contract)]:
        raise Violation(f"templates are left under {other(gallery.contract).key}")
    for one, point in under[base].items():
        if model.old.setdefault(one, point.vector.tobytes()) != point.vector.tobytes():
            raise Violation(f"the old embedding of {one} has changed")
    await _decide(store, model, gallery.contract)


async def _decide(store: Store, model: Model, contract: Contract) -> None:
    for one, name in sorted(model.templates.items())[:5]:
        number = int(name[1:])
        probe = template_of(number, contract)
        found = await store.identify(GALLERY, Probe(probe.vector, contract), threshold=0.5)
        if found.candidates[0].identity != name:
            raise Violation(f"{one} of {name} is not found under {contract.key}")


async def _end(store: Store, moments: random.Random) -> None:
    """Bring what the kill left to an end, so that the next process can begin again."""
    gallery = await store.galleries.get(GALLERY)
    if gallery.migration is None:
        return
    migrations, found = store.migrations, gallery.migration
    state = (await migrations.get(GALLERY, found.id)).state
    if state is MigrationState.MAPPED and moments.random() < 0.5:
        await migrations.promote(GALLERY, found.id)
        state = MigrationState.PROMOTED
    if state is MigrationState.PROMOTED:
        await (migrations.finish if moments.random() < 0.3 else migrations.roll_back)(GALLERY, found.id)
    elif not state.ended:
        await migrations.cancel(GALLERY, found.id)


def main() -> int:
    """Return 0 where every promise was kept."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.migration",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=20261124)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            model = asyncio.run(chaos(Path(folder) / "store", arguments.kills, arguments.seed))
        except Violation as broken:
            print(f"VIOLATION: {broken}", file=sys.stderr)
            return 1
    print(
        f"{arguments.kills} kills, {len(model.templates)} templates, {len(model.erased)} erased, {model.finished} "
        "migrations finished; the migration was"
    )
    for state, count in model.states.most_common():
        print(f"  {count:4} times {state}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
