"""`sameface enroll`: photos in, templates made.

A photo that is sent again is the same request (the same request id), so a folder may be enrolled again and again.
"""

import hashlib
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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
from sameface.cli.photos import (
    STDIN,
    NamedPhoto,
    Skipped,
    display_name_of,
    find_people,
    find_photos,
    identity_ids,
)
from sameface.cli.work import NotTried, error_record, work_on
from sameface.client import Client, ServiceError
from sameface.v1 import face_pb2, gallery_pb2
from sameface_qdrant.errors import IdentityAlreadyExists, InvalidArgument, SamefaceError
from sameface_qdrant.values.ids import check_id

HEADINGS = ("photo", "identity", "", "")
SAID_OF = {"ENROLLED": "enrolled", "ALREADY_THERE": "already there", "WOULD_BE_ENROLLED": "would be enrolled"}


@dataclass(frozen=True, slots=True)
class Stored:
    """What a gallery holds of those who are to be enrolled."""

    display_names: dict[str, str] = field(default_factory=dict)
    """By id; only of those who are there."""
    templates: set[tuple[str, int]] = field(default_factory=set)
    """Name and time of making, in nanoseconds."""


@dataclass(frozen=True, slots=True)
class Passed:
    """A photo that was enrolled, or would have been."""

    quality: dict[str, float]
    template: gallery_pb2.Template | None
    """None of a dry run."""
    findings: tuple[str, ...] = ()
    """What the gallery's guards found, for people."""


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
    display_name: Annotated[
        str, typer.Option(help="with --as: display name of a new identity", show_default=False)
    ] = "",
    label: Annotated[
        list[str],
        typer.Option(metavar="KEY=VALUE", help="label of a new identity; may be repeated", show_default=False),
    ] = [],  # noqa: B006  # typer copies it
    create_gallery: Annotated[
        bool, typer.Option("--create-gallery", help="make the gallery where there is none")
    ] = False,
    merge: Annotated[
        bool, typer.Option("--merge", help="add to who is there, also under another display name")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check every photo, store nothing")] = False,
    face: Selection = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Enrol photos: `people/<name>/*.jpg` by the names of the folders, or photos of one person with --as.

    A folder whose id belongs to somebody of another name is refused before anything is sent. A photo that is enrolled
    already is left as it is. Exit code 0 when every photo is enrolled, 3 when one was refused.
    """
    if display_name and not identity:
        raise InvalidArgument(
            "--display-name is of one person; name who is meant with --as ID", metadata={"field": "display_name"}
        )
    labels = parse_labels(label)
    people, skipped = _people(photos, identity)
    note_skipped(skipped)
    ids = {identity: identity} if identity else identity_ids(people)
    work = [(name, photo) for name, found in people.items() for photo in found]
    with connected(address) as client:
        try:
            there = not create_gallery or _make_gallery(client, gallery, dry_run=dry_run)
            stored = _look_up(client, gallery, list(ids.values())) if there else Stored()
            if not (identity or merge):
                _refuse_other_people(ids, stored.display_names)
        except (ServiceError, SamefaceError) as error:
            for name, photo in work if as_json else ():
                print_json({"photo": photo.name, "identity": ids[name], **error_record(error)})
            raise
        for name, chosen in ids.items():
            if name != chosen:
                note(f"{name} is enrolled as {chosen}")

        def send(item: tuple[str, NamedPhoto]) -> Passed:
            name, photo = item
            content = photo.read()
            if not there:
                # A gallery that is not there yet cannot be asked; a comparison checks a photo in the same way.
                answer = client.compare(content, content, face_selection=face)
                return Passed(_quality(answer.first_face.quality), None)
            enrolled = client.enroll(
                gallery,
                ids[name],
                content,
                display_name=display_name if identity else display_name_of(name),
                labels=labels,
                validate_only=dry_run,
                face_selection=face,
                request_id=_request_id(gallery, ids[name], face or "", content),
            )
            said = tuple(map(_said, enrolled.findings))
            return Passed(_quality(enrolled.template.quality), None if dry_run else enrolled.template, said)

        counts = dict.fromkeys(SAID_OF, 0)
        refused = not_tried = 0
        table = GrowingTable(HEADINGS, [photo.name for _, photo in work])
        for (name, photo), answer in work_on(work, send, "enrolling"):
            record: dict[str, object] = {"photo": photo.name, "identity": ids[name]}
            if isinstance(answer, Exception):
                not_tried += isinstance(answer, NotTried)
                refused += not isinstance(answer, NotTried)
                failure = error_record(answer)
                record |= failure
                row = (photo.name, ids[name], coloured(failure["error"], colour="red"), failure["message"])
            else:
                status = _status(answer.template, stored.templates)
                counts[status] += 1
                template = answer.template.name if answer.template else ""
                record |= {
                    "status": status,
                    "template": template,
                    "quality": answer.quality,
                    "findings": list(answer.findings),
                }
                colour = "yellow" if answer.findings else "green"
                row = (photo.name, ids[name], coloured(SAID_OF[status], colour=colour), "; ".join(answer.findings))
            if as_json:
                print_json(record)
            elif not isinstance(answer, NotTried):
                table.add(row)
    note(_summary(counts, len(work), len(ids), refused, dry_run=dry_run))
    if refused or not_tried:
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


def _make_gallery(client: Client, gallery: str, *, dry_run: bool) -> bool:
    """Make a gallery where there is none, and return whether there is one now: a dry run makes none."""
    if dry_run:
        check_id(gallery, "gallery")
        try:
            client.get_gallery(gallery)
        except ServiceError as error:
            if error.reason != "GALLERY_NOT_FOUND":
                raise
            note(f"the gallery {gallery} would be made")
            return False
        return True
    try:
        client.create_gallery(gallery)
    except ServiceError as error:
        if error.reason != "GALLERY_ALREADY_EXISTS":
            raise
    return True


def _look_up(client: Client, gallery: str, identities: list[str]) -> Stored:
    def look(identity: str) -> tuple[str, list[gallery_pb2.Template]]:
        return client.get_identity(gallery, identity).display_name, list(client.templates(gallery, identity))

    stored = Stored()
    for identity, found in work_on(identities, look, "looking up"):
        if isinstance(found, Exception):
            if isinstance(found, ServiceError) and found.reason == "IDENTITY_NOT_FOUND":
                continue
            raise found
        stored.display_names[identity], templates = found
        stored.templates.update(_key(template) for template in templates)
    return stored


def _refuse_other_people(ids: Mapping[str, str], display_names: Mapping[str, str]) -> None:
    """Raise where an id that was made of a folder's name is somebody of another name (José and Jose are both jose)."""
    taken = {
        identity: f"{name!r} would be {identity}, which is {other!r}"
        for name, identity in ids.items()
        if identity in display_names
        and display_name_of(other := display_names[identity] or identity) != display_name_of(name)
    }
    if taken:
        raise IdentityAlreadyExists(
            f"nothing was enrolled: {'; '.join(taken.values())}. Where that is the same person, add the photos with "
            "--merge; where it is another one, rename the folder, or enrol its photos with --as and an id of their own",
            metadata={"identity": ", ".join(taken)},
        )


def _request_id(gallery: str, identity: str, face: str, content: bytes) -> str:
    """Return the same id for the same photo of the same person."""
    digest = hashlib.sha256(content).hexdigest()
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"sameface:enroll/{gallery}/{identity}/{face}/{digest}"))


