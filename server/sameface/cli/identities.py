"""`sameface identity …` and `template …`: lists, shows, changes and erases identities and templates."""

from typing import Annotated, Any

import typer

from sameface.cli.erasures import show_receipts
from sameface.cli.options import (
    DEFAULT_ADDRESS,
    Address,
    AsJson,
    DisplayName,
    Etag,
    Expires,
    Force,
    GalleryArgument,
    IdentityArgument,
    NeverExpires,
    VerifyThreshold,
    connected,
    in_utc,
    parse_labels,
)
from sameface.cli.output import show_messages
from sameface.resource_names import last_part
from sameface.v1 import gallery_pb2

identity_app = typer.Typer(
    help="List, show, change, move and erase identities: one enrolled person each.", no_args_is_help=True
)
template_app = typer.Typer(
    help="List, change and erase templates: one stored reference embedding each.", no_args_is_help=True
)

IDENTITY_HEADINGS = ("identity", "display name", "templates", "threshold", "labels", "purpose", "expires", "changed")
TEMPLATE_HEADINGS = ("template", "made from", "enrolled", "expires", "quality")


@identity_app.command("list")
def list_identities(
    gallery: GalleryArgument,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="only identities with this label; may be repeated", show_default=False),
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """List the identities of a gallery."""
    with connected(address) as client:
        found = sorted(client.identities(gallery, labels=parse_labels(label or [])), key=lambda one: one.name)
    show_messages(found, as_json, IDENTITY_HEADINGS, map(_identity_row, found))


@identity_app.command("show")
def show_identity(
    gallery: GalleryArgument, identity: IdentityArgument, address: Address = DEFAULT_ADDRESS, as_json: AsJson = False
) -> None:
    """Show an identity."""
    with connected(address) as client:
        found = client.get_identity(gallery, identity)
    show_messages([found], as_json, IDENTITY_HEADINGS, [_identity_row(found)])


@identity_app.command("update")
def update_identity(
    gallery: GalleryArgument,
    identity: IdentityArgument,
    display_name: DisplayName = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="new label; the given labels replace all; may be repeated", show_default=False
        ),
    ] = None,
    verify_threshold: VerifyThreshold = None,
    reset_threshold: Annotated[
        bool, typer.Option("--reset-threshold", help="use the gallery's threshold again")
    ] = False,
    consent_reference: Annotated[
        str | None, typer.Option("--consent", help="where the consent is recorded", show_default=False)
    ] = None,
    purpose: Annotated[str | None, typer.Option(help="what the person is enrolled for", show_default=False)] = None,
    expires: Expires = None,
    never_expires: NeverExpires = False,
    etag: Etag = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Change the given fields of an identity.

    Example: `sameface identity update staff ada --label team=research --expires 2030-01-01`
    """
    fields: dict[str, Any] = {}
    if display_name is not None:
        fields["display_name"] = display_name
    if label is not None:
        fields["labels"] = parse_labels(label)
    if verify_threshold is not None or reset_threshold:
        fields["verify_threshold"] = verify_threshold
    if consent_reference is not None:
        fields["consent_reference"] = consent_reference
    if purpose is not None:
        fields["purpose"] = purpose
    if expires is not None or never_expires:
        fields["expire_time"] = in_utc(expires)
    with connected(address) as client:
        changed = client.update_identity(gallery, identity, etag=etag, **fields)
    show_messages([changed], as_json, IDENTITY_HEADINGS, [_identity_row(changed)])


@identity_app.command("move")
def move_identity(
    gallery: GalleryArgument,
    identity: IdentityArgument,
    new_id: Annotated[str, typer.Argument(metavar="NEW_ID", help="its new id")],
    merge: Annotated[bool, typer.Option("--merge", help="merge into the identity that has the new id")] = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Give an identity another id, or with --merge add its templates to another identity."""
    with connected(address) as client:
        moved = client.move_identity(gallery, identity, new_id, merge=merge)
    show_messages([moved], as_json, IDENTITY_HEADINGS, [_identity_row(moved)])


@identity_app.command("delete")
def delete_identity(
    gallery: GalleryArgument,
    identity: IdentityArgument,
    force: Force = False,
    etag: Etag = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Erase an identity. If it has templates, --force is needed."""
    with connected(address) as client:
        receipt = client.delete_identity(gallery, identity, force=force, etag=etag)
    show_receipts([receipt], as_json)


@template_app.command("list")
def list_templates(
    gallery: GalleryArgument, identity: IdentityArgument, address: Address = DEFAULT_ADDRESS, as_json: AsJson = False
) -> None:
    """List the templates of an identity."""
    with connected(address) as client:
        found = list(client.templates(gallery, identity))
    show_messages(found, as_json, TEMPLATE_HEADINGS, map(_template_row, found))


@template_app.command("update")
def update_template(
    gallery: GalleryArgument,
    identity: IdentityArgument,
    template: Annotated[str, typer.Argument(metavar="TEMPLATE", help="id of the template")],
    expires: Expires = None,
    never_expires: NeverExpires = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Change when a template expires."""
    if (expires is None) != never_expires:
        raise typer.BadParameter("give either --expires or --never-expires")
    with connected(address) as client:
        changed = client.update_template(gallery, identity, template, expire_time=in_utc(expires))
    show_messages([changed], as_json, TEMPLATE_HEADINGS, [_template_row(changed)])


@template_app.command("delete")
def delete_template(
    gallery: GalleryArgument,
    identity: IdentityArgument,
    template: Annotated[str, typer.Argument(metavar="TEMPLATE", help="id of the template")],
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Erase a template."""
    with connected(address) as client:
        receipt = client.delete_template(gallery, identity, template)
    show_receipts([receipt], as_json)


def _template_row(one: gallery_pb2.Template) -> tuple[str, ...]:
    return (
        last_part(one.name),
        gallery_pb2.Template.Origin.Name(one.origin).removeprefix("ORIGIN_").lower(),
        f"{one.create_time.ToDatetime():%Y-%m-%d %H:%M}",
        _expiry(one),
        ", ".join(f"{part.name} {part.value:.0f}" for part in one.quality),
    )


def _expiry(one: gallery_pb2.Identity | gallery_pb2.Template) -> str:
    return f"{one.expire_time.ToDatetime():%Y-%m-%d %H:%M}" if one.HasField("expire_time") else "–"


def _identity_row(one: gallery_pb2.Identity) -> tuple[str, ...]:
    return (
        last_part(one.name),
        one.display_name,
        str(one.template_count),
        f"{one.verify_threshold:g}" if one.HasField("verify_threshold") else "–",
        ", ".join(f"{key}={value}" for key, value in sorted(one.labels.items())),
        one.purpose,
        _expiry(one),
        f"{one.update_time.ToDatetime():%Y-%m-%d %H:%M}",
    )
