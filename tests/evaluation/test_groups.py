"""Groups at one threshold for all, compared with counting pair by pair."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sameface.evaluation.group_intervals import FEW_IDENTITIES, group_estimate, independent_difference
from sameface.evaluation.groups import measure_groups, measure_groups_at
from sameface.evaluation.labels import AGE_BANDS, band_names, read_labels
from sameface.evaluation.resampling import Estimate
from sameface.evaluation.samples import Samples
from sameface.evaluation.verification import verify
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.metrics.intervals import wilson_interval


@pytest.fixture
def table(people: Samples, tmp_path: Path) -> Path:
    rows = [
        f"p{number:02},{'north' if number % 3 else 'south'},{number},{'few' if number < 2 else 'many'}"
        for number in range(39)
    ]
    (tmp_path / "people.csv").write_text("\n".join(["id,side,age,size", *rows]))
    return tmp_path / "people.csv"


def test_labels_of_identities_reach_their_samples(people: Samples, table: Path) -> None:
    labels, left_out = read_labels(table, people)
    assert left_out == ("age",)
    assert len(labels["side"]) == len(people.sample) + 2
    by_name = dict(zip(people.sample, labels["side"], strict=False))
    assert {name[:3]: label for name, label in by_name.items()}["p03"] == "south"
    assert by_name[next(name for name in people.sample if name.startswith("p39"))] == ""
    # The photos without a face are last.
    assert labels["side"][-2:] == ("south", "north")


def test_labels_of_photos_go_by_their_paths(people: Samples, tmp_path: Path) -> None:
    text = "\n".join(f"{name},{'a' if place % 2 else 'b'}" for place, name in enumerate(people.sample))
    (tmp_path / "photos.csv").write_text("photo,half\n" + text)
    labels, _ = read_labels(tmp_path / "photos.csv", people)
    assert labels["half"][:3] == ("b", "a", "b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,side\np01,north\n", "first column"),
        ("id,side\np01,north\np01,south\n", "two rows"),
        ("id,side\nnobody,north\n", "none about"),
        ("id\np01\n", "0 columns"),
        ("id,,side\np01,x,north\np02,y,south\n", "column 2 of .* has no name"),
        ("id,side,\np01,north,\np02,south,\n", "column 3 of .* has no name"),
        ("id,side,side\np01,north,a\np02,south,b\n", "several columns 'side'"),
        ("id,side\np01,north\np02,north\n", "no column with 2 to 10"),
        ("", "first column"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(people: Samples, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(InvalidArgument, match=message):
        read_labels(tmp_path / "bad.csv", people)


def test_limits_of_bands_are_finite_and_no_two_bands_have_one_name() -> None:
    for limits in ((float("nan"),), (30.0, float("inf")), (float("-inf"), 30.0), (30.0, 30.0), ()):
        with pytest.raises(InvalidArgument, match="expected rising numbers"):
            band_names(limits)
    close = (1_000_000.0, 1_000_001.0, 1_000_002.5, 1_000_003.0)
    assert len(set(band_names(close))) == 5


@pytest.fixture
def photos(people: Samples, tmp_path: Path) -> Path:
    """Labels that differ within an identity."""
    names = [*people.sample, *(one.sample for one in people.failures)]
    rows = [f"{name},{'south' if place % 7 in (0, 1, 2) else 'north'}" for place, name in enumerate(names)]
    (tmp_path / "photos.csv").write_text("\n".join(["photo,side", *rows]))
    return tmp_path / "photos.csv"


@pytest.mark.parametrize("labelled", ["table", "photos"])
def test_rates_are_what_counting_the_pairs_of_a_group_gives(
    people: Samples, labelled: str, request: pytest.FixtureRequest
) -> None:
    labels, _ = read_labels(request.getfixturevalue(labelled), people)
    found = verify(people, (0.2, 0.05), replicates=100)
    groups = {(group.column, group.label): group for group in measure_groups(found, labels)}
    assert groups["side", "north"].is_reference
    everyone = [
        *zip(people.identity, people.vectors, labels["side"], strict=False),
        *((one.identity, None, label) for one, label in zip(people.failures, labels["side"][-2:], strict=True)),
    ]
    for side in ("north", "south"):
        group = groups["side", side]
        for point, rates in zip(found.points, group.rates, strict=True):
            accepted = non_mated = 0
            missed: dict[str, list[bool]] = {}
            for one, other in itertools.combinations([row for row in everyone if row[2] == side], 2):
                score = -9.0 if one[1] is None or other[1] is None else float(one[1] @ other[1])
                if one[0] == other[0]:
                    missed.setdefault(one[0], []).append(score < point.threshold)
                elif score > -9.0:
                    non_mated += 1
                    accepted += score >= point.threshold
            assert group.non_mated == non_mated
            assert group.mated == sum(map(len, missed.values()))
            assert rates.fmr is not None
            assert rates.fnmr is not None
            assert rates.fmr.value == pytest.approx(accepted / non_mated)
            assert rates.fnmr.value == pytest.approx(np.mean([np.mean(errors) for errors in missed.values()]))
            assert rates.fmr.interval.low <= rates.fmr.value <= rates.fmr.interval.high
    for place in (0, 1):
        north, south = groups["side", "north"].rates[place], groups["side", "south"].rates[place]
        assert north.fmr_difference is None
        assert south.fmr_difference is not None
        assert north.fmr is not None
        assert south.fmr is not None
        assert south.fmr_difference.value == pytest.approx(south.fmr.value - north.fmr.value)
        interval = south.fmr_difference.interval
        assert interval.low <= south.fmr_difference.value <= interval.high


def test_a_group_of_few_people_is_rated_marked_and_its_interval_is_wide(people: Samples, table: Path) -> None:
    labels, _ = read_labels(table, people)
    found = verify(people, (0.1,), replicates=100)
    many, few = measure_groups(found, {"size": labels["size"]})
    assert (many.is_small, few.is_small, few.identities) == (False, True, 2)
    # One of the two has a single photo, so there is one identity with mated comparisons, and one pair of identities.
    for rate in (few.rates[0].fmr, few.rates[0].fnmr, few.rates[0].fmr_difference, few.rates[0].fnmr_difference):
        assert rate is not None
        assert rate.interval.high - rate.interval.low > 0.7
        assert rate.interval.low <= rate.value <= rate.interval.high


def test_a_group_of_one_person_has_an_fnmr_and_no_fmr(people: Samples) -> None:
    labels = {"who": tuple("p04" if name == "p04" else "others" for name in owners(people))}
    others, one = measure_groups_at(people, 0.5, labels, replicates=100)
    assert (others.label, one.label, one.identities, one.non_mated) == ("others", "p04", 1, 0)
    assert one.rates[0].fmr is None
    assert one.rates[0].fmr_difference is None
    assert one.rates[0].fnmr is not None


def owners(people: Samples) -> list[str]:
    return [*people.identity, *(one.identity for one in people.failures)]


@pytest.mark.parametrize("threshold", [0.9, 0.3, -0.6])
def test_at_a_fixed_threshold_rates_are_what_counting_pairs_gives(
    people: Samples, table: Path, threshold: float
) -> None:
    labels, _ = read_labels(table, people)
    north, south = measure_groups_at(people, threshold, {"side": labels["side"]}, replicates=100)
    scores = people.vectors @ people.vectors.T
    sides = labels["side"][: len(people.identity)]
    for group in (north, south):
        pairs = [
            float(scores[one, other])
            for one, other in itertools.combinations(range(len(sides)), 2)
            if sides[one] == sides[other] == group.label and people.identity[one] != people.identity[other]
        ]
        (rates,) = group.rates
        assert (rates.target, rates.threshold, rates.is_supported) == (None, threshold, True)
        assert rates.fmr is not None
        assert rates.fmr.value == pytest.approx(np.mean(np.array(pairs) >= threshold), abs=1e-9)


def test_a_difference_from_a_group_without_errors_has_the_uncertainty_of_both(people: Samples, table: Path) -> None:
    """Resamples of a rate of 0 are all 0; the interval must not end at the other group's rates."""
    labels, _ = read_labels(table, people)
    kept = {"side": tuple(label if place % 2 else "" for place, label in enumerate(labels["side"]))}
    for threshold in (-0.99, 0.999):
        first, second = measure_groups_at(people, threshold, kept, replicates=100)
        for one, other, difference in (
            (second.rates[0].fmr, first.rates[0].fmr, second.rates[0].fmr_difference),
            (second.rates[0].fnmr, first.rates[0].fnmr, second.rates[0].fnmr_difference),
        ):
            assert one is not None
            assert other is not None
            assert difference is not None
            interval = independent_difference(one, other)
            assert difference.interval.low <= interval.low
            assert difference.interval.high >= interval.high


