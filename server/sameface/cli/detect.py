"""`sameface detect`: finds faces and measures their quality."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from sameface.cli.draw import Shown, try_to_draw
from sameface.cli.options import DEFAULT_ADDRESS, Address, AsJson, ExitCode, PhotosArgument, connected
from sameface.cli.output import Cell, GrowingTable, as_dict, coloured, note_cut, note_skipped, print_json
from sameface.cli.photos import NamedPhoto, find_photos
from sameface.cli.work import NotTried, error_record, work_on
from sameface.v1 import face_service_pb2

HEADINGS = ("photo", "face", "score", "eyes", "yaw, pitch, roll", "quality", "components, 0 to 100")
# They have columns of their own.
ELSEWHERE = ("DetectionScore", "InterEyeDistance", "HeadPoseYaw", "HeadPosePitch", "HeadPoseRoll")


def detect(
    photos: PhotosArgument,
    draw: Annotated[
        Path | None,
        typer.Option(
            help="write copies with boxes, landmarks and the upright crop of each face into this folder",
            show_default=False,
        ),
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Find every face of each photo, largest first, and show whether its quality is good enough, and why not.

    Exit code: 0, also if a photo has no face; 3 if a photo could not be read or drawn, or was refused.
    """
    named, skipped = find_photos(photos)
    note_skipped(skipped)
    table, failed = GrowingTable(HEADINGS, [photo.name for photo in named]), False
    with connected(address) as client:

        def look(photo: NamedPhoto) -> tuple[bytes, face_service_pb2.DetectFacesResponse]:
            content = photo.read()
            return content if draw else b"", client.detect(content)

        for photo, result in work_on(named, look, "detecting"):
            if isinstance(result, Exception):
                failed = True
                record = error_record(result)
                if as_json:
                    print_json({"photo": photo.name, **record})
                elif not isinstance(result, NotTried):
                    table.add((photo.name, "", "", "", "", coloured(record["error"], record["message"]), ""))
                continue
            content, answer = result
            note_cut(photo.name, len(answer.faces), answer.faces_found)
            if as_json:
                print_json({"photo": photo.name, **as_dict(answer)})
            else:
                for row in _rows(photo.name, answer):
                    table.add(row)
            if draw is not None:
                failed |= not try_to_draw(draw, photo.name, content, _shown(answer), crops=True)
    if failed:
        raise typer.Exit(ExitCode.ERROR)


def _rows(name: str, answer: face_service_pb2.DetectFacesResponse) -> Iterator[Sequence[Cell]]:
    if not answer.faces:
        yield (name, "0", "", "", "", "no face", "")
    # A service may return fewer faces than it found, and an older one does not say how many that were.
    found = max(answer.faces_found, len(answer.faces))
    for number, face in enumerate(answer.faces, 1):
        quality = {part.name: part for part in face.quality}
        angles = [f"{quality[f'HeadPose{name}'].measurement:+.0f}°" for name in ("Yaw", "Pitch", "Roll")]
        issues = "; ".join(f"{issue.reason} {issue.message}" for issue in face.issues)
        yield (
            name,
            f"{number:{len(str(found))}} of {found}",
            f"{face.detection_score:.2f}",
            f"{quality['InterEyeDistance'].measurement:.0f} px",
            " ".join(angles),
            coloured(issues) if issues else coloured("good", colour="green"),
            ", ".join(f"{part.name} {part.value:.0f}" for part in face.quality if part.name not in ELSEWHERE),
        )


def _shown(answer: face_service_pb2.DetectFacesResponse) -> list[Shown]:
    """Return every face with its number, if there are several, and its score; AMBIGUOUS colours what is refused."""
    several = len(answer.faces) > 1
    return [
        (face, "AMBIGUOUS" if face.issues else "", f"{f'{number}: ' if several else ''}{face.detection_score:.2f}")
        for number, face in enumerate(answer.faces, 1)
    ]
