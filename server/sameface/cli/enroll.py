"""`sameface enroll`: makes templates from photos.

The service recognises a photo that the identity has already, so a folder that is enrolled again adds nothing twice.
"""

import hashlib
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated

import typer

from sameface.cli.findings import counted, finding_text, findings_summary
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
    identity_ids,
    people_named,
    reader,
)
from sameface.cli.resume import resumed
from sameface.cli.stored import Stored, key_of, look_up, refuse_other_people
from sameface.cli.work import NotTried, error_record, work_on
from sameface.client import Client, EmbeddingOrigin, QualityComponent, ServiceError, Template
from sameface.client.fields import template_name
from sameface_qdrant.errors import InvalidArgument, SamefaceError
from sameface_qdrant.values.ids import check_id

HEADINGS = ("photo", "identity", "", "")
STATUS_TEXTS = {
    "ENROLLED": "enrolled",
    "RENEWED": "renewed",
    "ALREADY_THERE": "already there",
    "WOULD_BE_ENROLLED": "would be enrolled",
}


@dataclass(frozen=True, slots=True)
class Passed:
    """A photo that was enrolled, or that passed in a dry run."""

    quality: dict[str, float]
    name: str
    """Resource name of the template; empty in a dry run."""
    template: Template | None
    """None in a dry run, and if an earlier run has enrolled the photo."""
    findings: tuple[str, ...] = ()
    """What the gallery's guards found, as text."""
    kinds: tuple[str, ...] = ()
    """The kinds of these findings."""


