"""What callers give to a calibration is checked, and what it answers is short to print and says 1 identity."""

import dataclasses
import io
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sameface_qdrant import (
    Cohort,
    Gallery,
    Policy,
    Store,
    labelled_scores,
    read_cohort,
    read_scores,
    recorded_decisions,
)
from sameface_qdrant.calibration.caveats import unsupported_targets
from sameface_qdrant.calibration.gallery import measure
from sameface_qdrant.calibration.requests import CalibrationOptions, GalleryTemplates
from sameface_qdrant.errors import InvalidArgument, SamefaceError
from sameface_qdrant.metrics.comparisons import Comparisons
from sameface_qdrant.metrics.cross_comparison import compare_cohort
from tests.plugin.deciding import CONTRACT, LOOSE, alike, calibrated, drawn
from tests.plugin.simulated import people

ANY: Any = lambda value: value  # noqa: E731  # so that a type checker lets a wrong value pass
NO_COLUMN: list[Any] = [
    "text",
    b"bytes",
    object(),
    ["a", "b"],
    [1j, 2j],
    [[1.0], [2.0, 3.0]],
    [object(), object()],
    {"a": 1},
    lambda: None,
    np.array(["2020-01-01", "2021-01-01"], "datetime64[D]"),
    np.ma.masked_array([0.5, 999.0], [False, True]),
    ["0.5", "x"],
]
COLUMNS: dict[str, Callable[[Any], object]] = {
    "labelled_scores(scores)": lambda wrong: labelled_scores(wrong, ["a", "a"], ["a", "b"]),
    "labelled_scores(leads)": lambda wrong: labelled_scores([0.1, 0.2], ["a", "a"], ["a", "b"], wrong),
    "recorded_decisions(scores)": recorded_decisions,
    "recorded_decisions(leads)": lambda wrong: recorded_decisions([0.1, 0.2], wrong),
    "recorded_decisions(mated)": lambda wrong: recorded_decisions([0.1, 0.2], mated=wrong),
    "recorded_decisions(first)": lambda wrong: recorded_decisions([0.1, 0.2], first=wrong, second=[1, 2]),
    "recorded_decisions(second)": lambda wrong: recorded_decisions([0.1, 0.2], first=[1, 2], second=wrong),
}


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("wrong", NO_COLUMN, ids=lambda one: str(one)[:20])
def test_a_column_of_something_else_than_numbers_is_refused_by_name(name: str, wrong: Any) -> None:
    field = name.partition("(")[2].rstrip(")")
    with pytest.raises(InvalidArgument, match=f"^{field} holds .*; expected real numbers"):
        COLUMNS[name](wrong)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: recorded_decisions([0.1], first=[1.5], second=[1]), "first holds a number that is not whole"),
        (lambda: recorded_decisions([0.1], first=[2**63], second=[1]), "first holds a number .* more than 64 bits"),
        (lambda: recorded_decisions([0.1], first=[math.nan], second=[1]), "first holds a number that is not whole"),
        (lambda: recorded_decisions([0.1, 0.2], mated=[1, 2]), "mated holds 2; expected True or False"),
        (lambda: labelled_scores([0.1], "a", ["b"]), "first is a str; expected a sequence of labels"),
        (lambda: labelled_scores([0.1], ["a"], ANY(3)), "second is a int; expected a sequence of labels"),
        (lambda: labelled_scores([0.1], ANY([None]), ["b"]), r"first\[0\] is None; expected a label"),
        (lambda: labelled_scores([0.1], ["a"], ANY([math.nan])), r"second\[0\] is nan; expected a label"),
        (lambda: read_cohort(ANY(3)), "path is a int; expected a Path"),
        (lambda: read_scores(ANY("scores.csv")), "file is a str; expected an open text file"),
        (lambda: read_scores(ANY(3)), "file is a int; expected an open text file"),
        (lambda: read_scores(ANY(io.BytesIO(b"score,first,second\n"))), "cannot be read at line .* opened as text"),
        (lambda: read_scores(io.StringIO("score,first,second\n0.1,a,b\n" + 200_000 * "x")), "cannot be read at line"),
        (lambda: CalibrationOptions(seed=-1), "seed is -1; expected 0 or more"),
        (lambda: CalibrationOptions(max_comparisons=0), "max_comparisons is 0; expected 1 or more"),
        (lambda: Cohort(ANY(3), ("a",)).units(CONTRACT), "has a int as vectors"),
        (lambda: Cohort(ANY(np.float32(3)), ("a",)).units(CONTRACT), "has a float32 as vectors"),
        (lambda: Cohort(np.ones((1, 24), np.float32), ANY("a")).units(CONTRACT), "a str as identities"),
    ],
)
def test_a_malformed_argument_is_refused_by_name(call: Any, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        call()


def test_columns_that_hold_numbers_in_another_form_are_read() -> None:
    table = labelled_scores(["0.5", "0.25"], ANY([7, 7]), ["7", "8"], ANY([0.1, None]))
    assert (table.mated.tolist(), table.non_mated.tolist(), table.names) == ([0.5], [0.25], ("7", "8"))
    assert table.non_mated_leads is not None
    assert np.isnan(table.non_mated_leads).all()
    # More than a float can hold.
    found = recorded_decisions([0.1, 0.2], first=[2**53 + 1, 1], second=[2**53, 1])
    assert found.mated is not None
    assert found.mated.tolist() == [False, True]


def test_a_file_that_is_no_cohort_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cohort.npz"
    np.savez(path, vectors=np.ones((2, 4)), identities=np.array([7, 8]))
    whole = path.read_bytes()
    for content in (b"", b"PK\x03\x04 and more", whole[:-30], whole.replace(b"\x93NUMPY", b"\x93NUMPX")):
        path.write_bytes(content)
        with pytest.raises(InvalidArgument, match="is not a cohort"):
            read_cohort(path)
    with path.open("wb") as file:
        np.save(file, np.ones((2, 4)))
    with pytest.raises(InvalidArgument, match="is not a cohort"):
        read_cohort(path)


async def test_a_text_is_no_operation(store: Store) -> None:
    vectors, names = people(np.random.default_rng(1), 2, 1)
    await store.galleries.create("staff", dataclasses.replace(CONTRACT, dimension=32), policy=Policy())
    assert len(vectors) == len(names)
    with pytest.raises(InvalidArgument, match=r"operation is 'verification' \(str\); expected Operation\.VERIFICATION"):
        await store.what_if("staff", "verification")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="seed is -1"):
        await store.calibrate("staff", seed=-1)


