"""Biometric metrics of ISO/IEC 19795-1: pure, numpy alone.

`error_rates` counts errors, `intervals` says how certain the counts are, `comparisons` and `cross_comparison` make the
scores, `curves` and `menagerie` look at them.
"""

from sameface_qdrant.metrics.error_rates import (
    DetCurve,
    det_curve,
    eer,
    eer_threshold,
    fmr,
    fnir,
    fnmr,
    fpir,
    fte,
    rounded_up,
    threshold_at_fmr,
)

__all__ = [
    "DetCurve",
    "det_curve",
    "eer",
    "eer_threshold",
    "fmr",
    "fnir",
    "fnmr",
    "fpir",
    "fte",
    "rounded_up",
    "threshold_at_fmr",
]
