"""`sameface verify`, `identify`, `compare` and `search`: compare photos with a gallery or with each other."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.text import Text

from sameface.cli.draw import try_to_draw
from sameface.cli.options import (
    DEFAULT_ADDRESS,
    Address,
    AsJson,
    EmbedderModel,
    ExitCode,
    GalleryArgument,
    IdentityArgument,
    Labels,
    PhotosArgument,
    Selection,
    connected,
    parse_labels,
)
from sameface.cli.output import (
    OF_OUTCOME,
    Cell,
    GrowingTable,
    as_dict,
    coloured,
    note_cut,
    note_skipped,
    print_json,
    print_table,
    time_text,
    worst,
)
from sameface.cli.photos import NamedPhoto, find_photos, one_photo_each
from sameface.cli.work import NotTried, error_record, work_on
from sameface.client import Decision, Face, NotAPhoto, ServiceError
from sameface.resource_names import ids_in

Threshold = Annotated[
    float | None,
    typer.Option(
        "--threshold", help="lowest score that accepts; default: that of the gallery or model", show_default=False
    ),
]
Margin = Annotated[
    float | None,
    typer.Option("--margin", help="required lead over the runner-up; default: the gallery's", show_default=False),
]
DrawInto = Annotated[
    Path | None,
    typer.Option("--draw", help="write copies with boxes and outcomes into this folder", show_default=False),
]
HEADINGS = ("photo", "claim", "nearest", "score", "threshold", "source", "lead", "outcome")
Judged = tuple[Decision | None, Face | None]
Result = tuple[bytes, Sequence[Judged]]


def verify(
    gallery: GalleryArgument,
    identity: IdentityArgument,
    photos: PhotosArgument,
    scope: Annotated[
        Literal["claim", "gallery"] | None,
        typer.Option(
            help="claim: compare with this identity alone; gallery: it must also lead all others", show_default=False
        ),
    ] = None,
    threshold: Threshold = None,
    margin: Margin = None,
    face: Selection = None,
    draw: DrawInto = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Verify (1:1): is each photo of the claimed identity?

    Example: `sameface verify staff ada photo.jpg`

    Exit code: 0 match, 1 no match, 2 ambiguous, 3 error. Of several photos the worst counts (3, then 2, then 1).
    """
    named, skipped = find_photos(photos)
    note_skipped(skipped)
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
            return content if draw else b"", [(answer.decision, answer.face)]

        results = work_on(named, decide, "verifying")
        _report([photo.name for photo in named], (result for _, result in results), identity, draw, as_json)


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
    """Identify (1:N): which identity of the gallery does each photo show, if any?

    Example: `sameface identify staff photo.jpg --all-faces`

    Exit code: 0 every face matched, 1 no match, 2 ambiguous, 3 error. The worst counts (3, then 2, then 1).
    """
    named, skipped = find_photos(photos)
    note_skipped(skipped)
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
            note_cut(photo.name, len(answer.faces), answer.faces_found)
            return content if draw else b"", [(one.decision, one.face) for one in answer.faces]

        results = work_on(named, decide, "identifying")
        _report([photo.name for photo in named], (result for _, result in results), "", draw, as_json)


