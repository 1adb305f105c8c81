"""However many names callers make up, the number of series has a bound; bands of scores are those of the card."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, generate_latest

from sameface.access.roles import RULES
from sameface.api.status import FAULTS_OF_SERVICE
from sameface.inference.cards import ModelCard, read_cards
from sameface.metrics.bands import BELOW, Bands, bands_of
from sameface.metrics.definitions import OBSERVED, OTHER
from sameface.metrics.observer import REASONS, MetricsObserver
from sameface.observation.observers import STAGE_NAMES, StageName
from sameface.settings import model_repository_source
from sameface_qdrant.errors import SamefaceError, StoreUnavailable
from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.decision import Decision, Outcome, Scope, ThresholdSource
from tests.metrics.conftest import samples_of

CARDS = read_cards(model_repository_source())
SFACE = next(card for card in CARDS if (card.model, card.version) == ("face_embedder", 1))
KEY = {"model": "face_embedder", "version": "1"}


class Registered:
    """An observer with its registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.observer = MetricsObserver(self.registry, CARDS)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"sameface_{name}", labels)

    def series(self) -> set[tuple[str, frozenset[tuple[str, str]]]]:
        return set(samples_of(generate_latest(self.registry).decode()))

    def call(self, rpc: str, reason: str = "") -> None:
        self.observer.begin_call(rpc, tuple).ended(reason)

    def stage(self, name: StageName, error: BaseException | None = None, **details: str | int) -> None:
        self.observer.begin_stage(name, details)(error)


def decision(score: float, lead: float | None = None, *, size: int = 2, outcome: Outcome = Outcome.MATCH) -> Decision:
    return Decision(outcome, score, 0.4, ThresholdSource.MODEL_CARD, True, 0.05, lead, 1, size, Scope.GALLERY)


def contract(model: str = "face_embedder", version: int = 1) -> Contract:
    return Contract(model, version, "0" * 64, 4, "none")


def test_unknown_values_of_every_label_make_one_series_together() -> None:
    measured = Registered()

    def use(names: list[str]) -> None:
        for name in names:
            measured.call(name)
            measured.call("VerifyFace", name)
            error = type("Unknown", (SamefaceError,), {"reason": name})(name)
            measured.stage("acquire", error)
            measured.stage("inference", error, model=name, version=7)
            measured.stage("store", error, operation=name, engine=name)
            call = measured.observer.begin_call(name, tuple)
            call.decided(decision(0.5, 0.4), contract(model="m" + name.lower()))
            stream = measured.observer.begin_call("StreamIdentifyFaces", tuple)
            stream.answered(name, None)

    use(["first"])
    before = measured.series()
    use([f"name-{number}" for number in range(3000)])
    assert measured.series() == before
    assert not any("name-" in str(one) for one in before)
    assert measured.value("requests_total", rpc=OTHER, reason=OTHER) == 2 * 3001


def test_the_number_of_series_has_a_bound_that_a_server_can_bear() -> None:
    measured = Registered()
    for rpc, reason in itertools.product(RULES, REASONS):
        measured.call(rpc, reason)
    calls = len(RULES) * len(REASONS)
    assert len(measured.series()) < calls + 2000


def test_every_stage_has_series_from_the_start() -> None:
    measured = Registered()
    for name in STAGE_NAMES:
        if name not in ("inference", "store"):
            assert measured.value("stage_seconds_count", stage=name) == 0
    assert {metric.name for metric in OBSERVED} == set(measured.observer._series)


def test_reasons_that_alerts_use_begin_with_0() -> None:
    measured = Registered()
    for reason in (*FAULTS_OF_SERVICE, "SERVER_BUSY"):
        assert {measured.value("requests_total", rpc=rpc, reason=reason) for rpc in RULES} == {0}
        assert measured.value("stream_answers_total", rpc="StreamIdentifyFaces", reason=reason) == 0


