"""A part is away after failures in a row, comes back by itself, and does not flap."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from sameface.health.judging import FIRST_STEADY_S, LONGEST_STEADY_S, REMEMBERED_S, Judgement, judged, steady_s
from sameface.health.parts import LIVE, NEEDS, PARTS, PartHealth, is_serving

EPOCH = 1_000_000.0
probes = st.lists(st.tuples(st.booleans(), st.floats(0.05, 3.0)), max_size=60)


def run(answers: list[tuple[bool, float]], needed: int) -> list[tuple[float, Judgement]]:
    """Judgements after each probe, with the time of the probe."""
    now, judgement, seen = 0.0, Judgement(PartHealth(True, EPOCH)), []
    for well, pause in answers:
        now += pause
        judgement = judged(judgement, "" if well else "GONE", now=now, at=EPOCH + now, failures_needed=needed)
        seen.append((now, judgement))
    return seen


@settings(max_examples=60)
@given(probes, st.integers(1, 3))
def test_it_is_away_exactly_after_so_many_failures_in_a_row(answers: list[tuple[bool, float]], needed: int) -> None:
    serving, in_a_row = True, 0
    for (well, _), (_, judgement) in zip(answers, run(answers, needed), strict=True):
        in_a_row = 0 if well else in_a_row + 1
        if in_a_row >= needed:
            serving = False
        elif serving:
            assert judgement.health.serving
        assert judgement.failures == in_a_row
        if not serving:
            # Only successes bring it back, and from then on failures are counted anew.
            serving = judgement.health.serving
            assert not (serving and not well)


@settings(max_examples=60)
@given(probes)
def test_what_is_back_has_answered_for_a_while(answers: list[tuple[bool, float]]) -> None:
    seen = run(answers, 1)
    for place, ((_, before), (now, after)) in enumerate(pairwise(seen), 1):
        if after.health.serving and not before.health.serving:
            steady = next((i for i in range(place, -1, -1) if not answers[i][0]), -1) + 1
            falls = [fall for fall in before.falls if now - fall < REMEMBERED_S]
            assert now - seen[steady][0] >= steady_s(len(falls))
        assert after.health.serving == (after.health.reason == "")
        changed = after.health.serving != before.health.serving
        assert after.health.since == (EPOCH + now if changed else before.health.since)


@settings(max_examples=30)
@given(st.lists(st.floats(0.05, 1.0), min_size=200, max_size=200), st.booleans())
def test_a_part_that_comes_and_goes_falls_only_now_and_then(pauses: list[float], first: bool) -> None:
    """However it alternates within the two minutes that are remembered."""
    seen = run([((place % 2 == 0) == first, pause) for place, pause in enumerate(pauses)], 1)
    falls = sum(before.health.serving and not after.health.serving for (_, before), (_, after) in pairwise(seen))
    # Each return needs a steady time that doubles up to the longest, and alternating answers give at most 1 s.
    assert falls <= 2
    assert [steady_s(count) for count in range(8)] == [0.5, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert (FIRST_STEADY_S, LONGEST_STEADY_S) == (0.5, 8.0)


def test_each_name_says_what_its_calls_need() -> None:
    well = {name: PartHealth(True, EPOCH) for name in PARTS}
    fallen = {name: {**well, name: PartHealth(False, EPOCH, "GONE")} for name in PARTS}
    not_serving = {part: {name for name in NEEDS if not is_serving(name, parts)} for part, parts in fallen.items()}
    faces, galleries, migrations, system = (
        f"sameface.v1.{name}Service" for name in ("Face", "Gallery", "Migration", "System")
    )
    assert not_serving == {
        "models": {"", faces, "models"},
        "store": {"", faces, galleries, migrations, "store"},
        "writes": {"writes"},
        "access": {"", faces, galleries, migrations, system, "access"},
        "issuers": {"issuers"},
        "audit": {"", faces, galleries, migrations, system, "audit"},
        "http": {"http"},
    }
    assert all(is_serving(name, well) and is_serving(name, {}) for name in NEEDS)
    assert NEEDS[LIVE] == ()