def compare(
    first: Annotated[str, typer.Argument(help="one photo")],
    second: Annotated[str, typer.Argument(help="the other photo")],
    threshold: Threshold = None,
    target_fmr: Annotated[
        float | None,
        typer.Option(help="take the threshold for this false match rate from the model card", show_default=False),
    ] = None,
    embedder_model: EmbedderModel = "",
    face: Selection = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Compare two photos. Nothing is stored.

    Exit code: 0 match, 1 no match, 3 error.
    """
    pair = one_photo_each(first, second)
    with connected(address) as client:

        def decide(photos: Sequence[NamedPhoto]) -> tuple[bytes, list[Judged]]:
            one, other = (photo.read() for photo in photos)
            answer = client.compare(
                one,
                other,
                verify_threshold=threshold,
                target_fmr=target_fmr,
                face_selection=face,
                embedder_model=embedder_model,
            )
            return b"", [(answer.decision, None)]

        results = work_on([pair], decide, "comparing")
        _report([" ".join(photo.name for photo in pair)], (result for _, result in results), "", None, as_json)


def search(
    gallery: GalleryArgument,
    photo: Annotated[str, typer.Argument(help="a photo, or - for stdin")],
    results: Annotated[int, typer.Option(help="templates to list, 1 to 1000")] = 10,
    min_score: Annotated[float | None, typer.Option(help="lowest score that is listed", show_default=False)] = None,
    label: Labels = [],  # noqa: B006  # typer copies it
    face: Selection = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """List the templates that are nearest to a photo. Nothing is decided."""
    (named,) = one_photo_each(photo)
    labels = parse_labels(label)
    with connected(address) as client:
        try:
            found = client.search(
                gallery, named.read(), max_results=results, min_score=min_score, face_selection=face, labels=labels
            ).templates
        except (ServiceError, OSError, NotAPhoto) as error:
            if as_json:
                print_json({"photo": named.name, **error_record(error)})
            raise
    if as_json:
        for one in found:
            print_json(as_dict(one))
        return
    rows = []
    for one in found:
        _, identity, template = ids_in(one.template.name)
        enrolled = time_text(one.template.create_time)[:10]
        rows.append((f"{one.score:.3f}", identity, one.display_name, template, enrolled))
    print_table(("score", "identity", "display name", "template", "enrolled"), rows)


def _report(
    names: Sequence[str], results: Iterable[Result | Exception], claim: str, draw: Path | None, as_json: bool
) -> None:
    """Print each decision as it comes, draw it if asked, and exit with the worst code."""
    codes: list[ExitCode] = []
    table = GrowingTable(HEADINGS, names)
    for name, result in zip(names, results, strict=True):
        records: Iterable[dict[str, Any]]
        rows: Iterable[Sequence[Cell]]
        if isinstance(result, Exception):
            codes.append(ExitCode.ERROR)
            record = error_record(result)
            records = [record]
            outcome = coloured(record["error"], record["message"])
            rows = [] if isinstance(result, NotTried) else [_unjudged_row(name, claim, outcome)]
        else:
            content, judged = result
            codes += [OF_OUTCOME.get(_outcome(decision), ExitCode.ERROR) for decision, _ in judged]
            codes += [] if judged else [ExitCode.NO_MATCH]
            records, rows = _records(judged), _rows(name, claim, judged)
        if as_json:
            for record in records:
                print_json({"photo": name, **record})
        else:
            for row in rows:
                table.add(row)
        if draw is not None and not isinstance(result, Exception):
            shown = [(face, _outcome(decision), _caption(decision)) for decision, face in judged if face]
            try_to_draw(draw, name, content, shown)
    if code := worst(codes):
        raise typer.Exit(code)


def _records(judged: Sequence[Judged]) -> Iterator[dict[str, Any]]:
    if not judged:
        yield {"outcome": "NO_MATCH", "decision": None, "face": None}
    for decision, face in judged:
        yield {
            "outcome": _outcome(decision),
            "decision": None if decision is None else as_dict(decision),
            "face": as_dict(face) if face else None,
        }


def _rows(name: str, claim: str, judged: Sequence[Judged]) -> Iterator[Sequence[Cell]]:
    if not judged:
        yield _unjudged_row(name, claim, coloured("NO_MATCH", "no face"))
    for decision, face in judged:
        if decision is None:
            reasons = ", ".join(issue.reason for issue in face.issues) if face else ""
            yield _unjudged_row(name, claim, coloured(reasons))
            continue
        yield (
            name,
            claim,
            _nearest(decision),
            f"{decision.score:.3f}" if decision.score is not None else "–",
            f"{decision.threshold:.3f}",
            decision.threshold_source,
            f"{decision.lead:.3f}" if decision.lead is not None else "–",
            coloured(_outcome(decision)),
        )


def _unjudged_row(name: str, claim: str, outcome: Text) -> Sequence[Cell]:
    return (name, claim, "", "", "", "", "", outcome)


def _outcome(decision: Decision | None) -> str:
    return "" if decision is None else decision.outcome


def _nearest(decision: Decision) -> str:
    return decision.candidates[0].identity_id if decision.candidates else "–"


def _caption(decision: Decision | None) -> str:
    if decision is None or decision.score is None:
        return ""
    return f"{_nearest(decision)} {decision.score:.2f}"
