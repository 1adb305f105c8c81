"""Groups at one threshold for all, compared with counting pair by pair."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from sameface.evaluation.groups import measure_groups, read_labels
from sameface.evaluation.samples import Samples
from sameface.evaluation.verification import verify
from sameface_qdrant.errors import InvalidArgument


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
        ("id,side\np01,north\np02,north\n", "no column with 2 to 10"),
        ("", "first column"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(people: Samples, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(InvalidArgument, match=message):
        read_labels(tmp_path / "bad.csv", people)


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


def test_a_group_of_few_people_is_counted_and_not_rated(people: Samples, table: Path) -> None:
    labels, _ = read_labels(table, people)
    groups = measure_groups(verify(people, (0.1,), replicates=100), {"size": labels["size"]})
    few = next(group for group in groups if group.label == "few")
    assert few.identities == 2
    assert few.rates[0].fmr is None
    assert few.rates[0].fnmr_difference is None


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
