"""The capacity model predicts what was measured, and grows with the demand."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.scaling.capacity import Demand, Line, Machine, Measured, plan
from benchmarks.scaling.command import CURVES
from benchmarks.scaling.tables import FITTED, curves_of

MEASURED = json.loads(CURVES.read_text())
MACHINE = Machine(cores=16, memory_gib=64, price_per_hour=1.0)
DEMAND = Demand(identities=1e8, verifications_per_s=1000, identifications_per_s=10)
BOUNDS = {"search_ms": 0.5, "store_mib": 0.25, "photo_cpu_ms": 0.25}
"""Largest relative error at sizes that the model was not made from."""


@pytest.mark.parametrize("name", ["search_ms", "store_mib"])
def test_sizes_that_the_model_was_not_made_from_are_predicted(name: str) -> None:
    line = getattr(Measured.of(curves_of(MEASURED, FITTED)), name)
    others = [point for point in curves_of(MEASURED)[name] if point[0] not in FITTED]
    assert max(work for work, _ in others) > max(FITTED), "one size lies beyond those of the fit"
    for work, cost in others:
        assert line.at(work) == pytest.approx(cost, rel=BOUNDS[name])


def test_numbers_of_faces_that_the_model_was_not_made_from_are_predicted() -> None:
    curve = curves_of(MEASURED)["photo_cpu_ms"]
    line = Line.through(curve[::2])
    for faces, cost in curve[1::2]:
        assert line.at(faces) == pytest.approx(cost, rel=BOUNDS["photo_cpu_ms"])


def test_a_line_goes_through_points_on_a_line() -> None:
    found = Line.through([(0, 3.0), (10, 5.0), (1000, 203.0)])
    assert (found.fixed, found.each) == pytest.approx((3.0, 0.2))
    assert Line.through([(10, 1.0), (1000, 100.0)]).fixed == pytest.approx(0.0, abs=1e-9)
    for curve in ([], [(1, 1.0)], [(1, 1.0), (2, 0.0)]):
        with pytest.raises(ValueError, match="expected two or more"):
            Line.through(curve)


def test_a_plan_by_hand() -> None:
    measured = Measured(photo_cpu_ms=Line(10, 20), search_ms=Line(0, 1e-4), store_mib=Line(100, 0.001))
    machine = Machine(cores=10, memory_gib=100, price_per_hour=2.0, copies=2)
    found = plan(Demand(1e7, verifications_per_s=100, identifications_per_s=1, busy=0.5), machine, measured)
    # 100 ms search a million templates, so 10 shards of 100 + 1000 MiB, twice.
    assert (found.shards, found.templates_per_shard) == (10, 1e6)
    assert found.store_memory_gib == pytest.approx(2 * 10 * 1100 / 1024)
    assert found.photo_cores == pytest.approx(101 * 0.030 / 0.5)
    assert found.search_cores == pytest.approx(1 * 10 * 0.1 / 0.5)
    assert (found.photo_nodes, found.store_nodes) == (1, 2)
    assert found.price_per_hour == 6.0
    assert found.price_per_million_verifications == pytest.approx(2.0 * 100 / 101 / 3600 / 100 * 1e6)
    assert found.gpus is None
    assert plan(DEMAND, replace(machine, photos_per_gpu_s=500.0), measured).gpus == 3


@given(
    identities=st.floats(1e3, 1e9),
    rates=st.tuples(st.floats(0, 1e4), st.floats(0, 1e3)),
    factor=st.floats(1.0, 10.0),
)
@settings(max_examples=30)
def test_more_work_needs_no_fewer_machines(identities: float, rates: tuple[float, float], factor: float) -> None:
    measured = Measured.of(curves_of(MEASURED))
    demand = Demand(identities, *rates)
    some = plan(demand, MACHINE, measured)
    for name in ("identities", "verifications_per_s", "identifications_per_s"):
        more = plan(replace(demand, **{name: getattr(demand, name) * factor}), MACHINE, measured)
        assert more.store_memory_gib >= some.store_memory_gib * 0.999
        assert more.photo_nodes >= some.photo_nodes
        assert more.store_nodes >= some.store_nodes


def test_demands_that_cannot_be_met_are_refused() -> None:
    measured = Measured.of(curves_of(MEASURED))
    for demand, machine in (
        (replace(DEMAND, identities=0), MACHINE),
        (replace(DEMAND, verifications_per_s=-1), MACHINE),
        (replace(DEMAND, search_budget_ms=1e-6), MACHINE),
        (DEMAND, replace(MACHINE, memory_gib=1e-6)),
    ):
        with pytest.raises(ValueError):  # noqa: PT011  # the messages differ
            plan(demand, machine, measured)