def enroll(
    gallery: GalleryArgument,
    photos: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTO...",
            help="one folder with a sub-folder per person, or s3://bucket/prefix with the same; with --as: photos of "
            "one person",
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
    allow_unlike: Annotated[
        bool, typer.Option("--allow-unlike", help="enrol photos under one id although they do not resemble each other")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="send every photo again, also those that an interrupted run has enrolled")
    ] = False,
    renew: Annotated[
        bool,
        typer.Option("--renew", help="the photos were enrolled before: make native what a template map made of them"),
    ] = False,
    request_id: Annotated[
        str,
        typer.Option(metavar="UUID", help="the request that enrolled this one photo, for --renew", show_default=False),
    ] = "",
    face: Selection = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Enrol a folder with one sub-folder per person, or with --as the photos of one person.

    Examples: `sameface enroll staff people`, `sameface enroll staff ada.jpg --as ada`

    The name of a sub-folder gives the id. If an id belongs to a person of another name, nothing is enrolled. A photo
    that is enrolled already is not added again. A run that was interrupted goes on where it was: what it has enrolled
    is not sent again. --renew is for a gallery whose model was changed: the photos that its templates were made of give
    them embeddings of the new model, and ids and expiry stay. Photos under one id that do not resemble each other are
    asked about on a terminal, and refused otherwise. Forgeries in `<name>/forgery/` are no samples of that person, and
    are left out. Exit code: 0 every photo is enrolled, 3 one was refused.
    """
    began = time.monotonic()
    if display_name and not identity:
        raise InvalidArgument(
            "--display-name is for one identity; name it with --as ID", metadata={"field": "display_name"}
        )
    if request_id and not (renew and identity and len(photos) == 1):
        raise InvalidArgument(
            "--request-id is for one photo of one person; give --renew, --as ID and one PHOTO",
            metadata={"field": "request_id"},
        )
    labels = parse_labels(label)
    people, skipped = people_named(photos, identity)
    note_skipped(skipped)
    ids = {identity: identity} if identity else identity_ids(people)
    work = [(name, photo) for name, found in people.items() for photo in found]
    read = reader()
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
        found = client.get_gallery(gallery) if there else None
        made = found.proto.create_time.ToNanoseconds() if found else 0
        resume = (
            None
            if dry_run or STDIN in photos
            else opened.enter_context(
                resumed(address, gallery, made, [*photos, identity, *["--renew"] * renew], restart=restart)
            )
        )
        if resume is not None and resume.enrolled:
            note(f"an earlier run has enrolled {len(resume.enrolled)} of these photos, and this one goes on after them")

        # With --renew one that is mapped is to be sent.
        kept = frozenset(name for name, _ in stored.templates) - (stored.mapped if renew else set())

        def earlier(name: str, key: str) -> str:
            """Return the template that an earlier run has made of a photo, if it is still there; else nothing."""
            done = resume.enrolled.get(key, "") if resume is not None else ""
            # It may have been deleted since, alone or with its person.
            template = template_name(gallery, ids[name], done) if done else ""
            return template if template in kept else ""

        def to_compare(name: str, photo: NamedPhoto) -> bytes | None:
            content = read(photo)
            return None if earlier(name, _photo_key(gallery, ids[name], face or "", content)) else content

        unlike: dict[str, list[NamedPhoto]] = {}
        if not allow_unlike and any(len(several) > 1 for several in people.values()):
            # It imports numpy, which photos of one each do not need.
            from sameface.cli.likeness import ask, find_unlike, refusal

            unlike = find_unlike(client, found, people, to_compare, face)
            may_ask = identity and not (as_json or dry_run or STDIN in photos)
            if unlike and may_ask and ask(identity, unlike[identity], len(work)):
                unlike = {}

        def send(item: tuple[str, NamedPhoto]) -> Passed | SamefaceError:
            name, photo = item
            if name in unlike:
                return refusal(photo, ids[name], unlike[name], len(people[name]))
            content = read(photo)
            if not there:
                # The gallery does not exist yet. A comparison checks a photo in the same way.
                answer = client.compare(content, content, face_selection=face)
                return Passed(_quality(answer.first_face.quality if answer.first_face else ()), "", None)
            key = _photo_key(gallery, ids[name], face or "", content)
            if there_already := earlier(name, key):
                return Passed({}, there_already, None)
            enrolled = client.enroll(
                gallery,
                ids[name],
                content,
                display_name=display_name if identity else display_name_of(name),
                labels=labels,
                validate_only=dry_run,
                face_selection=face,
                renew=renew,
                request_id=request_id or (photo.sample.request_id if photo.sample else ""),
            )
            if resume is not None:
                resume.add(key, enrolled.template.id)
            stored_as = None if dry_run else enrolled.template
            return Passed(
                _quality(enrolled.template.quality),
                stored_as.name if stored_as else "",
                stored_as,
                tuple(map(finding_text, enrolled.findings)),
                tuple(str(finding.kind) for finding in enrolled.findings),
            )

        counts, kinds = dict.fromkeys(STATUS_TEXTS, 0), []
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
                status = _status(answer, stored)
                counts[status] += 1
                kinds.append(answer.kinds)
                record |= {
                    "status": status,
                    "template": answer.name,
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
        f"{_summary(counts, kinds, len(work), len(ids), refused, dry_run=dry_run)}, in {took_s:.1f} s "
        f"({len(work) / max(took_s, 1e-3):.1f} photos/s)"
    )
    if refused or not_tried:
        raise typer.Exit(ExitCode.ERROR)


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
    client.create_gallery(gallery, exist_ok=True)
    return True


def _photo_key(gallery: str, identity: str, face: str, content: bytes) -> str:
    """Return what an interrupted run remembers a photo by: always the same for the same photo of the same identity."""
    digest = hashlib.sha256(content).hexdigest()
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"sameface:enroll/{gallery}/{identity}/{face}/{digest}"))


def _status(passed: Passed, stored: Stored) -> str:
    """Return what happened to a photo. Note its template, because another file may be the same photo."""
    if passed.template is None:
        return "ALREADY_THERE" if passed.name else "WOULD_BE_ENROLLED"
    key = key_of(passed.template)
    status = "ALREADY_THERE" if key in stored.templates else "ENROLLED"
    if passed.name in stored.mapped and passed.template.embedding_origin is EmbeddingOrigin.NATIVE:
        status = "RENEWED"
        stored.mapped.discard(passed.name)
    stored.templates.add(key)
    return status


def _quality(parts: Iterable[QualityComponent]) -> dict[str, float]:
    return {part.name: round(part.value, 1) for part in parts}


def _summary(
    counts: Mapping[str, int],
    kinds: Sequence[tuple[str, ...]],
    photos: int,
    identities: int,
    refused: int,
    *,
    dry_run: bool,
) -> str:
    done = f"{counts['WOULD_BE_ENROLLED']} of {photos} photos pass"
    if not dry_run:
        done = f"{counts['ENROLLED']} of {photos} photos enrolled"
        if renewed := counts["RENEWED"]:
            done += f", {renewed} renewed"
        if there := counts["ALREADY_THERE"]:
            done += f", {there} already there"
    parts = (done, findings_summary(kinds), counted(identities, "identity"), f"{refused} refused")
    return ", ".join(filter(None, parts))
