"""Attempts are counted, and times are found, as a look at every moment finds them."""

from hypothesis import given
from hypothesis import strategies as st

from tests.faults.attempts import OK, Attempt, Look, Road, back_after, counts, during, health, is_settled, told

AWAY = "UNAVAILABLE STORE_UNAVAILABLE"


def attempts_of(times: list[tuple[float, bool]]) -> list[Attempt]:
    return [Attempt(Road.STORE, at, at + 0.5, OK if well else AWAY) for at, well in times]


@given(st.lists(st.tuples(st.integers(0, 30).map(float), st.booleans()), max_size=12), st.integers(0, 30).map(float))
def test_from_back_on_every_attempt_succeeds_and_no_earlier_moment_has_that(
    times: list[tuple[float, bool]], over: float
) -> None:
    attempts = attempts_of(times)
    # Brute force: the first moment, at or after the end of the fault, from which on everything succeeds.
    moments = sorted({over, *(at for at, _ in times if at > over)})
    well = [moment for moment in moments if all(not one.failed for one in attempts if one.began >= moment)]
    assert back_after(attempts, over) == (well[0] - over if well else float("inf"))


def test_answers_are_counted_by_road_and_told_with_ok_first() -> None:
    attempts = [*attempts_of([(1, True), (2, False), (3, False)]), Attempt(Road.PHOTO, 4, 5, OK)]
    found = counts(attempts)
    assert found == {Road.STORE: {AWAY: 2, OK: 1}, Road.PHOTO: {OK: 1}}
    assert told(found[Road.STORE]) == f"1 OK; 2 {AWAY}"
    assert during(attempts, 1.6, 2.9) == [attempts[1]]


def test_health_is_told_in_spans_from_the_fault() -> None:
    states = ["SERVING", "SERVING", "NOT_SERVING", "NOT_SERVING", "no answer", "SERVING"]
    looks = [Look(10 + 0.5 * number, state) for number, state in enumerate(states)]
    assert health(looks, 10, 13) == "NOT_SERVING 1.0 to 2.0 s, no answer 2.0 to 2.5 s"
    assert health(looks[:2], 10, 13) == "SERVING"
    assert health(looks[:3], 10, 13) == "NOT_SERVING 1.0 to 3.0 s"


def test_settled_needs_a_success_on_every_road_and_no_failure() -> None:
    well = attempts_of([(9, True)])
    assert is_settled(well, [Road.STORE], 10, 2)
    assert not is_settled(well, [Road.STORE, Road.PHOTO], 10, 2)
    assert not is_settled([*well, *attempts_of([(8.5, False)])], [Road.STORE], 10, 2)
    assert not is_settled(well, [Road.STORE], 20, 2)
