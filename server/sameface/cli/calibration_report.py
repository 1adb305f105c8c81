"""What `sameface gallery calibrate` prints and draws."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sameface.cli.output import Cell, coloured, note, print_table
from sameface.client import Calibration, MeasuredThreshold, Policy
from sameface.client import ConfidenceInterval as ReceivedInterval
from sameface.client import ExpectedShare as ReceivedShare
from sameface_qdrant.calibration.expected import ExpectedAnswer, ExpectedShare
from sameface_qdrant.calibration.expected_plot import OUTCOMES, call_name, named_shares
from sameface_qdrant.calibration.page import write_html
from sameface_qdrant.calibration.report import MarkedThreshold, interval_text, rate_text, write_png
from sameface_qdrant.metrics.curves import Curves
from sameface_qdrant.metrics.intervals import ConfidenceInterval
from sameface_qdrant.values.decision import Operation, Scope


def interval_of(received: ReceivedInterval) -> ConfidenceInterval:
    """Return an interval as the plugin has it."""
    return ConfidenceInterval(received.low, received.high)


def print_calibration(measured: Calibration, policy: Policy) -> None:
    """Print the thresholds, the margin, and what calls will answer with them."""
    print_table(
        ("", "threshold", "target", "measured", "95 % interval", "FNMR", "95 % interval"),
        [_row("verify", "FMR", measured.verification), _row("identify", "FPIR", measured.identification)],
    )
    if measured.runner_up_margin is not None and measured.ambiguous is not None:
        target = rate_text(policy.target_ambiguous)
        print(
            f"runner-up margin {measured.runner_up_margin:.4f}: {rate_text(measured.ambiguous)} of mated probes are "
            f"AMBIGUOUS, target {target}"
        )
    print(f"expected answers, with 95 % intervals for another {measured.expected_probes} probes or more:")
    print_table(
        ("call", *(coloured(one) for one in OUTCOMES)),
        [(call_name(one), *(_share(named_shares(one).get(name)) for name in OUTCOMES)) for one in _expected(measured)],
    )


def _share(share: ExpectedShare | None) -> str:
    return "" if share is None else f"{rate_text(share.share)} ({interval_text(share.interval)})"


def _expected(measured: Calibration) -> Sequence[ExpectedAnswer]:
    def share(received: ReceivedShare) -> ExpectedShare:
        return ExpectedShare(received.share, interval_of(received.interval))

    return [
        ExpectedAnswer(
            Operation(one.operation),
            Scope(one.scope),
            one.mated,
            share(one.match),
            share(one.ambiguous),
            share(one.no_match),
            None if one.wrong_match is None else share(one.wrong_match),
            one.probes,
            one.identities,
        )
        for one in measured.expected_answers
    ]


def _row(name: str, rate: str, one: MeasuredThreshold) -> Sequence[Cell]:
    target: Cell = f"{rate} {one.target:g}"
    if one.supported > one.target:
        target = coloured(f"{rate} {one.supported:.2g} instead of {one.target:g}", colour="yellow")
    return (
        name,
        f"{one.threshold:.4f}",
        target,
        rate_text(one.rate),
        interval_text(interval_of(one.interval)),
        "–" if one.fnmr is None else rate_text(one.fnmr),
        "" if one.fnmr_interval is None else interval_text(interval_of(one.fnmr_interval)),
    )


def write_report(path: Path, gallery: str, measured: Calibration) -> None:
    """Write a calibration as a page (.html) or a picture (.png)."""
    received = measured.curves
    curves = Curves(
        np.array(received.thresholds),
        np.array(received.fmr),
        np.array(received.fnmr),
        np.array(received.edges),
        np.array(received.mated, np.int64),
        np.array(received.non_mated, np.int64),
    )
    identification = measured.identification
    fpir = f"FPIR {rate_text(identification.rate)} ({interval_text(interval_of(identification.interval))})"
    marked = [
        MarkedThreshold(
            label,
            one.threshold,
            one.fmr,
            interval_of(one.fmr_interval),
            one.fnmr,
            None if one.fnmr_interval is None else interval_of(one.fnmr_interval),
            below,
        )
        for label, one, below in (("verify", measured.verification, ""), ("identify", identification, fpir))
    ]
    title = f"Calibration of {gallery}"
    if path.suffix == ".png":
        write_png(path, curves, marked, title, _expected(measured))
    else:
        write_html(
            path,
            curves,
            marked,
            title=title,
            caveats=measured.findings,
            expected=_expected(measured),
            margin=measured.runner_up_margin,
        )
    note(f"report in {path}")
