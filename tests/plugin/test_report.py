"""Pictures show the numbers that they are drawn from, and pages load nothing else."""

import re
import subprocess
import sys
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sameface_qdrant.calibration.measured_answers import expected_answers
from sameface_qdrant.calibration.page import write_html
from sameface_qdrant.calibration.report import (
    det_figure,
    expected_figure,
    histogram_figure,
    interval_text,
    marked_thresholds,
    rate_text,
    write_png,
)
from sameface_qdrant.calibration.thresholds import Calibration, calibrate
from sameface_qdrant.metrics import error_rates
from sameface_qdrant.metrics.comparisons import Comparisons
from sameface_qdrant.metrics.cross_comparison import compare_gallery
from sameface_qdrant.metrics.curves import curves
from sameface_qdrant.metrics.intervals import ConfidenceInterval
from tests.plugin.simulated import people


@pytest.fixture(scope="module")
def comparisons() -> Comparisons:
    vectors, names = people(np.random.default_rng(1), 100, 2, spread=0.9)
    return compare_gallery(vectors, names)


@pytest.fixture(scope="module")
def calibration(comparisons: Comparisons) -> Calibration:
    return calibrate(comparisons, target_fmr=1e-2, target_fpir=0.1, gallery_size=100, replicates=50)


def test_curves_hold_the_rates_at_their_thresholds_and_every_score(comparisons: Comparisons) -> None:
    found = curves(comparisons)
    for index in (0, 100, 300, 511):
        threshold = found.thresholds[index]
        assert found.fmr[index] == pytest.approx(error_rates.fmr(comparisons.non_mated, threshold))
        assert found.fnmr[index] == pytest.approx(error_rates.fnmr(comparisons.mated, threshold))
    assert (found.mated.sum(), found.non_mated.sum()) == (comparisons.mated.size, comparisons.non_mated.size)


def test_a_point_is_drawn_at_its_rates(comparisons: Comparisons, calibration: Calibration) -> None:
    (axes,) = det_figure(curves(comparisons), marked_thresholds(calibration)[:1]).axes
    bars: Any = axes.containers[0]
    marker = bars.lines[0]
    assert calibration.verify.fnmr is not None
    expected = [NormalDist().inv_cdf(rate) for rate in (calibration.verify.fmr, calibration.verify.fnmr)]
    assert [float(marker.get_xdata()[0]), float(marker.get_ydata()[0])] == pytest.approx(expected)
    assert axes.get_xlabel() == "false match rate (FMR)"


@pytest.mark.parametrize("target", [1e-1, 1e-2, 1e-4])
def test_every_marked_point_is_inside_the_axes_with_its_interval(target: float) -> None:
    # Nearly all mated comparisons fail at a low FMR.
    vectors, names = people(np.random.default_rng(2), 60, 2, spread=2.0)
    hard = compare_gallery(vectors, names)
    found = calibrate(hard, target_fmr=target, target_fpir=0.1, gallery_size=60, replicates=20)
    (axes,) = det_figure(curves(hard), marked_thresholds(found)).axes
    for bars in axes.containers:
        _, caps, _ = bars.lines  # type: ignore[attr-defined]
        for cap in caps:
            for place, (low, high) in ((cap.get_xdata(), axes.get_xlim()), (cap.get_ydata(), axes.get_ylim())):
                assert low - 1e-9 <= float(np.asarray(place)[0]) <= high + 1e-9


def test_the_histogram_marks_thresholds(comparisons: Comparisons, calibration: Calibration) -> None:
    (axes,) = histogram_figure(curves(comparisons), marked_thresholds(calibration)).axes
    lines = [float(np.asarray(line.get_xdata())[0]) for line in axes.lines]
    assert lines == [calibration.verify.threshold, calibration.identify.threshold]
    assert axes.get_yscale() == "log"


def test_a_page_needs_nothing_else_and_escapes_what_it_is_told(
    comparisons: Comparisons, calibration: Calibration, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    write_html(
        page, curves(comparisons), marked_thresholds(calibration), title="<b>staff</b>", caveats=["5 < 6 & so on"]
    )
    text = page.read_text()
    assert "&lt;b&gt;staff" in text
    assert "5 &lt; 6 &amp; so on" in text
    assert text.count("<svg") == 2
    assert f"{calibration.verify.threshold:.4f}" in text
    # Names of XML namespaces are never fetched.
    assert not re.findall(r"""(?:src|href)=["'](?!#)""", text.replace("xlink:href", "href"))


def test_a_page_shows_what_calls_will_answer(
    comparisons: Comparisons, calibration: Calibration, tmp_path: Path
) -> None:
    answers = expected_answers(
        comparisons, verify=0.5, identify=0.6, margin=0.02, effective_comparisons=500.0, replicates=20
    ).answers
    page = tmp_path / "page.html"
    shown = marked_thresholds(calibration)
    write_html(page, curves(comparisons), shown, expected=answers, margin=0.02)
    text = page.read_text()
    assert "the runner-up margin 0.0200" in text
    rows = re.findall(r"<tr><th>([^<]*)<small>measured on.*?</tr>", text, re.DOTALL)
    assert rows == [
        "verify mated, scope CLAIM",
        "verify mated, scope GALLERY",
        "identify mated",
        "verify non-mated, scope CLAIM",
        "verify non-mated, scope GALLERY",
        "identify non-mated",
    ]
    (axes,) = expected_figure(answers).axes
    widths: dict[Any, list[float]] = {label: [] for label in ("right MATCH", "AMBIGUOUS", "NO_MATCH", "false MATCH")}
    for bars in axes.containers:
        widths[bars.get_label()] = [float(bar.get_width()) for bar in bars]
    for number, one in enumerate(answers):
        assert sum(column[number] for column in widths.values()) == pytest.approx(100.0)
        assert widths["false MATCH"][number] == pytest.approx(
            100 * (one.wrong_match.share if one.wrong_match else 0.0 if one.mated else one.match.share)
        )


def test_a_picture_is_drawn_also_without_mated_comparisons(tmp_path: Path) -> None:
    vectors, names = people(np.random.default_rng(1), 30, 1)
    alone = compare_gallery(vectors, names)
    found = calibrate(alone, target_fmr=0.1, target_fpir=0.2, gallery_size=30, replicates=20)
    write_png(tmp_path / "picture.png", curves(alone), marked_thresholds(found), "staff")
    with Image.open(tmp_path / "picture.png") as image:
        assert image.size == (1950, 780)
        assert len(np.unique(np.asarray(image.convert("RGB"))[::20, ::20].reshape(-1, 3), axis=0)) > 20


def test_rates_are_written_for_people() -> None:
    assert [rate_text(rate) for rate in (0.0, 1.234e-5, 0.0312, 0.5, None)] == ["0 %", "0.0012 %", "3.1 %", "50 %", "–"]
    assert interval_text(ConfidenceInterval(0.0, 0.25)) == "0 % to 25 %"
    assert interval_text(None) == ""


def test_the_plugin_itself_loads_neither_matplotlib_nor_jinja2() -> None:
    code = "import sys, sameface_qdrant.calibration.page; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"matplotlib", "jinja2"} & set(loaded)