def values_in(value: Any) -> Iterator[Any]:
    """Yield every dataclass within a value."""
    if dataclasses.is_dataclass(value):
        yield value
        for field in dataclasses.fields(value):
            yield from values_in(getattr(value, field.name))
    elif isinstance(value, tuple):
        for one in value:
            yield from values_in(one)


def test_whatever_a_calibration_answers_is_short_to_print() -> None:
    rng = np.random.default_rng(1)
    found = calibrated(drawn(rng, *alike(rng, 20), 2))
    printed = {type(one).__name__: repr(one) for one in values_in(found)}
    assert {"ExpectedAnswer", "ExpectedAnswers", "ExpectedShare", "MeasuredMargin", "MeasuredThreshold"} <= set(printed)
    assert {name: text for name, text in printed.items() if len(text) > 180} == {}


def test_a_gallery_of_one_identity_is_compared_with_a_cohort_without_a_warning() -> None:
    rng = np.random.default_rng(1)
    templates = drawn(rng, *alike(rng, 6), 2).reshape(12, -1)
    names = [f"p{one // 2}" for one in range(12)]
    with np.errstate(all="raise"):
        found = compare_cohort(templates[2:], names[2:], templates[:2], names[:2])
    assert found.non_mated_searches is not None
    assert np.isnan(found.non_mated_searches.leads).all()


def evidence_of_one() -> Iterator[Comparisons | GalleryTemplates]:
    rng = np.random.default_rng(1)
    templates = drawn(rng, *alike(rng, 3), 2)
    yield GalleryTemplates(templates[:2].reshape(4, -1), ["a", "a", "b", "b"], 4, unusable=1)
    yield GalleryTemplates(templates[:2, 0], ["a", "b"], 2)
    yield GalleryTemplates(templates[:1].reshape(2, -1), ["a", "a"], 2)
    yield labelled_scores([0.1, 0.9], ["a", "a"], ["b", "a"])
    yield labelled_scores([0.1], ["a"], ["b"])


