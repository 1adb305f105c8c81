"""The rules of the queue, against a simulation with a clock of its own."""

import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sameface.api.queueing import (
    LONGEST_PAUSE_S,
    MOST_CALLERS,
    OUTLIER,
    PLANNED,
    SHORTEST_PAUSE_S,
    Forecast,
    Line,
    Pauses,
    Work,
    is_refused,
    longest_wait,
)

CALLERS = "abcd"
EXPECTED = st.sampled_from([0.01, 0.05, 0.4])


def work(caller: str, expected_s: float = 0.05) -> Work:
    return Work(caller, "kind", expected_s, begin_by=float("inf"))


def drained(line: Line) -> list[Work]:
    found = []
    while (one := line.next()) is not None:
        found.append(one)
    return found


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(CALLERS), EXPECTED, st.sampled_from(["add", "leave", "next"])), max_size=60))
def test_the_line_holds_what_came_and_neither_left_nor_was_begun(steps: list[tuple[str, float, str]]) -> None:
    line, waiting = Line(), dict[Work, None]()
    for caller, expected_s, step in steps:
        if step == "add":
            one = work(caller, expected_s)
            line.add(one)
            waiting[one] = None
        elif step == "leave" and waiting:
            gone = random.Random(len(waiting)).choice(list(waiting))
            line.leave(gone)
            line.leave(gone)
            del waiting[gone]
        elif step == "next":
            begun = line.next()
            assert (begun is None) == (not waiting)
            if begun is not None:
                # The oldest work of its caller.
                assert begun is next(one for one in waiting if one.caller == begun.caller)
                del waiting[begun]
        assert line.length == len(waiting)
    assert set(drained(line)) == set(waiting)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from(CALLERS), EXPECTED), min_size=1, max_size=40),
    st.sampled_from(CALLERS),
    st.integers(0, 10),
)
def test_the_predicted_wait_is_the_work_that_is_begun_before(
    queued: list[tuple[str, float]], caller: str, begun: int
) -> None:
    line = Line()
    for one in queued:
        line.add(work(*one))
    for _ in range(begun):
        line.next()
    predicted, newcomer = line.ahead_s(caller), work(caller)
    line.add(newcomer)
    order = drained(line)
    assert predicted == pytest.approx(sum(one.expected_s for one in order[: order.index(newcomer)]))


@settings(max_examples=40)
@given(st.lists(st.integers(1, 60), min_size=2, max_size=4), st.integers(0, 1000))
def test_callers_that_wait_have_equal_parts_whatever_each_sends(counts: list[int], seed: int) -> None:
    rng, line = random.Random(seed), Line()
    costs = {caller: rng.choice([0.01, 0.05, 0.2]) for caller in CALLERS}
    sent = [caller for caller, count in zip(CALLERS, counts, strict=False) for _ in range(count)]
    rng.shuffle(sent)
    for caller in sent:
        line.add(work(caller, costs[caller]))
    left, done = Counter(sent), defaultdict[str, float](float)
    while (one := line.next()) is not None:
        done[one.caller] += one.expected_s
        left[one.caller] -= 1
        backlogged = [caller for caller, count in left.items() if count]
        if len(backlogged) == len(left):
            # Nobody who still waits is more than one piece of each caller's work behind another (SFQ, theorem 1).
            most, least = max(done[one] for one in backlogged), min(done[one] for one in backlogged)
            assert most - least <= max(costs.values()) * 2 + 1e-9


def test_a_newcomer_is_begun_before_the_rest_of_a_greedy_caller() -> None:
    line = Line()
    for _ in range(30):
        line.add(work("greedy"))
    assert line.next() is not None
    line.add(work("modest"))
    assert [one.caller for one in drained(line)][:2].count("modest") == 1


