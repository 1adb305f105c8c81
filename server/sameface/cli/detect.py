"""`sameface detect`: faces of photos, with quality."""

from pathlib import Path
from typing import Annotated

import typer

from sameface.cli.draw import draw_faces, drawing_path
from sameface.cli.options import DEFAULT_ADDRESS, Address, AsJson, ExitCode, PhotosArgument, connected
from sameface.cli.output import as_dict, error_record, print_json, print_table, work_on
from sameface.cli.photos import NamedPhoto, find_photos
from sameface.v1 import face_service_pb2


def detect(
    photos: PhotosArgument,
    draw: Annotated[
        Path | None, typer.Option(help="folder for copies with boxes and landmarks", show_default=False)
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Find every face, with landmarks, quality and what the quality gate would object to.

    Exit code 0, also where a photo has no face; 3 when a photo could not be read or was refused.
    """
    named = find_photos(photos)
    rows, failed, taken = [], False, set[str]()
    with connected(address) as client:

        def look(photo: NamedPhoto) -> tuple[bytes, face_service_pb2.DetectFacesResponse]:
            content = photo.read()
            return content, client.detect(content)

        for photo, result in work_on(named, look, "detecting"):
            if isinstance(result, Exception):
                failed = True
                record = error_record(result)
                rows.append((photo.name, "", "", "", f"[magenta]{record['error']}[/magenta] {record['message']}"))
                if as_json:
                    print_json({"photo": photo.name, **record})
                continue
            content, answer = result
            if as_json:
                print_json({"photo": photo.name, **as_dict(answer)})
            if not answer.faces:
                rows.append((photo.name, "", "", "", "no face"))
            for face in answer.faces:
                quality = {part.name: part for part in face.quality}
                angles = [f"{quality[f'HeadPose{name}'].measurement:+.0f}°" for name in ("Yaw", "Pitch", "Roll")]
                issues = ", ".join(issue.reason for issue in face.issues)
                rows.append(
                    (
                        photo.name,
                        f"{face.detection_score:.2f}",
                        f"{quality['InterEyeDistance'].measurement:.0f} px",
                        " ".join(angles),
                        f"[magenta]{issues}[/magenta]" if issues else "[green]good[/green]",
                    )
                )
            if draw is not None:
                shown = [(face, "", f"{face.detection_score:.2f}") for face in answer.faces]
                draw_faces(content, shown, drawing_path(draw, photo.name, taken))
    if not as_json:
        print_table(("photo", "score", "eyes", "yaw, pitch, roll", "quality"), rows)
    if failed:
        raise typer.Exit(ExitCode.ERROR)
