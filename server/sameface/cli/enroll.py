"""`sameface enroll`: makes templates from photos.

The same photo has the same request id each time, so a folder that is enrolled again adds nothing twice.
"""

import hashlib
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
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
    display_name_of,
    find_people,
    find_photos,
    identity_ids,
)
from sameface.cli.resume import resumed
from sameface.cli.stored import Stored, key_of, look_up, refuse_other_people
from sameface.cli.work import NotTried, error_record, work_on
from sameface.client import Client, ServiceError
from sameface.client.fields import template_name
from sameface.photo_folders import Skipped
from sameface.resource_names import last_part
from sameface.v1 import face_pb2, gallery_pb2
from sameface_qdrant.errors import InvalidArgument, SamefaceError
from sameface_qdrant.values.ids import check_id

HEADINGS = ("photo", "identity", "", "")
STATUS_TEXTS = {"ENROLLED": "enrolled", "ALREADY_THERE": "already there", "WOULD_BE_ENROLLED": "would be enrolled"}


@dataclass(frozen=True, slots=True)
class Passed:
    """A photo that was enrolled, or that passed in a dry run."""

    quality: dict[str, float]
    template: gallery_pb2.Template | None
    """None in a dry run. Only its name, if an earlier run has enrolled the photo."""
    findings: tuple[str, ...] = ()
    """What the gallery's guards found, as text."""


def enroll(
    gallery: GalleryArgument,
    photos: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTO...", help="one folder with a sub-folder per person; with --as: photos of one person"
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
        bool, typer.Option("--create-gallery", help="make the gallery if it does not exist")
    ] = False,
    merge: Annotated[
        bool, typer.Option("--merge", help="add to an identity even if its display name is another")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check every photo, but store nothing")] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="send every photo again, also those that an interrupted run has enrolled")
    ] = False,
    face: Selection = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Enrol a folder with one sub-folder per person, or with --as the photos of one person.

    Examples: `sameface enroll staff people`, `sameface enroll staff ada.jpg --as ada`

    The name of a sub-folder gives the id. If an id belongs to a person of another name, nothing is enrolled. A photo
    that is enrolled already is not added again. A run that was interrupted goes on where it was: what it has enrolled
    is not sent again. Exit code: 0 every photo is enrolled, 3 one was refused.
    """
    began = time.monotonic()
    if display_name and not identity:
        raise InvalidArgument(
            "--display-name is for one identity; name it with --as ID", metadata={"field": "display_name"}
        )
    labels = parse_labels(label)
    people, skipped = _people(photos, identity)
    note_skipped(skipped)
    ids = {identity: identity} if identity else identity_ids(people)
    work = [(name, photo) for name, found in people.items() for photo in found]
    with ExitStack() as opened:
        client = opened.enter_context(connected(address))
        try:
            there = not create_gallery or _make_gallery(client, gallery, dry_run=dry_run)
            stored = look_up(client, gallery, list(ids.values())) if there else Stored()
            if not (identity or merge):
                refuse_other_people(ids, stored.display_names)
        except (ServiceError, SamefaceError) as error:
            for name, photo in work if as_json else ():
                print_json({"photo": photo.name, "identity": ids[name], **error_record(error)})
            raise
        for name, chosen in ids.items():
            if name != chosen:
                note(f"{name} is enrolled as {chosen}")
        made = client.get_gallery(gallery).create_time.ToNanoseconds() if there else 0
        resume = (
            None
            if dry_run or STDIN in photos
            else opened.enter_context(resumed(address, gallery, made, [*photos, identity], restart=restart))
        )
        if resume is not None and resume.enrolled:
            note(f"an earlier run has enrolled {len(resume.enrolled)} of these photos, and this one goes on after them")

        kept = frozenset(name for name, _ in stored.templates)

        def send(item: tuple[str, NamedPhoto]) -> Passed:
            name, photo = item
            content = photo.read()
            if not there:
                # The gallery does not exist yet. A comparison checks a photo in the same way.
                answer = client.compare(content, content, face_selection=face)
                return Passed(_quality(answer.first_face.quality), None)
            request_id = _request_id(gallery, ids[name], face or "", content)
            done = resume.enrolled.get(request_id, "") if resume is not None else ""
            # It may have been deleted since, alone or with its person.
            if done and (earlier := template_name(gallery, ids[name], done)) in kept:
                return Passed({}, gallery_pb2.Template(name=earlier))
            enrolled = client.enroll(
                gallery,
                ids[name],
                content,
                display_name=display_name if identity else display_name_of(name),
                labels=labels,
                validate_only=dry_run,
                face_selection=face,
                request_id=request_id,
            )
            if resume is not None:
                resume.add(request_id, last_part(enrolled.template.name))
            findings = tuple(map(_finding_text, enrolled.findings))
            return Passed(_quality(enrolled.template.quality), None if dry_run else enrolled.template, findings)

        counts = dict.fromkeys(STATUS_TEXTS, 0)
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
                row = (photo.name, ids[name], coloured(STATUS_TEXTS[status], colour=colour), "; ".join(answer.findings))
            if as_json:
                print_json(record)
            elif not isinstance(answer, NotTried):
                table.add(row)
        if resume is not None and not refused and not not_tried:
            resume.complete()
    took_s = time.monotonic() - began
    note(
        f"{_summary(counts, len(work), len(ids), refused, dry_run=dry_run)}, in {took_s:.1f} s "
        f"({len(work) / max(took_s, 1e-3):.1f} photos/s)"
    )
    if refused or not_tried:
        raise typer.Exit(ExitCode.ERROR)


def _people(photos: list[str], identity: str) -> tuple[dict[str, list[NamedPhoto]], list[Skipped]]:
    if identity:
        found, skipped = find_photos(photos)
        return {identity: found}, skipped
    if len(photos) != 1 or photos[0] == STDIN or not Path(photos[0]).is_dir():
        raise InvalidArgument(
            "expected one folder with a sub-folder per person; for photos of one person give its id with --as ID",
            metadata={"field": "photo"},
        )
    return find_people(Path(photos[0]))


def _make_gallery(client: Client, gallery: str, *, dry_run: bool) -> bool:
    """Make the gallery if it does not exist (not in a dry run). Return whether it exists now."""
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


def _request_id(gallery: str, identity: str, face: str, content: bytes) -> str:
    """Return a request id, always the same for the same photo of the same identity."""
    digest = hashlib.sha256(content).hexdigest()
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"sameface:enroll/{gallery}/{identity}/{face}/{digest}"))


def _status(template: gallery_pb2.Template | None, known: set[tuple[str, int]]) -> str:
    """Return what happened to a photo. Note its template, because another file may be the same photo."""
    if template is None:
        return "WOULD_BE_ENROLLED"
    if not template.HasField("create_time"):
        return "ALREADY_THERE"  # an earlier run has enrolled it
    key = key_of(template)
    status = "ALREADY_THERE" if key in known else "ENROLLED"
    known.add(key)
    return status


def _finding_text(finding: gallery_pb2.Finding) -> str:
    """Return what a guard found, as text."""
    kind = gallery_pb2.Finding.Kind.Name(finding.kind).removeprefix("KIND_")
    sentence = {
        "COLLISION": "looks like another identity",
        "DUPLICATE": "is enrolled already",
        "OUTLIER": "is unlike the identity's other photos",
        "REPLACED": "replaces an older template",
        "NOT_CHECKED": "no threshold to check against",
    }.get(kind, kind)
    if finding.identity and kind in ("COLLISION", "DUPLICATE"):
        sentence += f": {last_part(finding.identity)}"
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
