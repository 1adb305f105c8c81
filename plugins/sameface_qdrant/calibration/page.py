"""A calibration as one self-contained HTML page.

Needs the extra ``plots`` (matplotlib and jinja2). Both are imported when a page is made, not with this module.
"""

from collections.abc import Sequence
from pathlib import Path

from sameface_qdrant.calibration.expected import PREDICTED_PROBES, ExpectedAnswer
from sameface_qdrant.calibration.expected_plot import call_name, named_shares
from sameface_qdrant.calibration.report import (
    MarkedThreshold,
    det_figure,
    expected_figure,
    histogram_figure,
    interval_text,
    rate_text,
    svg_text,
)
from sameface_qdrant.metrics.curves import Curves


def write_html(
    path: Path,
    curves: Curves,
    marked: Sequence[MarkedThreshold] = (),
    *,
    title: str = "Calibration",
    caveats: Sequence[str] = (),
    expected: Sequence[ExpectedAnswer] = (),
    margin: float | None = None,
) -> None:
    """Write one self-contained HTML page: thresholds, expected answers, histograms, DET curve and caveats.

    Args:
        path: where to write it.
        curves: what is drawn.
        marked: thresholds to list and to mark.
        title: of the page.
        caveats: sentences below the plots.
        expected: what calls will answer.
        margin: the runner-up margin of the expected answers.

    Raises:
        ImportError: matplotlib or jinja2 is not installed.
        OSError: the file cannot be written.
    """
    try:
        import jinja2
    except ImportError as error:
        raise ImportError("a report as HTML needs jinja2; install sameface[plots]") from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sameface_qdrant.calibration", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    plots = [
        (svg_text(draw(curves, marked)), caption)
        for draw, caption in (
            (histogram_figure, "All scores. The less the two histograms overlap, the better."),
            (det_figure, "Error rates over all thresholds. Lower left is better. Bars: 95 % intervals."),
        )
    ]
    page = environment.get_template("report.html.j2").render(
        title=title,
        marked=marked,
        plots=plots,
        caveats=caveats,
        answers=[(call_name(one), named_shares(one), one) for one in expected],
        bars=svg_text(expected_figure(expected)) if expected else "",
        least_probes=PREDICTED_PROBES,
        margin=margin,
        rate_text=rate_text,
        interval_text=interval_text,
    )
    path.write_text(page, encoding="utf-8")
