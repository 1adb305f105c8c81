"""`sameface detect`: finds faces and measures their quality."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from sameface.cli.draw import Shown, try_to_draw
from sameface.cli.options import DEFAULT_ADDRESS, Address, AsJson, ExitCode, PhotosArgument, connected
from sameface.cli.output import Cell, GrowingTable, as_dict, coloured, note_cut, note_skipped, print_json
from sameface.cli.photos import NamedPhoto, find_photos
from sameface.cli.work import NotTried, error_record, work_on
from sameface.client import DetectedFaces, Face

HEADINGS = ("photo", "face", "score", "eyes", "yaw, pitch, roll", "bona fide score", "quality", "components, 0 to 100")
BONA_FIDE = HEADINGS.index("bona fide score")
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

    If the service has a model for presentation attacks, the bona fide score of each face is shown too. Higher means
    less like an attack. There is no verdict, because the threshold is a gallery's.

    Exit code: 0, also if a photo has no face; 3 if a photo could not be read or drawn, or was refused.
    """
    named, skipped = find_photos(photos)
    note_skipped(skipped)
    table, failed = _FaceTable([photo.name for photo in named]), False
    with connected(address) as client:

        def look(photo: NamedPhoto) -> tuple[bytes, DetectedFaces]:
            content = photo.read()
            return content if draw else b"", client.detect(content)

        for photo, result in work_on(named, look, "detecting"):
            if isinstance(result, Exception):
                failed = True
                record = error_record(result)
                if as_json:
                    print_json({"photo": photo.name, **record})
                elif not isinstance(result, NotTried):
                    table.add([(photo.name, "", "", "", "", "", coloured(record["error"], record["message"]), "")])
                continue
            content, answer = result
            note_cut(photo.name, len(answer.faces), answer.faces_found)
            if as_json:
                print_json({"photo": photo.name, **as_dict(answer)})
            else:
                table.add(_rows(photo.name, answer), answer.faces)
            if draw is not None:
                failed |= not try_to_draw(draw, photo.name, content, _shown(answer), crops=True)
    table.end()
    if failed:
        raise typer.Exit(ExitCode.ERROR)


class _FaceTable:
    """A growing table. Whether it has bona fide scores shows with the first face, so the rows before it wait for it."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._waiting: list[Sequence[Cell]] = []
        self._table: GrowingTable | None = None
        self._kept: list[int] = []

    def add(self, rows: Iterable[Sequence[Cell]], faces: Sequence[Face] = ()) -> None:
        """Print rows, each with a cell for every heading, and the rows that have waited."""
        self._waiting += rows
        if faces and self._table is None:
            self._open(any(face.presentation_attack_detection is not None for face in faces))
        self._print()

    def end(self) -> None:
        """Print the rows that still wait."""
        if self._waiting:
            self._open(False)
        self._print()

    def _open(self, examined: bool) -> None:
        self._kept = [place for place in range(len(HEADINGS)) if examined or place != BONA_FIDE]
        self._table = GrowingTable([HEADINGS[place] for place in self._kept], self._names)

    def _print(self) -> None:
        if self._table is not None:
            for row in self._waiting:
                self._table.add([row[place] for place in self._kept])
            self._waiting.clear()


def _rows(name: str, answer: DetectedFaces) -> Iterator[Sequence[Cell]]:
    if not answer.faces:
        yield (name, "0", "", "", "", "", "no face", "")
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
            f"{examined.score:.3f}" if (examined := face.presentation_attack_detection) is not None else "",
            coloured(issues) if issues else coloured("good", colour="green"),
            ", ".join(f"{part.name} {part.value:.0f}" for part in face.quality if part.name not in ELSEWHERE),
        )


def _shown(answer: DetectedFaces) -> list[Shown]:
    """Return every face with its number, if there are several, and its score; AMBIGUOUS colours what is refused."""
    several = len(answer.faces) > 1
    return [
        (face, "AMBIGUOUS" if face.issues else "", f"{f'{number}: ' if several else ''}{face.detection_score:.2f}")
        for number, face in enumerate(answer.faces, 1)
    ]
