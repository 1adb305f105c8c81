"""The report of an evaluation: one self-contained HTML page."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from PIL import Image, ImageOps

from sameface.evaluation.identification import Identification
from sameface.evaluation.model_comparison import ModelComparison
from sameface.evaluation.pictures import MarkedCurve, det_svg, histogram_svg, identification_curve, map_png, worst_pairs
from sameface.evaluation.samples import Samples
from sameface.evaluation.tables import Table
from sameface.evaluation.verification import Verification, power_text, sampled_det_curve

THUMBNAIL_SIDE = 112


@dataclass(frozen=True, slots=True)
class Picture:
    """A plot with its caption."""

    caption: str
    svg: str = ""
    uri: str = ""
    """Data URI of a bitmap; used if there is no SVG."""
    wide: bool = False
    """Whether it takes the whole width of the page, because it would be illegible at half of it."""


@dataclass(frozen=True, slots=True)
class PhotoPair:
    """Two photos with the score of their comparison."""

    first: str
    second: str
    score: float
    first_uri: str
    second_uri: str


@dataclass(frozen=True, slots=True)
class Page:
    """The contents of a report, in this order."""

    title: str
    summary: str
    tables: Sequence[Table]
    pictures: Sequence[Picture] = ()
    highest_non_mated: Sequence[PhotoPair] = ()
    """Non-mated pairs with the highest scores."""
    lowest_mated: Sequence[PhotoPair] = ()
    """Mated pairs with the lowest scores."""
    pairs_note: str = ""
    """A sentence about the pairs, before the advice for each list."""


def write_report(path: Path, page: Page) -> None:
    """Write a report.

    Raises:
        OSError: the file cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sameface.evaluation", "."), autoescape=True, undefined=jinja2.StrictUndefined
    )
    path.write_text(environment.get_template("report.html.j2").render(page=page), encoding="utf-8")


def verification_pictures(found: Verification, samples: Samples) -> list[Picture]:
    """Draw the DET curve, the histograms and a map."""
    uri, share = map_png(samples)
    return [
        Picture(
            "Error rates over all thresholds. Lower left is better. Bars: 95 % intervals.",
            svg=det_svg({samples.model or "model": _verification_curve(found)}),
        ),
        Picture(
            "All scores. The less the two histograms overlap, the better.",
            svg=histogram_svg(
                found.comparison, {f"FMR {power_text(point.target)}": point.threshold for point in found.points[-3:]}
            ),
        ),
        Picture(
            f"The first two principal components, {share:.0%} of the variance. People who are apart here are "
            "different; people who overlap here may still be different.",
            uri=uri,
        ),
    ]


def identification_pictures(found: Identification, name: str) -> list[Picture]:
    """Draw FNIR over FPIR."""
    svg = det_svg({name: _search_curve(found)}, ("FPIR", "FNIR"))
    return [Picture("FNIR over FPIR. Lower left is better. Bars: 95 % intervals.", svg=svg)]


def comparison_pictures(found: ModelComparison, names: tuple[str, str]) -> list[Picture]:
    """Draw the DET curves of both models in one plot for each task, and the histograms of each model."""
    verification = {name: _verification_curve(one) for name, one in zip(names, found.verification, strict=True)}
    searches = {name: _search_curve(one) for name, one in zip(names, found.identification, strict=True)}
    return [
        Picture(
            "Verification over every pair of samples. Lower left is better. Bars: 95 % intervals of each model alone; "
            "the interval of the difference is narrower.",
            svg=det_svg(verification),
        ),
        Picture("Open-set identification. Lower left is better.", svg=det_svg(searches, ("FPIR", "FNIR"))),
        *(
            Picture(
                f"All scores of {name}.",
                svg=histogram_svg(
                    one.comparison, {f"FMR {power_text(point.target)}": point.threshold for point in one.points}
                ),
            )
            for name, one in zip(names, found.verification, strict=True)
        ),
    ]


def worst_photo_pairs(found: Verification, samples: Samples, folder: Path) -> tuple[list[PhotoPair], list[PhotoPair]]:
    """Return the worst non-mated and mated pairs (see `worst_pairs`) whose photos are in ``folder``."""
    high, low = (
        photo_pairs([(samples.sample[one], samples.sample[other], score) for one, other, score in pairs], folder)
        for pairs in worst_pairs(found.comparison)
    )
    return high, low


def photo_pairs(pairs: Sequence[tuple[str, str, float]], folder: Path) -> list[PhotoPair]:
    """Return the pairs, given as two samples and a score, whose photos are in ``folder``."""
    found = [row for row in pairs if (folder / row[0]).is_file() and (folder / row[1]).is_file()]
    return [
        PhotoPair(one, other, score, _thumbnail(folder / one), _thumbnail(folder / other))
        for one, other, score in found
    ]


def _verification_curve(found: Verification) -> MarkedCurve:
    return MarkedCurve(
        sampled_det_curve(found.comparison), [(point.fmr, point.fnmr_by_identity) for point in found.points]
    )


def _search_curve(found: Identification) -> MarkedCurve:
    return MarkedCurve(identification_curve(found), [(point.fpir, point.fnir) for point in found.points])


def _thumbnail(path: Path) -> str:
    with Image.open(path) as opened:
        image = ImageOps.fit(ImageOps.exif_transpose(opened).convert("RGB"), (THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
