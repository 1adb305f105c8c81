"""`sameface gallery calibrate` and `gallery what-if`: measure thresholds, and show what others would change."""

import csv
import math
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer

from sameface.cli.calibration_report import interval_of, print_calibration, write_report
from sameface.cli.options import DEFAULT_ADDRESS, Address, AsJson, Etag, GalleryArgument, connected
from sameface.cli.output import Cell, as_dict, coloured, note, print_json, print_table
from sameface.client import Client, ErrorRate, IdentityThresholds, Outcome
from sameface.resource_names import last_part
from sameface.v1 import calibration_pb2
from sameface_qdrant.calibration.inputs import read_cohort, read_scores
from sameface_qdrant.calibration.report import interval_text, rate_text
from sameface_qdrant.errors import InvalidArgument

OUTCOMES = (Outcome.MATCH, Outcome.AMBIGUOUS, Outcome.NO_MATCH)
OperationName = Literal["verification", "identification"]
ScopeName = Literal["claim", "gallery"]
OriginName = Literal["native", "mapped"]


def calibrate(
    gallery: GalleryArgument,
    apply: Annotated[
        bool, typer.Option("--apply", help="write thresholds and margin into the gallery's policy")
    ] = False,
    accept_supported: Annotated[
        bool,
        typer.Option("--accept-supported", help="if a target is not supported, apply the lowest supported rate"),
    ] = False,
    only: Annotated[
        OperationName | None, typer.Option(help="apply only this threshold, and the margin", show_default=False)
    ] = None,
    origin: Annotated[
        OriginName | None, typer.Option(help="only thresholds of templates of this origin", show_default=False)
    ] = None,
    scores: Annotated[
        str | None,
        typer.Option(
            metavar="CSV",
            help="labelled scores with columns score, first, second, and lead if known; - for stdin",
            show_default=False,
        ),
    ] = None,
    cohort: Annotated[
        Path | None,
        typer.Option(
            metavar="NPZ", help="people who are not enrolled, as arrays vectors and identities", show_default=False
        ),
    ] = None,
    identities: Annotated[
        bool, typer.Option("--identities", help="propose thresholds for identities that attract impostors")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="write a report with DET curve and histograms, .html or .png", show_default=False
        ),
    ] = None,
    etag: Etag = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Measure thresholds and runner-up margin for the policy's targets. Without --apply nothing is changed.

    Example: `sameface gallery calibrate staff --report report.html`
    """
    if report is not None and report.suffix not in (".html", ".png"):
        raise InvalidArgument(
            f"{report} does not end in .html or .png; name a file that does", metadata={"field": "report"}
        )
    labelled = None if scores is None else _labelled(scores)
    with connected(address) as client:
        answer = client.calibrate_gallery(
            gallery,
            validate_only=not apply,
            accept_supported=accept_supported,
            operation=only,
            scores=labelled,
            cohort=None if cohort is None else _members(client, gallery, cohort),
            propose_identity_thresholds=identities,
            etag=etag,
            embedding_origin=origin,
        )
    measured = answer.calibration
    if report is not None:
        write_report(report, gallery, measured)
    if as_json:
        print_json(as_dict(answer))
        return
    print_calibration(measured, answer.gallery.policy)
    for sentence in (f"Identification: {measured.identification.reason}.", *measured.findings):
        print(f"- {sentence}")
    if answer.identity_thresholds is not None:
        _print_proposals(answer.identity_thresholds, named=labelled is None)
    revision = answer.gallery.policy.revision
    note(
        f"{gallery} now has policy revision {revision}"
        if apply
        else "nothing was changed; --apply writes thresholds and margin into the policy"
    )


def what_if(
    gallery: GalleryArgument,
    operation: Annotated[OperationName, typer.Argument(help="which of the two thresholds")],
    threshold: Annotated[
        float | None, typer.Option(help="new threshold; default: the policy's", show_default=False)
    ] = None,
    margin: Annotated[
        float | None, typer.Option(help="new runner-up margin; default: the policy's", show_default=False)
    ] = None,
    scope: Annotated[
        ScopeName | None, typer.Option(help="scope of verifications; default: gallery", show_default=False)
    ] = None,
    decisions: Annotated[
        str | None,
        typer.Option(
            metavar="CSV",
            help="recorded decisions: column score, optionally lead and mated (1 or 0); - for stdin",
            show_default=False,
        ),
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Show what another threshold or margin would change, on the gallery's templates or on recorded decisions.

    Example: `sameface gallery what-if staff verification --threshold 0.45`
    """
    read = None if decisions is None else _decisions(decisions)
    with connected(address) as client:
        answer = client.what_if_gallery(
            gallery, operation, threshold=threshold, runner_up_margin=margin, scope=scope, decisions=read
        )
    if as_json:
        print_json(as_dict(answer))
        return
    names = ("FMR", "FNMR") if operation == "verification" else ("FPIR", "FNIR")
    before, after = answer.before, answer.after
    print_table(
        ("", "before", "after", "change"),
        [
            ("threshold", f"{before.threshold:.4f}", f"{after.threshold:.4f}", ""),
            ("margin", f"{before.runner_up_margin:g}", f"{after.runner_up_margin:g}", ""),
            _change(coloured("MATCH"), before.matches, after.matches),
            _change(coloured("AMBIGUOUS"), before.ambiguous, after.ambiguous),
            _change(coloured("NO_MATCH"), before.no_matches, after.no_matches),
            (names[0], *(_error(side.false_matches) for side in (before, after)), ""),
            (names[1], *(_error(side.false_non_matches) for side in (before, after)), ""),
        ],
    )
    moved = {(one.before, one.after): one.count for one in answer.transitions}
    print_table(
        ("before ↓  after →", *map(coloured, OUTCOMES)),
        [(coloured(one), *(f"{moved.get((one, other), 0):,}" for other in OUTCOMES)) for one in OUTCOMES],
    )


