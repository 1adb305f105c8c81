"""Which target rates are supported, and that every table, record and card says it in the same way."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sameface.evaluation.cross_comparison import compare_all_samples
from sameface.evaluation.identification import identify
from sameface.evaluation.operating_points import measure_operating_points, writable_points
from sameface.evaluation.presentation_attack_report import pad_record, pad_tables
from sameface.evaluation.presentation_attacks import Presentations, measure_attacks
from sameface.evaluation.records import identification_record, points_record, verification_record
from sameface.evaluation.resampling import draw_identities
from sameface.evaluation.samples import Samples, write_embeddings
from sameface.evaluation.support import MARK, effective_comparisons, fmr_support, fpir_support
from sameface.evaluation.tables import identification_tables, points_table, verification_tables
from sameface.evaluation.verification import verify
from sameface.inference.cards import MeasuredPoint, read_card
from sameface.launcher import Service
from sameface.models.seal import with_new_points
from sameface_qdrant.calibration.thresholds import calibrate
from sameface_qdrant.errors import NotEnoughData
from sameface_qdrant.metrics.comparisons import labelled_scores
from sameface_qdrant.metrics.support import support, supported_rate
from tests.cli.conftest import Run
from tests.conftest import SINGLE_PASS
from tests.evaluation.conftest import far_apart, made


@settings(max_examples=30, deadline=None)
@given(trials=st.integers(1, 10_000), target=st.floats(1e-4, 0.5))
def test_a_target_is_supported_if_so_many_trials_without_an_error_exclude_a_higher_rate(
    trials: int, target: float
) -> None:
    # With the target as true rate, no error in all trials must have a probability of at most 5 %.
    if abs((1 - target) ** trials - 0.05) > 1e-9:
        assert support(trials).holds(target) == ((1 - target) ** trials <= 0.05)
    assert support(support(1).needed(target)).holds(target)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), sizes=st.lists(st.integers(1, 4), min_size=4, max_size=9))
def test_comparisons_are_worth_what_plain_loops_say(seed: int, sizes: list[int]) -> None:
    names = [f"p{number}" for number, size in enumerate([2, *sizes]) for _ in range(size)]
    samples = made(names, seed=seed, noise=1.5)
    comparison = compare_all_samples(samples)
    drawn = draw_identities(len(comparison.identities), 60, seed)
    pairs = [(a, b) for a, b in itertools.combinations(range(len(names)), 2) if names[a] != names[b]]
    scores = [float(samples.vectors[a] @ samples.vectors[b]) for a, b in pairs]
    threshold = next(one for one in sorted(set(scores)) if sum(s > one for s in scores) <= min(0.5 * len(scores), 30))
    number = {name: place for place, name in enumerate(comparison.identities)}
    rates = []
    for row in drawn:
        weights = [row[number[names[a]]] * row[number[names[b]]] for a, b in pairs]
        if sum(weights):
            accepted = sum(w for w, s in zip(weights, scores, strict=True) if s > threshold)
            rates.append(accepted / sum(weights))
    rate = sum(score > threshold for score in scores) / len(scores)
    least, most = len(comparison.identities) // 2, len(scores)
    expected = least if rate == 0 or np.ptp(rates) == 0 else rate * (1 - rate) / np.var(rates)
    assert effective_comparisons(comparison, drawn) == pytest.approx(min(most, max(least, expected)))


def test_comparisons_of_a_calibration_are_worth_the_same() -> None:
    """The same scores through the plugin: only the random draws differ."""
    samples = made([f"p{number}" for number in range(60) for _ in range(2)], noise=1.0)
    comparison = compare_all_samples(samples)
    here = fmr_support(comparison, draw_identities(60, 1000, 0))
    rows, columns = np.triu_indices(120, 1)
    scores = (samples.vectors @ samples.vectors.T)[rows, columns]
    first, second = ([samples.identity[one] for one in side] for side in (rows, columns))
    there = calibrate(
        labelled_scores(scores, first, second), target_fmr=1e-3, target_fpir=0.1, gallery_size=60, replicates=1000
    )
    assert here.lowest == pytest.approx(there.verify.supported, rel=0.25)
    assert not here.holds(1e-4)


def test_two_identities_support_hardly_anything() -> None:
    # All resamples that have a comparison are equal, so resampling says nothing about certainty.
    found = verify(made([name for name in "ab" for _ in range(20)]), replicates=50)
    assert found.support.trials == 1.0
    assert found.support.lowest == pytest.approx(0.95)


def test_a_score_of_one_is_accepted_by_every_threshold() -> None:
    vectors = np.eye(8, dtype=np.float32)[[0, 0, 1, 0, *([2, 3, 4, 5, 6, 7] * 50)]]
    identity = [*"aabc", *(f"p{number % 6}" for number in range(300))]
    found = verify(Samples(vectors, tuple(identity), tuple(map(str, range(len(identity))))), (1e-2,), replicates=50)
    assert found.support.lowest >= 2 / found.comparison.non_mated
    assert supported_rate(1e9, at_best=0.25) == 0.25


def test_searches_count_by_people_and_not_by_probes() -> None:
    few = identify(made([f"p{number}" for number in range(10) for _ in range(9)]), splits=3, replicates=50)
    assert few.searches.non_mated.size > 100
    assert few.support.trials == len({*few.searches.non_mated_owners.tolist()}) <= 10
    assert fpir_support(np.zeros(500), 299).holds(1e-2)
    assert not fpir_support(np.zeros(500), 298).holds(1e-2)


def test_every_table_and_record_marks_the_same_points() -> None:
    people = far_apart([f"p{number:03}" for number in range(120) for _ in range(3)])
    found, searched = verify(people, replicates=50), identify(people, splits=2, replicates=50)
    record = verification_record(found)
    assert [point["supported"] for point in record["points"]] == [True, True, False, False]
    (table,) = verification_tables(found)
    assert [MARK in row[0] for row in table.rows] == [False, False, True, True, False]
    assert any(note.startswith("FMR 1e-4 and 1e-5 are not supported") for note in table.notes)
    assert 1e-4 < record["supported_fmr"]["lowest"] < 1e-3
    assert [point["supported"] for point in identification_record(searched)["points"]] == [False, False]
    (table,) = identification_tables(searched)
    assert [MARK in row[0] for row in table.rows] == [True, True, False]
    points = measure_operating_points(found.comparison)
    table = points_table(points, found.comparison, found.support)
    assert [row[0] for row in table.rows] == ["0.001", "0.0001 (not supported)", "1e-05 (not supported)"]


def test_attacks_are_supported_by_the_species_with_the_fewest() -> None:
    def shown(count: int) -> Presentations:
        return Presentations(tuple(map(str, range(count))), np.linspace(0, 1, count))

    found = measure_attacks(shown(40), {"print": shown(400), "mask": shown(29)})
    record = pad_record(found, "face_pad", ("live", "attack"))
    # 29 attacks exclude an APCER above 10 %; 59 would exclude one above 5 %.
    assert [point["supported"] for point in record["bpcer_at_apcer"]] == [True, False, False]
    assert [MARK in row[0] for row in pad_tables(found, "", ("live", "attack"))[1].rows] == [False, True, True]


def test_unsupported_points_are_not_written_into_a_card() -> None:
    people = far_apart([f"p{number:03}" for number in range(120) for _ in range(3)])
    compared = compare_all_samples(people)
    found = fmr_support(compared, draw_identities(120, 100, 0))
    points = measure_operating_points(compared)
    (kept,) = writable_points(points, found)
    assert kept.target_fmr == 1e-3
    scores = people.vectors @ people.vectors.T
    rows, columns = np.triu_indices(360, 1)
    is_non_mated = np.array(people.identity)[rows] != np.array(people.identity)[columns]
    above = scores[rows, columns][is_non_mated] >= kept.threshold
    (record,) = points_record((kept,), compared, found, "made up", for_card=True)
    card = MeasuredPoint.model_validate(record)
    assert (card.false_matches, card.non_mated) == (int(above.sum()), int(is_non_mated.sum()))
    assert card.supported
    assert card.independent == round(found.trials) < card.non_mated
    accepted = writable_points(points, found, accept_unsupported=True)
    assert [one["supported"] for one in points_record(accepted, compared, found, "")] == [True, False, False]
    few = compare_all_samples(far_apart([f"p{number}" for number in range(6) for _ in range(2)]))
    with pytest.raises(NotEnoughData, match=r"no operating point can be written.*--accept-unsupported"):
        writable_points(measure_operating_points(few), fmr_support(few, draw_identities(6, 100, 0)))


def test_points_that_are_not_measured_again_stay_in_the_card() -> None:
    first = read_card(Path("model_repository/face_embedder/2/card.json")).operating_points[0]

    def points(**thresholds: float) -> list[MeasuredPoint]:
        return [
            first.model_copy(update={"fmr": float(f"1e-{name[-1]}"), "threshold": threshold})
            for name, threshold in thresholds.items()
        ]

    stored = points(e3=0.4, e4=0.5, e5=0.6)
    for measured, written, removed in (
        (points(e3=0.45), points(e3=0.45, e4=0.5, e5=0.6), []),
        (points(e3=0.55), points(e3=0.55, e5=0.6), points(e4=0.5)),
        (points(e4=0.35), points(e4=0.35, e5=0.6), points(e3=0.4)),
        (points(e3=0.1, e4=0.2, e5=0.3), points(e3=0.1, e4=0.2, e5=0.3), []),
        (points(e6=0.7), points(e3=0.4, e4=0.5, e5=0.6, e6=0.7), []),
    ):
        assert with_new_points(stored, measured) == (tuple(written), tuple(removed))


def test_a_comparison_marks_its_endpoints(sameface: Run, tmp_path: Path) -> None:
    write_embeddings(tmp_path / "few.npz", far_apart([f"p{number}" for number in range(20) for _ in range(2)]))
    both = ["--embeddings", str(tmp_path / "few.npz")] * 2
    result = sameface("evaluate", "compare", *both, "--replicates", "100", "--json")
    assert [one["supported"] for one in json.loads(result.stdout)["endpoints"]] == [False] * 3


def test_a_card_is_written_only_with_what_is_supported(
    sameface: Run, service: Service, portraits: Path, tmp_path: Path
) -> None:
    card = tmp_path / "models" / "face_embedder" / str(SINGLE_PASS) / "card.json"
    card.parent.mkdir(parents=True)
    before = Path(f"model_repository/face_embedder/{SINGLE_PASS}/card.json").read_text()
    card.write_text(before)
    for photo in sorted(portraits.glob("*.jpg")):
        person = tmp_path / "people" / photo.stem.rstrip("_0123456789")
        person.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, person)
    command = ("evaluate", "operating-points", str(tmp_path / "people"), "--address", service.address, "--write")
    here = {"SAMEFACE_MODEL_REPOSITORY": str(tmp_path / "models")}
    refused = sameface(*command, **here)
    assert refused.returncode == 3
    assert "no operating point can be written" in refused.stderr
    assert card.read_text() == before
    accepted = sameface(*command, "--accept-unsupported", "--json", **here)
    assert accepted.returncode == 0, accepted.stderr
    printed = json.loads(accepted.stdout)["operating_points"]
    assert [point["supported"] for point in printed] == [False, False, False]
    written = json.loads(card.read_text())["operating_points"]
    for point, shown in zip(written, printed, strict=True):
        assert point["supported"] is False
        assert (point["threshold"], point["identities"]) == (shown["threshold"], shown["identities"])
    assert read_card(card).sha256 == json.loads(before)["sha256"]
