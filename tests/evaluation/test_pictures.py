"""What the curves of a report show: where their axes end, and what is marked as not supported."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from sameface.evaluation.det_plot import MODELS, Mark, MarkedCurve, det_figure, legend_label
from sameface.evaluation.identification import identify
from sameface.evaluation.pictures import identification_curve, map_png
from sameface.evaluation.report import photo_pairs
from sameface.evaluation.resampling import Estimate
from sameface.evaluation.verification import sampled_det_curve, verify
from sameface_qdrant.calibration.report import PAPER
from sameface_qdrant.metrics.error_rates import DetCurve
from sameface_qdrant.metrics.intervals import ConfidenceInterval
from tests.evaluation.conftest import far_apart, made


def drawn(curves: dict[str, MarkedCurve]) -> Axes:
    (axes,) = det_figure(curves).axes
    return axes


@settings(max_examples=8, deadline=None)
@given(sizes=st.lists(st.integers(2, 4), min_size=3, max_size=12), noise=st.floats(0.1, 3), seed=st.integers(0, 9))
def test_axes_end_a_decade_below_what_is_supported(sizes: list[int], noise: float, seed: int) -> None:
    names = [f"p{number:02}" for number, size in enumerate(sizes) for _ in range(size)]
    samples = made(names, seed=seed, noise=noise)
    found, searched = verify(samples, replicates=20), identify(samples, splits=2, replicates=20)
    for curve, support in (
        (sampled_det_curve(found.comparison), found.support),
        (identification_curve(searched), searched.support),
    ):
        axes = drawn({"model": MarkedCurve(curve, supported=support.lowest)})
        left, right = axes.get_xlim()
        assert min(0.4, 0.89 * support.lowest / 10) <= left < right == 1.0
        for line in axes.lines:
            rates = np.asarray(line.get_xdata(), dtype=float)
            assert ((rates >= left) & (rates <= 1.0)).all()
            if line.get_linestyle() == "-" and line.get_label() == legend_label("model"):
                assert (rates >= support.lowest).all()


def test_rates_that_are_only_rounding_do_not_lengthen_the_axis() -> None:
    curve = DetCurve(np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.01, 1e-16]), np.array([0.0, 0.1, 0.4]))
    axes = drawn({"model": MarkedCurve(curve)})
    assert 0.005 < axes.get_xlim()[0] < 0.01
    assert axes.get_ylim()[0] == 0.05
    assert axes.get_yticklabels()[0].get_text() == "0 %"


def test_a_point_that_is_not_supported_is_hollow() -> None:
    curve = DetCurve(np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.05, 0.01]), np.array([0.0, 0.1, 0.4]))
    rate = Estimate(0.1, ConfidenceInterval(0.05, 0.3))
    axes = drawn({"model": MarkedCurve(curve, [Mark(0.05, rate), Mark(0.02, rate, False)], 0.04)})
    filled = [line.get_markerfacecolor() for line in axes.lines if line.get_marker() == "o"]
    assert filled == [MODELS[0], PAPER]
    assert {line.get_linestyle() for line in axes.lines} >= {"-", ":"}


def test_words_are_those_of_any_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: kept.append(figure))
    map_png(far_apart([f"p{number}" for number in range(20) for _ in range(2)]))
    map_png(far_apart(["a", "b"]))
    labels = [figure.axes[0].get_legend_handles_labels()[1] for figure in kept]
    assert [one[0] for one in labels] == ["16 samples of\nother identities", "\u200ba"]


def test_an_image_is_shown_whole(tmp_path: Path) -> None:
    wide = Image.new("RGB", (300, 100), "white")
    for left in (0, 280):
        wide.paste((255, 0, 0), (left, 0, left + 20, 100))
    wide.save(tmp_path / "wide.png")
    (pair,) = photo_pairs([("wide.png", "wide.png", 0.5)], tmp_path)
    encoded = re.fullmatch(r"data:image/jpeg;base64,(.*)", pair.first_uri)
    assert encoded
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded[1]))).convert("RGB")).astype(int)
    middle = shown[shown.shape[0] // 2]
    assert [int(pixel[0] - pixel[1]) > 150 for pixel in (middle[3], middle[-4])] == [True, True]