def _labelled(source: str) -> calibration_pb2.LabelledScores:
    with nullcontext(sys.stdin) if source == "-" else Path(source).open(encoding="utf-8", newline="") as file:
        read = read_scores(file)
    return calibration_pb2.LabelledScores(
        scores=np.concatenate([read.mated, read.non_mated]),
        first=np.concatenate([read.owners, read.first]),
        second=np.concatenate([read.owners, read.second]),
        leads=None
        if read.non_mated_leads is None
        else np.concatenate([() if read.mated_probes is None else read.mated_probes.leads, read.non_mated_leads]),
    )


def _members(client: Client, gallery: str, path: Path) -> calibration_pb2.Cohort:
    """Return the cohort of a file. The file names no contract; the user must make sure that it is the gallery's."""
    read = read_cohort(path)
    return calibration_pb2.Cohort(
        contract=client.get_gallery(gallery).contract.proto,
        members=[
            calibration_pb2.Cohort.Member(identity=identity, values=vector)
            for identity, vector in zip(read.identities, read.vectors, strict=True)
        ],
    )


def _decisions(source: str) -> calibration_pb2.RecordedDecisions:
    with nullcontext(sys.stdin) if source == "-" else Path(source).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or "score" not in rows[0]:
        raise InvalidArgument(
            f"{source} has no column score, or no rows; expected score, and optionally lead and mated (1 or 0)",
            metadata={"field": "decisions"},
        )
    try:
        return calibration_pb2.RecordedDecisions(
            scores=[float(row["score"]) for row in rows],
            leads=[float(row["lead"] or math.nan) for row in rows] if "lead" in rows[0] else (),
            mated=[bool(int(row["mated"])) for row in rows] if "mated" in rows[0] else (),
        )
    except (TypeError, ValueError) as error:
        raise InvalidArgument(
            f"{source} has a value that is not a number: {error}", metadata={"field": "decisions"}
        ) from None


def _print_proposals(found: IdentityThresholds, *, named: bool) -> None:
    """Print what is proposed. ``named``: identities of the gallery, by their names; others are as they were sent."""
    if not found.proposals:
        print("- No identity attracts significantly more impostors than the others.")
        return
    print_table(
        ("identity", "threshold", "impostors with a high score", "p (corrected)"),
        [
            (
                last_part(one.identity) if named else one.identity,
                f"{one.verify_threshold:.4f}",
                f"{one.impostors_in_tail} of {one.impostors}",
                f"{one.p_value:.1g}",
            )
            for one in found.proposals
        ],
    )
    for name, errors in (
        ("one threshold for all", found.before),
        ("these thresholds", found.after),
        ("one threshold, raised to the same FNMR", found.raised),
    ):
        if errors is not None and errors.fmr_interval is not None:
            fnmr = "–" if errors.fnmr is None else rate_text(errors.fnmr)
            rates = f"FMR {rate_text(errors.fmr)} ({interval_text(interval_of(errors.fmr_interval))}), FNMR {fnmr}"
            print(f"- {name}: {rates}, measured on impostors who took no part in choosing")


def _change(name: Cell, before: int, after: int) -> Sequence[Cell]:
    return name, f"{before:,}", f"{after:,}", f"{after - before:+,}" if after != before else ""


def _error(rate: ErrorRate | None) -> str:
    if rate is None:
        return "–"
    interval = "" if rate.interval is None else f" ({interval_text(interval_of(rate.interval))})"
    return f"{rate_text(rate.errors / rate.trials)}{interval}"