def test_a_caller_whose_work_takes_longer_than_expected_has_fewer_turns() -> None:
    line, begun, now = Line(), Counter[str](), 0.0
    for caller in ("heavy", "light"):
        line.add(work(caller))
    while now < 20.0:
        one = line.next()
        assert one is not None
        took = 0.45 if one.caller == "heavy" else 0.05
        line.charge(one.caller, took - one.expected_s)
        now += took
        begun[one.caller] += 1
        # Each always has some work waiting.
        line.add(work(one.caller))
    assert begun["light"] / begun["heavy"] == pytest.approx(9.0, rel=0.15)


def test_callers_are_equal_again_when_nobody_waits_and_are_not_remembered() -> None:
    line = Line()
    for number in range(20):
        line.add(work(f"caller-{number % 3}"))
    assert len(drained(line)) == 20
    assert not line._ends
    assert line.ahead_s("caller-0") == line.ahead_s("newcomer") == 0.0
    line.add(work("waits"))
    for number in range(5000):
        line.add(work(f"caller-{number}"))
        line.next()
    assert len(line._ends) <= MOST_CALLERS


@settings(max_examples=40)
@given(
    st.floats(0, 100),
    st.floats(0.001, 10),
    st.floats(0, 10),
    st.none() | st.floats(0, 100),
)
def test_who_need_not_wait_is_taken_and_who_would_be_late_is_refused(
    wait_s: float, work_s: float, longest_s: float, left_s: float | None
) -> None:
    refused = is_refused(wait_s, work_s, longest_s, left_s)
    if wait_s == 0:
        assert not refused
    elif left_s is not None and wait_s + work_s > left_s:
        assert refused
    else:
        assert refused == (wait_s > PLANNED * longest_wait(longest_s, work_s))


def test_a_forecast_follows_what_is_measured_and_not_an_outlier() -> None:
    forecast = Forecast()
    forecast.add("photo", 0.1)
    forecast.add("photo", 60.0)
    assert forecast.seconds("photo") <= 0.1 * (1 + OUTLIER / 10)
    for _ in range(100):
        forecast.add("photo", 2.0)
        forecast.add("list", 0.001)
    assert forecast.seconds("photo") == pytest.approx(2.0, rel=0.05)
    assert forecast.seconds("list") == pytest.approx(0.001, rel=0.05)
    assert 0.001 < forecast.seconds("never seen") < 2.0


@settings(max_examples=40)
@given(st.lists(st.floats(0, 1000), max_size=50))
def test_a_forecast_stays_among_what_was_measured(measured: list[float]) -> None:
    forecast = Forecast()
    for one in measured:
        forecast.add("kind", one)
    if measured:
        assert min(measured) <= forecast.seconds("kind") + 1e-4
        assert forecast.seconds("kind") <= max(1e-4, *measured)


def test_kinds_are_limited() -> None:
    forecast = Forecast()
    for number in range(5000):
        forecast.add(f"kind-{number}", 0.1)
    assert len(forecast._seconds) <= 1024


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 5), st.floats(0, 0.999)), min_size=1, max_size=50),
    st.floats(0.1, 1000),
)
def test_pauses_are_bounded_and_grow_with_the_backlog(refusals: list[tuple[float, float, float]], per_s: float) -> None:
    pauses, longer, now = Pauses(), Pauses(), 0.0
    for since, wait_s, dice in refusals:
        now += since
        pause = pauses.next(now, wait_s, per_s, dice)
        assert SHORTEST_PAUSE_S <= pause <= LONGEST_PAUSE_S
        assert pause <= longer.next(now, wait_s + 1.0, per_s, dice)


def test_refused_callers_come_back_no_faster_than_they_can_be_answered() -> None:
    pauses, rng = Pauses(), random.Random(5)
    backs = sorted(pauses.next(0.0, 0.5, 50.0, rng.random()) for _ in range(200))
    # 200 calls take 4 s: half of them have not come back after half of that.
    assert backs[100] > 1.5
    assert len({round(one, 1) for one in backs}) > 20
