"""Biometric metrics of ISO/IEC 19795-1. Pure; needs only numpy.

`error_rates` computes rates from scores, and `intervals` their confidence intervals. `comparisons` holds labelled
scores, and `cross_comparison` makes them from templates. `curves` prepares them for drawing. `menagerie` finds
identities that attract impostors, and `animals` groups identities by their mean scores. `support` says which rates a
number of trials supports. `presentation_attacks` has the rates of ISO/IEC 30107-3. `discard` measures whether quality
predicts errors.

scipy, statsmodels and scikit-learn would be further dependencies of the plugin. The tests compare with scipy and
scikit-learn.
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
    fta,
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
    "fta",
    "fte",
    "rounded_up",
    "threshold_at_fmr",
]
