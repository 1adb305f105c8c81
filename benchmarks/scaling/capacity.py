"""How many machines a load needs: straight lines through measured curves, extrapolated. Pure functions.

Exact search compares a probe with every template, so its time grows in proportion to the gallery. So does its memory.
The work of a photo grows with the number of its faces. Nothing here knows a price: a price is an input.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Curve = Sequence[tuple[float, float]]
"""Points: how much work, and its cost."""


@dataclass(frozen=True, slots=True)
class Line:
    """A cost that grows in proportion to the work, on top of what it costs without any."""

    fixed: float
    each: float

    def at(self, work: float) -> float:
        """Return the cost of so much work."""
        return self.fixed + self.each * work

    @classmethod
    def through(cls, curve: Curve) -> "Line":
        """Fit measured points. Relative errors count, so that small amounts of work fit as well as large ones.

        Raises:
            ValueError: there are fewer than two points, or a cost that is not above zero.
        """
        if len(curve) < 2 or min(cost for _, cost in curve) <= 0:
            raise ValueError(f"{len(curve)} points; expected two or more with costs above zero")
        work, cost = np.array(curve, dtype=float).T
        # Least squares of (fixed + each·work)/cost - 1. Neither part of a cost is below zero.
        columns = np.stack([1 / cost, work / cost], axis=1)
        (fixed, each), *_ = np.linalg.lstsq(columns, np.ones(len(cost)), rcond=None)
        if fixed < 0:
            fixed, each = 0.0, float(columns[:, 1].sum() / (columns[:, 1] ** 2).sum())
        return cls(float(fixed), max(0.0, float(each)))


@dataclass(frozen=True, slots=True)
class Measured:
    """What one machine was measured to need."""

    photo_cpu_ms: Line
    """Processor milliseconds of a photo, by the number of its faces."""
    search_ms: Line
    """Milliseconds of an exact search on one core, by the number of templates."""
    store_mib: Line
    """MiB of memory of the store, by the number of templates."""

    @classmethod
    def of(cls, curves: Mapping[str, Curve]) -> "Measured":
        """Fit the curves ``photo_cpu_ms``, ``search_ms`` and ``store_mib``."""
        return cls(*(Line.through(curves[name]) for name in ("photo_cpu_ms", "search_ms", "store_mib")))


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked for."""

    identities: float
    verifications_per_s: float
    identifications_per_s: float
    templates_per_identity: float = 1.0
    faces_per_photo: float = 1.0
    search_budget_ms: float = 100.0
    """How long the search of one shard may take."""
    busy: float = 0.7
    """Share of a core that is planned for; the rest is for peaks."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine of the plan."""

    cores: int
    memory_gib: float
    price_per_hour: float
    """In any currency; prices of the plan are in the same one."""
    copies: int = 1
    """Copies of each shard, on different machines."""
    photos_per_gpu_s: float | None = None
    """Photos that one GPU embeds in a second; None: not measured."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the demand needs."""

    templates: float
    shards: int
    templates_per_shard: float
    store_memory_gib: float
    """Of all shards and their copies."""
    photo_cores: float
    search_cores: float
    photo_nodes: int
    store_nodes: int
    gpus: int | None
    """GPUs that would do the work of the models instead; None: no GPU was measured."""
    price_per_million_verifications: float
    """Of the nodes for photos. What a claim costs the store is small beside it."""
    price_per_hour: float


def plan(demand: Demand, machine: Machine, measured: Measured) -> Plan:
    """Return what a demand needs on machines of one kind.

    A verification in scope CLAIM reads a few records, whatever the size of the gallery. An identification searches
    every shard: each in ``search_budget_ms``, all at the same time on different cores.

    Raises:
        ValueError: one search takes longer than its budget even in an empty shard, or a number is not above zero.
    """
    positive = (demand.identities, demand.templates_per_identity, demand.busy, machine.cores, machine.memory_gib)
    if min(positive) <= 0 or min(demand.verifications_per_s, demand.identifications_per_s) < 0:
        raise ValueError(f"{demand} on {machine}: sizes must be above zero, and rates not below zero")
    templates = demand.identities * demand.templates_per_identity
    left = demand.search_budget_ms - measured.search_ms.fixed
    if left <= 0:
        raise ValueError(
            f"a search of an empty shard takes {measured.search_ms.fixed:.3g} ms, more than {demand.search_budget_ms:g}"
        )
    by_time = left / measured.search_ms.each if measured.search_ms.each else math.inf
    memory_mib = machine.memory_gib * 1024
    by_memory = (
        (memory_mib - measured.store_mib.fixed) / measured.store_mib.each if measured.store_mib.each else math.inf
    )
    if by_memory <= 0:
        raise ValueError(
            f"a store needs {measured.store_mib.fixed:.0f} MiB when it is empty; {memory_mib:.0f} are too few"
        )
    shards = math.ceil(templates / min(by_time, by_memory))
    each = templates / shards
    store_gib = machine.copies * shards * measured.store_mib.at(each) / 1024
    rate = demand.verifications_per_s + demand.identifications_per_s
    photo_cores = rate * measured.photo_cpu_ms.at(demand.faces_per_photo) / 1e3 / demand.busy
    search_cores = demand.identifications_per_s * shards * measured.search_ms.at(each) / 1e3 / demand.busy
    photo_nodes = math.ceil(photo_cores / machine.cores)
    # Shards of one machine may be searched one after the other, so a search needs a core for each of them.
    store_nodes = max(
        math.ceil(store_gib / machine.memory_gib),
        math.ceil(search_cores / machine.cores),
        math.ceil(shards * machine.copies / machine.cores) if demand.identifications_per_s else 1,
    )
    claims = demand.verifications_per_s / rate if rate else 0.0
    hourly = photo_nodes * machine.price_per_hour * claims
    per_million = hourly / 3600 / demand.verifications_per_s * 1e6 if demand.verifications_per_s else 0.0
    return Plan(
        templates=templates,
        shards=shards,
        templates_per_shard=each,
        store_memory_gib=store_gib,
        photo_cores=photo_cores,
        search_cores=search_cores,
        photo_nodes=photo_nodes,
        store_nodes=store_nodes,
        gpus=math.ceil(rate / machine.photos_per_gpu_s) if machine.photos_per_gpu_s else None,
        price_per_million_verifications=per_million,
        price_per_hour=(photo_nodes + store_nodes) * machine.price_per_hour,
    )