def test_requests_that_fail_are_counted() -> None:
    measured = Registered()
    measured.stage("store", StoreUnavailable("away"), operation="get", engine="edge")
    measured.stage("store", operation="get", engine="edge")
    assert measured.value("store_request_failures_total", operation="get") == 1
    assert measured.value("store_request_seconds_count", operation="get") == 2


def test_errors_that_say_nothing_about_the_photo_are_no_failures_to_acquire() -> None:
    measured = Registered()
    measured.stage("acquire", StoreUnavailable("away"))
    measured.stage("acquire", KeyboardInterrupt())
    assert all(
        not value
        for (name, _), value in samples_of(generate_latest(measured.registry).decode()).items()
        if name == "sameface_acquisitions_total"
    )


def mated_scores(card: ModelCard, count: int) -> NDArray[np.float64]:
    """Scores whose shares below the card's thresholds are those of the card."""
    points = sorted(card.operating_points, key=lambda point: point.threshold)
    below = np.array([0.0, *(point.fnmr for point in points), 1.0])
    bounds = np.array([-1.0, *(point.threshold for point in points), 1.0])
    return np.asarray(np.interp((np.arange(count) + 0.5) / count, below, bounds), dtype=np.float64)


def test_the_expected_shares_are_those_of_scores_that_follow_the_card() -> None:
    bands = bands_of(SFACE)
    assert bands is not None
    scores = mated_scores(SFACE, 100_000)
    reached = scores[scores >= bands.thresholds[0]]
    counted = {name: np.mean([bands.name_of(score) == name for score in reached[::7]]) for name in bands.names}
    assert list(counted.values()) == pytest.approx(bands.expected, abs=2e-3)
    assert sum(bands.expected) == pytest.approx(1.0)


@given(
    st.lists(st.floats(-1, 1), min_size=1, max_size=5, unique=True),
    st.floats(-1, 1),
)
@settings(max_examples=50)
def test_a_score_is_in_the_last_band_whose_threshold_it_reaches(thresholds: list[float], score: float) -> None:
    bands = Bands(tuple(sorted(thresholds)), tuple(1 / len(thresholds) for _ in thresholds), 1e-3)
    reached = [name for name, threshold in zip(bands.names, bands.thresholds, strict=True) if score >= threshold]
    assert bands.name_of(score) == (reached[-1] if reached else BELOW)


def test_others_are_expected_above_a_threshold_as_often_as_in_a_simulation() -> None:
    bands, draw = Bands((0.4,), (1.0,), 0.01), np.random.default_rng(3)
    above = (draw.random((4000, 60)) < bands.fmr).any(axis=1).mean()
    assert bands.expected_above(60) == pytest.approx(above, abs=0.03)
    assert bands.expected_above(0) == bands.expected_above(-1) == 0.0


def test_the_nearest_other_counts_for_claims_and_for_searches_that_match() -> None:
    measured = Registered()
    lowest = SFACE.operating_points[0].threshold
    claim, search = (measured.observer.begin_call(rpc, tuple) for rpc in ("VerifyFace", "IdentifyFaces"))
    claim.decided(decision(lowest + 0.3, 0.3, size=101), contract())  # the other reaches the threshold
    claim.decided(decision(0.9, 0.9, size=101, outcome=Outcome.NO_MATCH), contract())
    search.decided(decision(0.9, 0.8, size=101), contract())
    search.decided(decision(0.2, 0.1, size=101, outcome=Outcome.NO_MATCH), contract())  # nobody knows who it was
    search.decided(decision(0.9, None, size=1), contract())  # there is no other
    assert measured.value("others_compared_total", **KEY) == 3
    assert measured.value("others_above_threshold_total", **KEY) == 1
    assert measured.value("others_expected_above_threshold_total", **KEY) == pytest.approx(3 * (1 - 0.999**100))
    assert measured.value("claims_total", **KEY, band=BELOW) == 0
