"""The report of an evaluation: one self-contained HTML page."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from PIL import Image, ImageOps

from sameface.evaluation.forgeries import Attempts
from sameface.evaluation.identification import Identification
from sameface.evaluation.menagerie import animals_of
from sameface.evaluation.model_comparison import ModelComparison
from sameface.evaluation.pictures import (
    Mark,
    MarkedCurve,
    det_svg,
    histogram_svg,
    identification_curve,
    map_png,
    score_histograms_svg,
    worst_pairs,
)
from sameface.evaluation.samples import Samples
from sameface.evaluation.support import marked, power_text
from sameface.evaluation.tables import Table
from sameface.evaluation.verification import Verification, sampled_det_curve
from sameface_qdrant.calibration.report import svg_text
from sameface_qdrant.calibration.zoo_plot import zoo_figure
from sameface_qdrant.metrics.error_rates import Scores, det_curve
from sameface_qdrant.metrics.intervals import rule_of_three

THUMBNAIL_SIDE = 112
BEHIND = "#eef1f4"
"""Fills the square around an image that is not square."""
SEARCH_RATES = ("false positive identification rate (FPIR)", "false negative identification rate (FNIR)")
READING = (
    "Lower left is better. Bars: 95 % intervals. Dotted, and with hollow points: at rates that these samples do not "
    "support."
)


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
    best_forgeries: Sequence[PhotoPair] = ()
    """Skilled forgeries with the highest scores, each with the genuine sample."""
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
    """Draw the DET curve, the histograms, a map and the menagerie."""
    uri, share = map_png(samples)
    return [
        Picture(
            f"Error rates over all thresholds. {READING}",
            svg=det_svg(_curves_by_impostor(found, samples.model or "model")),
        ),
        Picture(
            "All scores. The less the two histograms overlap, the better.",
            svg=histogram_svg(
                found.comparison, {_named(found, point.target): point.threshold for point in found.points[-3:]}
            ),
        ),
        Picture(
            f"The first two principal components, {share:.0%} of the variance. Identities that are apart here are "
            "different; identities that overlap here may still be different.",
            uri=uri,
        ),
        *_menagerie(found, samples),
    ]


def _menagerie(found: Verification, samples: Samples) -> list[Picture]:
    """Draw which identities are hard, if there are enough to say so."""
    animals = animals_of(samples, found.comparison)
    if animals is None:
        return []
    caption = (
        "Each point is an identity. Worms do worst: their own samples are little alike, and others are like them. "
        "As by chance: such a corner says nothing about single identities."
    )
    return [Picture(caption, svg=svg_text(zoo_figure(animals)))]


def identification_pictures(found: Identification, name: str) -> list[Picture]:
    """Draw FNIR over FPIR."""
    svg = det_svg({name: _search_curve(found)}, SEARCH_RATES)
    return [Picture(f"FNIR over FPIR. {READING}", svg=svg)]


def forgery_pictures(
    attempts: Attempts, genuine: Scores, skilled: Scores, random: Scores, threshold: float
) -> list[Picture]:
    """Draw the DET curves of skilled and of random forgeries, and the histograms of genuine claims and forgeries."""
    signers = len(attempts.signers)
    weights = attempts.genuine.weights(signers)
    curves = {
        name: MarkedCurve(
            det_curve(genuine, scores, weights, claims.weights(signers)), supported=rule_of_three(signers)
        )
        for name, scores, claims in (
            ("skilled forgeries", skilled, attempts.skilled),
            ("random forgeries", random, attempts.random),
        )
    }
    return [
        Picture(
            "Genuine claims refused over forgeries accepted. Lower left is better. Dotted: below what so many signers "
            "support.",
            svg=det_svg(curves, ("FMR of forgeries", "FNMR of genuine claims"), "every signer counts the same"),
        ),
        Picture(
            "Scores of all claims. The line is the threshold of the first EER.",
            svg=score_histograms_svg(
                {"genuine": genuine, "skilled forgeries": skilled, "random forgeries": random}, threshold
            ),
        ),
    ]


def comparison_pictures(found: ModelComparison, names: tuple[str, str]) -> list[Picture]:
    """Draw the DET curves of both models in one plot for each task, and the histograms of each model."""
    verification = {name: _verification_curve(one) for name, one in zip(names, found.verification, strict=True)}
    searches = {name: _search_curve(one) for name, one in zip(names, found.identification, strict=True)}
    return [
        Picture(
            f"Verification over every pair of samples. {READING} The intervals are of each model alone; that of the "
            "difference is narrower.",
            svg=det_svg(verification),
        ),
        Picture(f"Open-set identification. {READING}", svg=det_svg(searches, SEARCH_RATES)),
        *(
            Picture(
                f"All scores of {name}.",
                svg=histogram_svg(one.comparison, {_named(one, point.target): point.threshold for point in one.points}),
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


def _named(found: Verification, target: float) -> str:
    return marked(f"FMR {power_text(target)}", target, found.support)


def _verification_curve(found: Verification) -> MarkedCurve:
    marks = [Mark(point.fmr, point.fnmr_by_identity, found.support.holds(point.target)) for point in found.points]
    return MarkedCurve(sampled_det_curve(found.comparison), marks, found.support.lowest)


def _curves_by_impostor(found: Verification, model: str) -> dict[str, MarkedCurve]:
    """Return the curve of a model; with forgeries, that of chance impostors and that of skilled forgeries."""
    if found.skilled is None:
        return {model: _verification_curve(found)}
    forged, mated = found.skilled.comparison, found.comparison
    curve = det_curve(mated.mated, forged.scores, mated.identity_weights, forged.weights)
    skilled = MarkedCurve(curve, supported=rule_of_three(found.skilled.identities))
    return {"chance impostors": _verification_curve(found), "skilled forgeries": skilled}


def _search_curve(found: Identification) -> MarkedCurve:
    marks = [Mark(point.fpir, point.fnir, found.support.holds(point.target)) for point in found.points]
    return MarkedCurve(identification_curve(found), marks, found.support.lowest)


def _thumbnail(path: Path) -> str:
    with Image.open(path) as opened:
        # The whole image: a part of a signature or of a drawing would mislead.
        upright = ImageOps.exif_transpose(opened).convert("RGB")
    image = ImageOps.pad(upright, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), color=BEHIND)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
