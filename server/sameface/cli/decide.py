"""`sameface verify`, `identify`, `compare`, `search`: decisions, and looking around."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from sameface.cli.draw import draw_faces, drawing_path
from sameface.cli.options import (
    DEFAULT_ADDRESS,
    Address,
    AsJson,
    ExitCode,
    GalleryArgument,
    IdentityArgument,
    PhotosArgument,
    Selection,
    connected,
)
from sameface.cli.output import OF_OUTCOME, as_dict, coloured, error_record, print_json, print_table, work_on, worst
from sameface.cli.photos import NamedPhoto, find_photos
from sameface.v1 import decision_pb2, face_pb2

Threshold = Annotated[
    float | None,
    typer.Option("--threshold", help="lowest score that accepts, instead of the gallery's", show_default=False),
]
Margin = Annotated[float | None, typer.Option("--margin", help="required lead over the runner-up", show_default=False)]
DrawInto = Annotated[
    Path | None, typer.Option("--draw", help="folder for copies with boxes and outcomes", show_default=False)
]
HEADINGS = ("photo", "claim", "nearest", "score", "threshold", "source", "lead", "outcome")
Judged = tuple[decision_pb2.Decision | None, face_pb2.Face | None]
Result = tuple[bytes, Sequence[Judged]] | Exception


def verify(
    gallery: GalleryArgument,
    identity: IdentityArgument,
    photos: PhotosArgument,
    scope: Annotated[
        Literal["claim", "gallery"] | None,
        typer.Option(help="look at the claim alone, or at its lead", show_default=False),
    ] = None,
    threshold: Threshold = None,
    margin: Margin = None,
    face: Selection = None,
    draw: DrawInto = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """1:1 - is each photo of the identity that it claims to be?

    Exit code 0 match, 1 no match, 2 ambiguous, 3 error; of several photos the worst (3, then 2, then 1).
    """
    named = find_photos(photos)
    with connected(address) as client:

        def decide(photo: NamedPhoto) -> tuple[bytes, list[Judged]]:
            content = photo.read()
            answer = client.verify(
                gallery,
                identity,
                content,
                scope=scope,
                verify_threshold=threshold,
                runner_up_margin=margin,
                face_selection=face,
            )
            return content, [(answer.decision, answer.face if answer.HasField("face") else None)]

        _report(((p.name, r) for p, r in work_on(named, decide, "verifying")), identity, draw, as_json)


def identify(
    gallery: GalleryArgument,
    photos: PhotosArgument,
    all_faces: Annotated[bool, typer.Option("--all-faces", help="identify every face of each photo")] = False,
    threshold: Threshold = None,
    margin: Margin = None,
    candidates: Annotated[int, typer.Option(help="identities to list for each face, 1 to 100")] = 5,
    face: Selection = None,
    draw: DrawInto = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """1:N - who of the gallery is in each photo, or nobody?

    Exit code 0 when every face matched, 1 no match, 2 ambiguous, 3 error; the worst of all (3, then 2, then 1).
    """
    named = find_photos(photos)
    with connected(address) as client:

        def decide(photo: NamedPhoto) -> tuple[bytes, list[Judged]]:
            content = photo.read()
            answer = client.identify(
                gallery,
                content,
                all_faces=all_faces,
                identify_threshold=threshold,
                runner_up_margin=margin,
                face_selection=face,
                max_candidates=candidates,
            )
            return content, [
                (one.decision if one.HasField("decision") else None, one.face if one.HasField("face") else None)
                for one in answer.faces
            ]

        _report(((p.name, r) for p, r in work_on(named, decide, "identifying")), "", draw, as_json)


def compare(
    first: Annotated[str, typer.Argument(help="one photo")],
    second: Annotated[str, typer.Argument(help="the other photo")],
    threshold: Threshold = None,
    target_fmr: Annotated[
        float | None,
        typer.Option(help="false match rate that picks the threshold of the model card", show_default=False),
    ] = None,
    face: Selection = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Compare two photos and store nothing.

    Exit code 0 match, 1 no match, 3 error.
    """
    (one,), (other,) = find_photos([first]), find_photos([second])
    with connected(address) as client:
        answer = client.compare(
            one.read(), other.read(), verify_threshold=threshold, target_fmr=target_fmr, face_selection=face
        )
    _report([(f"{one.name} {other.name}", (b"", [(answer.decision, None)]))], "", None, as_json)