def test_one_is_not_several() -> None:
    said: list[str] = []
    rng = np.random.default_rng(1)
    one = drawn(rng, *alike(rng, 1), 1)[0]
    cohorts = [None, Cohort(one, ("c",)), Cohort(one, ("c", "d")), Cohort(one, ("a",))]
    for evidence in evidence_of_one():
        for cohort in cohorts if isinstance(evidence, GalleryTemplates) else cohorts[:1]:
            try:
                found = measure(Gallery("staff", CONTRACT, Policy()), 1, evidence, CalibrationOptions(cohort=cohort))
                said += [*found.caveats, found.calibration.verify.reason, found.calibration.identify.reason]
            except SamefaceError as error:
                said.append(str(error))
    for call in (
        lambda: labelled_scores([0.1], ["a"], ["a"]),
        lambda: labelled_scores([0.1], ["a", "b"], ["a"]),
        lambda: labelled_scores([0.1, 0.2], ["a", "b"], ["a", "c"], [0.1]),
        lambda: recorded_decisions([0.1, 0.2], [0.1]),
    ):
        with pytest.raises(SamefaceError) as refused:
            call()
        said.append(str(refused.value))
    assert len(said) > 40
    plural = re.compile(r"(?<![\d.,])1 (identities|searches|scores|leads|values|vectors|templates|\w+ comparisons)\b")
    assert [text for text in said if plural.search(text)] == []


def test_a_margin_that_an_operator_raised_stays_if_few_probes_are_ambiguous() -> None:
    rng = np.random.default_rng(0)
    templates = drawn(rng, rng.normal(size=(60, 24)), np.full(60, 0.2), 2)
    kept = calibrated(templates, dataclasses.replace(LOOSE, runner_up_margin=0.123456))
    assert kept.margin is not None
    assert (kept.margin.margin, kept.margin.ambiguous) == (0.123456, 0.0)
    assert not any("margin" in one for one in kept.caveats)
    lowered = calibrated(templates, dataclasses.replace(LOOSE, runner_up_margin=0.9))
    assert lowered.margin is not None
    assert 0.123456 < lowered.margin.margin < 0.9
    said = f"The runner-up margin {lowered.margin.margin:g} is smaller than the present one of 0.9."
    assert any(said in one for one in lowered.caveats)
    # A margin that is smaller than the usual one is no limit.
    raised = calibrated(templates, dataclasses.replace(LOOSE, runner_up_margin=0.01))
    assert raised.margin is not None
    assert raised.margin.margin == 0.05


def test_searches_for_two_who_are_nearest_to_each_other_count_once() -> None:
    rng = np.random.default_rng(3)
    twins = np.repeat(rng.normal(size=(25, 24)), 2, axis=0) + 0.3 * rng.normal(size=(50, 24))
    found = calibrated(drawn(rng, twins, np.full(50, 0.1), 1), Policy(target_fmr=0.3, target_fpir=0.07))
    evidence = found.calibration.evidence
    assert (evidence.searches, evidence.different_searches) == (50, 25)
    (said,) = (one for one in found.caveats if one.startswith("The target FPIR"))
    assert "It needs 42 different searches; 50 searches were made, which count as 25, because searches for two" in said
    enough = dataclasses.replace(found.calibration, evidence=dataclasses.replace(evidence, different_searches=42))
    (said,) = unsupported_targets(enough, verify=False)
    assert "There are enough searches, but too many of them have the score 1" in said


def test_nobody_is_asked_for_more_comparisons_where_there_are_enough() -> None:
    first, second = [f"a{one}" for one in range(200)], [f"b{one}" for one in range(200)]
    table = labelled_scores([1.0] * 20 + [0.1] * 180, first, second)
    policy = Policy(target_fmr=0.05, target_fpir=0.05)
    found = measure(Gallery("staff", CONTRACT, policy), 1, table, CalibrationOptions())
    for rate in ("FMR", "FPIR"):
        (said,) = (one for one in found.caveats if one.startswith(f"The target {rate}"))
        assert "There are enough comparisons, but too many of them have the score 1" in said
        assert "It needs" not in said
