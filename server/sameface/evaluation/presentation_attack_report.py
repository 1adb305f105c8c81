"""The figures of presentation attack detection as tables, as plain values and as plots."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sameface.evaluation.det_plot import Mark, MarkedCurve, det_svg
from sameface.evaluation.presentation_attacks import PadEvaluation, Presentations
from sameface.evaluation.report import READING, Picture
from sameface.evaluation.resampling import Estimate
from sameface.evaluation.support import apcer_support, marked, support_notes, support_record
from sameface.evaluation.tables import Table
from sameface_qdrant.calibration.report import (
    INK,
    MATED,
    NON_MATED,
    POINTS,
    interval_text,
    new_figure,
    rate_text,
    style_axes,
    svg_text,
)
from sameface_qdrant.metrics.error_rates import DetCurve, rounded_up
from sameface_qdrant.metrics.presentation_attacks import PadRate, pad_curve

LISTED = 8
"""Photos in the lists of the worst ones."""
CURVES = 4
"""Curves in a plot: the worst species at each threshold, and single species."""
BINS = 40
PAD_RATES = ("attack presentations accepted (APCER)", "bona fide presentations refused (BPCER)")


def pad_tables(found: PadEvaluation, model: str, names: tuple[str, str]) -> list[Table]:
    """Return rates at the threshold, BPCER at APCERs, the worst photos and the conditions.

    ``names`` are those of the two folders.
    """
    return [_rates(found), _points(found), _worst_photos(found), _conditions(found, model, names)]


def pad_record(found: PadEvaluation, model: str, names: tuple[str, str]) -> dict[str, Any]:
    """Return every figure as plain values."""
    return {
        "model": model,
        "data": list(names),
        "threshold": found.threshold,
        "bona_fide": {
            "photos": found.bona_fide.count,
            "bpcer": _rate_record(found.bpcer),
            "bpnrr": _rate_record(found.bpnrr),
            **_left_out(found.bona_fide),
        },
        "attacks": {
            species: {
                "photos": group.count,
                "apcer": _rate_record(found.apcer[species]),
                "apnrr": _rate_record(found.apnrr.get(species)),
                **_left_out(group),
            }
            for species, group in found.attacks.items()
        },
        "worst_species": found.worst,
        "apcer": _rate_record(found.apcer[found.worst]),
        "supported_apcer": support_record(found.support),
        "bpcer_at_apcer": [
            {
                "name": point.name,
                "apcer": point.target,
                "threshold": point.threshold,
                "attainable": point.threshold <= 1.0,
                "supported": found.support.holds(point.target),
                "bpcer": _rate_record(point.bpcer),
            }
            for point in found.points
        ],
    }


def pad_pictures(found: PadEvaluation) -> list[Picture]:
    """Draw the DET curves and the histograms of the scores."""
    scored = {species: group.scores for species, group in found.attacks.items() if group.scores.size}
    marks = [
        Mark(point.target, Estimate(point.bpcer.value, point.bpcer.interval), found.support.holds(point.target))
        for point in found.points
        if point.threshold <= 1.0
    ]
    curves: dict[str, MarkedCurve] = {}
    if len(scored) > 1:
        rates = {species: rate.value for species in scored if (rate := found.apcer[species])}
        for species in sorted(rates, key=lambda name: -rates[name])[: CURVES - 1]:
            alone = {species: scored[species]}
            curves[species] = MarkedCurve(_det(found.bona_fide, alone), supported=apcer_support(alone).lowest)
    curves["worst species at each threshold"] = MarkedCurve(_det(found.bona_fide, scored), marks, found.support.lowest)
    return [
        Picture(
            f"BPCER over APCER at all thresholds. {READING}",
            svg=det_svg(curves, PAD_RATES, "every photo counts the same"),
        ),
        Picture("All scores. The less the histograms overlap, the better.", svg=_histogram(found)),
    ]


def threshold_text(threshold: float) -> str:
    """Return a threshold with six decimals, rounded up, so that what it refuses stays refused.

    >>> threshold_text(0.5), threshold_text(0.5000001), threshold_text(1.1)
    ('0.500000', '0.500001', 'none up to 1')
    """
    return "none up to 1" if threshold > 1.0 else f"{rounded_up(threshold, decimals=6):.6f}"


def _rates(found: PadEvaluation) -> Table:
    rows = [
        (f"APCER, {species}", *_both(found.apcer[species]), f"APNRR {_both(found.apnrr.get(species))[0]}")
        for species in found.attacks
    ]
    if len(found.attacks) > 1:
        rows.append((f"APCER, worst species ({found.worst})", *_both(found.apcer[found.worst]), ""))
    rows.append(("BPCER", *_both(found.bpcer), f"BPNRR {_both(found.bpnrr)[0]}"))
    notes = (
        f"A photo is accepted as bona fide if its score is at least {found.threshold:g}.",
        "APCER: attacks that are accepted. BPCER: bona fide photos that are taken for attacks. APNRR, BPNRR: photos in "
        "which no face was found; they are in no other rate.",
        "An average over species would hide the one that passes, so there is none. A species without photos here was "
        "not measured.",
        "Intervals: 95 %, Wilson, for independent photos. Several photos of one person, one print or one video make "
        "them too narrow.",
    )
    headings = ("", "rate", "95 % interval", "photos", "without a face")
    return Table("Presentation attack detection", headings, tuple(rows), notes)


def _points(found: PadEvaluation) -> Table:
    rows = tuple(
        (
            marked(f"{point.name}: at APCER {rate_text(point.target)}", point.target, found.support),
            threshold_text(point.threshold),
            *_both(point.bpcer)[:2],
        )
        for point in found.points
    )
    notes = (
        "The APCER is that of the worst species. The threshold is chosen on these photos, so the rates are a little "
        "too good.",
        "A gallery's presentation_attack_threshold takes such a threshold. It belongs to this version of the model.",
        *support_notes("APCER", [point.target for point in found.points], found.support, "attacks of one species"),
    )
    return Table("BPCER at an APCER", ("", "threshold", "BPCER", "95 % interval"), rows, notes)


def _worst_photos(found: PadEvaluation) -> Table:
    attacks = [
        (float(score), name)
        for group in found.attacks.values()
        for name, score in zip(group.samples, group.scores, strict=True)
    ]
    people = [(float(score), name) for name, score in zip(found.bona_fide.samples, found.bona_fide.scores, strict=True)]
    rows = [("attack", name, f"{score:.4f}") for score, name in sorted(attacks, reverse=True)[:LISTED]]
    rows += [("bona fide", name, f"{score:.4f}") for score, name in sorted(people)[:LISTED]]
    notes = ("Attacks with the highest and bona fide photos with the lowest scores. Check their labels first.",)
    return Table("Worst photos", ("", "photo", "score"), tuple(rows), notes)


def _conditions(found: PadEvaluation, model: str, names: tuple[str, str]) -> Table:
    groups = {"bona fide": found.bona_fide, **found.attacks}
    rows = [("data", f"{names[0]}: {found.bona_fide.count:,} photos"), ("model", model)]
    listed = ", ".join(f"{species} {group.count:,}" for species, group in found.attacks.items())
    rows.insert(1, ("attacks", f"{names[1]}: {listed}"))
    for name, group in groups.items():
        if group.unreadable:
            left_out = f"{len(group.unreadable):,}, for instance {group.unreadable[0]}"
            rows.append((f"unreadable files, left out ({name})", left_out))
        if group.refusals:
            refused = ", ".join(f"{count} {reason}" for reason, count in group.refusals.items())
            rows.append((f"quality gate would refuse ({name})", refused))
    rows.append(("face", "the largest of each photo"))
    return Table("Conditions", ("", ""), tuple(rows))


def _left_out(group: Presentations) -> dict[str, Any]:
    return {
        "scores": dict(zip(group.samples, map(float, group.scores), strict=True)),
        "without_face": list(group.without_face),
        "unreadable": list(group.unreadable),
        "quality_gate_would_refuse": dict(group.refusals or {}),
    }


def _rate_record(rate: PadRate | None) -> dict[str, float] | None:
    if rate is None:
        return None
    return {
        "value": rate.value,
        "low": rate.interval.low,
        "high": rate.interval.high,
        "presentations": rate.presentations,
    }


def _both(rate: PadRate | None) -> tuple[str, str, str]:
    if rate is None:
        return "–", "", "0"
    return rate_text(rate.value), interval_text(rate.interval), f"{rate.presentations:,}"


def _det(bona_fide: Presentations, species: dict[str, Any]) -> DetCurve:
    curve = pad_curve(bona_fide.scores, species)
    # One more threshold, above all scores, where no attack passes.
    return DetCurve(
        np.append(curve.thresholds, np.nextafter(curve.thresholds[-1], np.inf)),
        np.append(curve.apcer, 0.0),
        np.append(curve.bpcer, 1.0),
    )


def _histogram(found: PadEvaluation) -> str:
    """Draw the scores of bona fide photos and of all attacks, with a logarithmic count axis."""
    figure, axes = new_figure()
    edges = np.linspace(0.0, 1.0, BINS + 1)
    groups: Sequence[tuple[str, str, Any]] = (
        ("attacks", NON_MATED, np.concatenate([group.scores for group in found.attacks.values()])),
        ("bona fide", MATED, found.bona_fide.scores),
    )
    for name, colour, scores in groups:
        counts, _ = np.histogram(scores, edges)
        label = f"{name} ({scores.size:,})"
        axes.bar(edges[:-1], counts, 1 / BINS, align="edge", color=colour, alpha=0.55, label=label, linewidth=0)
    axes.axvline(found.threshold, color=POINTS[0], linewidth=1.8, label=f"accepted ≥ {found.threshold:g}")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.7)
    axes.set_xlabel("bona fide score")
    axes.set_ylabel("photos per bin (log)")
    axes.set_title("Histograms of the scores", loc="left", color=INK, fontsize=12)
    style_axes(axes)
    return svg_text(figure)