def _status(template: gallery_pb2.Template | None, known: set[tuple[str, int]]) -> str:
    """Return what happened to a photo, and remember its template: the same photo may follow under another name."""
    if template is None:
        return "WOULD_BE_ENROLLED"
    key = _key(template)
    status = "ALREADY_THERE" if key in known else "ENROLLED"
    known.add(key)
    return status


def _key(template: gallery_pb2.Template) -> tuple[str, int]:
    return template.name, template.create_time.ToNanoseconds()


def _said(finding: gallery_pb2.Finding) -> str:
    """Return what a guard found, for people."""
    kind = gallery_pb2.Finding.Kind.Name(finding.kind).removeprefix("KIND_")
    sentence = {
        "COLLISION": "looks like another identity",
        "DUPLICATE": "is enrolled already",
        "OUTLIER": "is unlike the identity's other photos",
        "REPLACED": "takes the place of an older template",
        "NOT_CHECKED": "no threshold to check against",
    }.get(kind, kind)
    if finding.identity and kind in ("COLLISION", "DUPLICATE"):
        sentence += f": {finding.identity.rpartition('/')[2]}"
    return sentence + (f" ({finding.score:.3f})" if finding.HasField("score") else "")


def _quality(parts: Iterable[face_pb2.QualityComponent]) -> dict[str, float]:
    return {part.name: round(part.value, 1) for part in parts}


def _summary(counts: Mapping[str, int], photos: int, identities: int, refused: int, *, dry_run: bool) -> str:
    done = f"{counts['WOULD_BE_ENROLLED']} of {photos} photos pass"
    if not dry_run:
        done = f"{counts['ENROLLED']} of {photos} photos enrolled"
        if there := counts["ALREADY_THERE"]:
            done += f", {there} already there"
    return f"{done}, {identities} identities, {refused} refused"