def search(
    gallery: GalleryArgument,
    photo: Annotated[str, typer.Argument(help="a photo, or - for stdin")],
    results: Annotated[int, typer.Option(help="templates to list, 1 to 1000")] = 10,
    min_score: Annotated[float | None, typer.Option(help="lowest score that is listed", show_default=False)] = None,
    label: Annotated[
        list[str], typer.Option(metavar="KEY=VALUE", help="only identities with this label", show_default=False)
    ] = [],  # noqa: B006  # typer copies it
    face: Selection = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """List the nearest templates, without any decision."""
    (named,) = find_photos([photo])
    labels = dict(text.partition("=")[::2] for text in label)
    with connected(address) as client:
        found = client.search(
            gallery, named.read(), max_results=results, min_score=min_score, face_selection=face, labels=labels
        ).templates
    if as_json:
        for one in found:
            print_json(as_dict(one))
        return
    rows = []
    for one in found:
        _, _, _, identity, _, template = one.template.name.split("/")
        enrolled = f"{one.template.create_time.ToDatetime():%Y-%m-%d}"
        rows.append((f"{one.score:.3f}", identity, one.display_name, template, enrolled))
    print_table(("score", "identity", "display name", "template", "enrolled"), rows)


def _report(results: Iterable[tuple[str, Result]], claim: str, draw: Path | None, as_json: bool) -> None:
    """Print every decision, draw where asked, and end with the worst exit code."""
    codes: list[ExitCode] = []
    rows: list[tuple[str, ...]] = []
    taken = set[str]()
    for name, result in results:
        if isinstance(result, Exception):
            codes.append(ExitCode.ERROR)
            record = error_record(result)
            if as_json:
                print_json({"photo": name, **record})
            rows.append((name, claim, "", "", "", "", "", f"[magenta]{record['error']}[/magenta] {record['message']}"))
            continue
        content, judged = result
        codes += [OF_OUTCOME[decision.outcome] if decision else ExitCode.ERROR for decision, _ in judged]
        codes += [] if judged else [ExitCode.NO_MATCH]
        rows += _rows(name, claim, judged)
        if as_json:
            for decision, face in judged:
                print_json(
                    {
                        "photo": name,
                        "outcome": _outcome(decision),
                        "decision": as_dict(decision) if decision else None,
                        "face": as_dict(face) if face else None,
                    }
                )
        if draw is not None:
            shown = [(face, _outcome(decision), _caption(decision)) for decision, face in judged if face]
            draw_faces(content, shown, drawing_path(draw, name, taken))
    if not as_json:
        print_table(HEADINGS, rows)
    if code := worst(codes):
        raise typer.Exit(code)


def _rows(name: str, claim: str, judged: Sequence[Judged]) -> Iterator[tuple[str, ...]]:
    if not judged:
        yield (name, claim, "", "", "", "", "", coloured("NO_MATCH") + " no face")
    for decision, face in judged:
        if decision is None:
            reasons = ", ".join(issue.reason for issue in face.issues) if face else ""
            yield (name, claim, "", "", "", "", "", f"[magenta]{reasons}[/magenta]")
            continue
        yield (
            name,
            claim,
            _nearest(decision),
            f"{decision.score:.3f}" if decision.HasField("score") else "–",
            f"{decision.threshold:.3f}",
            decision_pb2.ThresholdSource.Name(decision.threshold_source).removeprefix("THRESHOLD_SOURCE_"),
            f"{decision.lead:.3f}" if decision.HasField("lead") else "–",
            coloured(_outcome(decision)),
        )


def _outcome(decision: decision_pb2.Decision | None) -> str:
    return decision_pb2.Outcome.Name(decision.outcome).removeprefix("OUTCOME_") if decision else ""


def _nearest(decision: decision_pb2.Decision) -> str:
    return decision.candidates[0].identity.rpartition("/")[2] if decision.candidates else "–"


def _caption(decision: decision_pb2.Decision | None) -> str:
    if decision is None or not decision.HasField("score"):
        return ""
    return f"{_nearest(decision)} {decision.score:.2f}"