@settings(max_examples=25, deadline=None)
@given(
    values=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=FEW_IDENTITIES - 1),
    seed=st.integers(0, 99),
)
def test_the_interval_of_few_people_holds_wilsons(values: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    resampled = np.array([np.mean(rng.choice(values, len(values))) for _ in range(50)])
    rate = float(np.mean(values))
    found = group_estimate(rate, resampled, len(values), len(values))
    n, z = len(values), 1.959964
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    reach = z * np.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    assert found.interval.low <= max(0.0, middle - reach) + 1e-6
    assert found.interval.high >= min(1.0, middle + reach) - 1e-6


def test_intervals_of_few_people_hold_the_true_rate_as_often_as_they_say() -> None:
    """Groups of four people whose own rates vary: a plain bootstrap holds the mean rate in far fewer than 95 %."""
    rng = np.random.default_rng(0)
    held, plain = 0, 0
    for _ in range(300):
        rates = rng.beta(0.4, 1.6, 4)  # of mean 0.2
        resampled = rng.choice(rates, (200, 4)).mean(axis=1)
        interval = group_estimate(float(rates.mean()), resampled, 4, 4).interval
        held += interval.low <= 0.2 <= interval.high
        low, high = np.quantile(resampled, (0.025, 0.975))
        plain += low <= 0.2 <= high
    assert plain < 0.85 * 300
    assert held >= 0.95 * 300


def test_the_difference_of_two_rates_is_newcombes() -> None:
    """The first row of table II of Newcombe 1998: 56/70 less 48/80 is 0.2, 0.0524 to 0.3339 by method 10."""
    one, other = (Estimate(errors / trials, wilson_interval(errors, trials)) for errors, trials in ((56, 70), (48, 80)))
    interval = independent_difference(one, other)
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.0524, 0.3339)


