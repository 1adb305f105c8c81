"""`sameface enroll`: photos in, templates made."""

from pathlib import Path
from typing import Annotated

import typer

from sameface.cli.options import (
    DEFAULT_ADDRESS,
    Address,
    AsJson,
    ExitCode,
    GalleryArgument,
    Selection,
    connected,
    parse_labels,
)
from sameface.cli.output import GrowingTable, coloured, note, note_skipped, print_json
from sameface.cli.photos import STDIN, NamedPhoto, Skipped, find_people, find_photos, identity_ids
from sameface.cli.work import NotTried, error_record, work_on
from sameface.client import Client, ServiceError
from sameface.v1 import face_service_pb2
from sameface_qdrant.errors import InvalidArgument


def enroll(
    gallery: GalleryArgument,
    photos: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTO...", help="with --as: photos of one person; else one folder with a sub-folder per person"
        ),
    ],
    identity: Annotated[
        str, typer.Option("--as", metavar="ID", help="enrol all photos under this identity", show_default=False)
    ] = "",
    display_name: Annotated[str, typer.Option(help="display name of a new identity", show_default=False)] = "",
    label: Annotated[
        list[str],
        typer.Option(metavar="KEY=VALUE", help="label of a new identity; may be repeated", show_default=False),
    ] = [],  # noqa: B006  # typer copies it
    create_gallery: Annotated[
        bool, typer.Option("--create-gallery", help="make the gallery where there is none")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check every photo, store nothing")] = False,
    face: Selection = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Enrol photos: `people/<name>/*.jpg` by the names of the folders, or photos of one person with --as.

    Exit code 0 when every photo was enrolled, 3 when one was refused.
    """
    labels = parse_labels(label)
    people, skipped = _people(photos, identity)
    note_skipped(skipped)
    ids = {identity: identity} if identity else identity_ids(people)
    for name, chosen in ids.items():
        if name != chosen:
            note(f"{name} is enrolled as {chosen}")
    work = [(name, photo) for name, found in people.items() for photo in found]
    refused = 0
    table = GrowingTable(("photo", "identity", "", ""), [photo.name for _, photo in work])
    with connected(address) as client:
        if create_gallery:
            _make_gallery(client, gallery)

        def send(item: tuple[str, NamedPhoto]) -> face_service_pb2.EnrollTemplateResponse:
            name, photo = item
            return client.enroll(
                gallery,
                ids[name],
                photo.read(),
                display_name=display_name or ("" if identity else name),
                labels=labels,
                validate_only=dry_run,
                face_selection=face,
            )

        for (name, photo), answer in work_on(work, send, "enrolling"):
            record: dict[str, object] = {"photo": photo.name, "identity": ids[name]}
            if isinstance(answer, Exception):
                refused += 1
                failure = error_record(answer)
                record |= failure
                row = (photo.name, ids[name], coloured(failure["error"], colour="red"), failure["message"])
            else:
                quality = {part.name: round(part.value, 1) for part in answer.template.quality}
                record |= {"template": answer.template.name, "quality": quality}
                status = "would be enrolled" if dry_run else "enrolled"
                row = (photo.name, ids[name], coloured(status, colour="green"), "")
            if as_json:
                print_json(record)
            elif not isinstance(answer, NotTried):
                table.add(row)
    enrolled = len(work) - refused
    done = "pass" if dry_run else "enrolled"
    note(f"{enrolled} of {len(work)} photos {done}, {len(ids)} identities, {refused} refused")
    if refused:
        raise typer.Exit(ExitCode.ERROR)


def _people(photos: list[str], identity: str) -> tuple[dict[str, list[NamedPhoto]], list[Skipped]]:
    if identity:
        found, skipped = find_photos(photos)
        return {identity: found}, skipped
    if len(photos) != 1 or photos[0] == STDIN or not Path(photos[0]).is_dir():
        raise InvalidArgument(
            "without --as one folder is expected, with a sub-folder per person; name the person of these photos with "
            "--as ID",
            metadata={"field": "photo"},
        )
    return find_people(Path(photos[0]))


def _make_gallery(client: Client, gallery: str) -> None:
    try:
        client.create_gallery(gallery)
    except ServiceError as error:
        if error.reason != "GALLERY_ALREADY_EXISTS":
            raise