@pytest.mark.parametrize(
    ("cell", "limits", "message"),
    [
        ("old", (18.0,), "has 'old'; expected numbers"),
        ("nan", (18.0,), "has 'nan'; expected numbers"),
        ("30", (30.0, 18.0), "expected rising numbers"),
        ("30", (), "expected rising numbers"),
    ],
)
def test_bands_of_what_is_no_number_are_refused(
    people: Samples, tmp_path: Path, cell: str, limits: tuple[float, ...], message: str
) -> None:
    (tmp_path / "ages.csv").write_text(f"id,age\np01,{cell}\np02,44\n")
    with pytest.raises(InvalidArgument, match=message):
        read_labels(tmp_path / "ages.csv", people, {"age": limits})
    with pytest.raises(InvalidArgument, match="no column 'years'"):
        read_labels(tmp_path / "ages.csv", people, {"years": (18.0,)})


def test_ages_become_bands(people: Samples, table: Path) -> None:
    labels, left_out = read_labels(table, people, {"age": AGE_BANDS})
    assert left_out == ()
    by_identity = dict(zip(owners(people), labels["age"], strict=True))
    assert [by_identity[name] for name in ("p17", "p18", "p29", "p30", "p38", "p39")] == [
        "under 18",
        "18 to under 30",
        "18 to under 30",
        "30 to under 45",
        "30 to under 45",
        "",
    ]


def test_in_a_resample_every_group_has_the_resamples_threshold(people: Samples) -> None:
    """One group of everybody has in each resample the FMR of that resample: at most the target, and near it."""
    labels = {"all": ("everybody",) * (len(people.sample) + 2)}
    found = verify(people, (0.1,), replicates=100)
    group = measure_groups(found, labels)[0]
    rates = group.rates[0]
    assert rates.fmr is not None
    assert rates.fnmr == found.points[0].fnmr_by_identity
    assert rates.fmr.value == pytest.approx(found.points[0].fmr)
    assert 0.08 < rates.fmr.interval.low <= rates.fmr.interval.high <= 0.1 + 1e-9
