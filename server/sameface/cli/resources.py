"""`sameface gallery …`, `identity …`, `template …`: what is stored."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from google.protobuf.message import Message

from sameface.cli.erasures import show_receipts
from sameface.cli.options import (
    DEFAULT_ADDRESS,
    Address,
    AsJson,
    Etag,
    Expires,
    Force,
    GalleryArgument,
    IdentityArgument,
    NeverExpires,
    connected,
    in_utc,
    parse_labels,
)
from sameface.cli.output import as_dict, note, print_json, print_table
from sameface.cli.policies import (
    ABSENT,
    POLICY_FIELDS,
    CollisionThreshold,
    IdentifyThreshold,
    MaxTemplates,
    OnCollision,
    OnDuplicate,
    OnOutlier,
    OutlierThreshold,
    PolicyField,
    RunnerUpMargin,
    TargetFmr,
    TargetFpir,
    VerifyThreshold,
    WhenFull,
    policy_options,
    policy_text,
)
from sameface.v1 import gallery_pb2

gallery_app = typer.Typer(help="Galleries: named sets of identities under one policy.", no_args_is_help=True)
identity_app = typer.Typer(help="Identities: one enrolled person each.", no_args_is_help=True)
template_app = typer.Typer(help="Templates: one stored reference embedding each.", no_args_is_help=True)

DisplayName = Annotated[str | None, typer.Option(help="any text for people", show_default=False)]


@gallery_app.command("create")
def create_gallery(
    gallery: GalleryArgument,
    display_name: DisplayName = None,
    embedder_version: Annotated[int, typer.Option(help="0 takes the service's default")] = 0,
    verify_threshold: VerifyThreshold = None,
    identify_threshold: IdentifyThreshold = None,
    runner_up_margin: RunnerUpMargin = None,
    target_fmr: TargetFmr = None,
    target_fpir: TargetFpir = None,
    max_templates: MaxTemplates = None,
    when_full: WhenFull = None,
    on_collision: OnCollision = None,
    collision_threshold: CollisionThreshold = None,
    on_duplicate: OnDuplicate = None,
    on_outlier: OnOutlier = None,
    outlier_threshold: OutlierThreshold = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Make a gallery."""
    policy = policy_options(
        verify_threshold,
        identify_threshold,
        runner_up_margin,
        target_fmr,
        target_fpir,
        max_templates,
        when_full,
        on_collision,
        collision_threshold,
        on_duplicate,
        on_outlier,
        outlier_threshold,
    )
    with connected(address) as client:
        made = client.create_gallery(
            gallery, display_name=display_name or "", embedder_version=embedder_version, **policy
        )
    _show_gallery(made, as_json)
    if made.licence_restriction:
        note(made.licence_restriction)


@gallery_app.command("show")
def show_gallery(gallery: GalleryArgument, address: Address = DEFAULT_ADDRESS, as_json: AsJson = False) -> None:
    """Show a gallery with its policy and contract."""
    with connected(address) as client:
        _show_gallery(client.get_gallery(gallery), as_json)


@gallery_app.command("list")
def list_galleries(address: Address = DEFAULT_ADDRESS, as_json: AsJson = False) -> None:
    """List every gallery."""
    with connected(address) as client:
        found = sorted(client.galleries(), key=lambda one: one.name)
    _show(
        found,
        as_json,
        ("gallery", "display name", "contract", "policy revision", "made"),
        [
            (
                _last(one.name),
                one.display_name,
                f"{one.contract.model} v{one.contract.version}",
                str(one.policy.revision),
                f"{one.create_time.ToDatetime():%Y-%m-%d %H:%M}",
            )
            for one in found
        ],
    )


@gallery_app.command("update")
def update_gallery(
    gallery: GalleryArgument,
    display_name: DisplayName = None,
    verify_threshold: VerifyThreshold = None,
    identify_threshold: IdentifyThreshold = None,
    runner_up_margin: RunnerUpMargin = None,
    target_fmr: TargetFmr = None,
    target_fpir: TargetFpir = None,
    max_templates: MaxTemplates = None,
    when_full: WhenFull = None,
    on_collision: OnCollision = None,
    collision_threshold: CollisionThreshold = None,
    on_duplicate: OnDuplicate = None,
    on_outlier: OnOutlier = None,
    outlier_threshold: OutlierThreshold = None,
    reset: Annotated[
        list[PolicyField],
        typer.Option(help="policy field to put back to its default; may be repeated", show_default=False),
    ] = [],  # noqa: B006  # typer copies it
    etag: Etag = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Change what is given; a changed policy is a new revision."""
    policy = policy_options(
        verify_threshold,
        identify_threshold,
        runner_up_margin,
        target_fmr,
        target_fpir,
        max_templates,
        when_full,
        on_collision,
        collision_threshold,
        on_duplicate,
        on_outlier,
        outlier_threshold,
    )
    policy |= {field.replace("-", "_"): None for field in reset}
    with connected(address) as client:
        _show_gallery(client.update_gallery(gallery, display_name=display_name, etag=etag, **policy), as_json)


@gallery_app.command("revisions")
def policy_revisions(gallery: GalleryArgument, address: Address = DEFAULT_ADDRESS, as_json: AsJson = False) -> None:
    """List every revision of the policy, newest first."""
    with connected(address) as client:
        found = list(client.policy_revisions(gallery))
    fields = [*POLICY_FIELDS]
    _show(
        found,
        as_json,
        ("revision", "made", *(field.replace("_", " ") for field in fields), "author"),
        [
            (
                str(one.revision),
                f"{one.create_time.ToDatetime():%Y-%m-%d %H:%M:%S}",
                *(policy_text(one, field) for field in fields),
                one.author,
            )
            for one in found
        ],
    )


@gallery_app.command("delete")
def delete_gallery(
    gallery: GalleryArgument,
    force: Force = False,
    etag: Etag = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Erase a gallery; one with identities only with --force."""
    with connected(address) as client:
        receipt = client.delete_gallery(gallery, force=force, etag=etag)
    show_receipts([receipt], as_json)


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
    _show(found, as_json, IDENTITY_HEADINGS, map(_identity_row, found))


@identity_app.command("show")
def show_identity(
    gallery: GalleryArgument, identity: IdentityArgument, address: Address = DEFAULT_ADDRESS, as_json: AsJson = False
) -> None:
    """Show an identity."""
    with connected(address) as client:
        found = client.get_identity(gallery, identity)
    _show([found], as_json, IDENTITY_HEADINGS, [_identity_row(found)])


@identity_app.command("update")
def update_identity(
    gallery: GalleryArgument,
    identity: IdentityArgument,
    display_name: DisplayName = None,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="all labels from now on; may be repeated", show_default=False),
    ] = None,
    verify_threshold: VerifyThreshold = None,
    reset_threshold: Annotated[bool, typer.Option("--reset-threshold", help="take the gallery's threshold")] = False,
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
    """Change what is given of an identity."""
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
    _show([changed], as_json, IDENTITY_HEADINGS, [_identity_row(changed)])


@identity_app.command("move")
def move_identity(
    gallery: GalleryArgument,
    identity: IdentityArgument,
    new_id: Annotated[str, typer.Argument(metavar="NEW_ID", help="the id from now on")],
    merge: Annotated[bool, typer.Option("--merge", help="into the identity that has that id already")] = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Give an identity another id, or merge it into another one."""
    with connected(address) as client:
        moved = client.move_identity(gallery, identity, new_id, merge=merge)
    _show([moved], as_json, IDENTITY_HEADINGS, [_identity_row(moved)])


@identity_app.command("delete")
def delete_identity(
    gallery: GalleryArgument,
    identity: IdentityArgument,
    force: Force = False,
    etag: Etag = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Erase an identity; one with templates only with --force."""
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
    _show(found, as_json, TEMPLATE_HEADINGS, map(_template_row, found))


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
    _show([changed], as_json, TEMPLATE_HEADINGS, [_template_row(changed)])


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


IDENTITY_HEADINGS = ("identity", "display name", "templates", "threshold", "labels", "purpose", "expires", "changed")
TEMPLATE_HEADINGS = ("template", "made from", "enrolled", "expires", "quality")


def _template_row(one: gallery_pb2.Template) -> tuple[str, ...]:
    return (
        _last(one.name),
        gallery_pb2.Template.Origin.Name(one.origin).removeprefix("ORIGIN_").lower(),
        f"{one.create_time.ToDatetime():%Y-%m-%d %H:%M}",
        _expiry(one),
        ", ".join(f"{part.name} {part.value:.0f}" for part in one.quality),
    )


def _expiry(one: gallery_pb2.Identity | gallery_pb2.Template) -> str:
    return f"{one.expire_time.ToDatetime():%Y-%m-%d %H:%M}" if one.HasField("expire_time") else "–"


def _identity_row(one: gallery_pb2.Identity) -> tuple[str, ...]:
    return (
        _last(one.name),
        one.display_name,
        str(one.template_count),
        f"{one.verify_threshold:g}" if one.HasField("verify_threshold") else "–",
        ", ".join(f"{key}={value}" for key, value in sorted(one.labels.items())),
        one.purpose,
        _expiry(one),
        f"{one.update_time.ToDatetime():%Y-%m-%d %H:%M}",
    )


def _show_gallery(one: gallery_pb2.Gallery, as_json: bool) -> None:
    rows = [("gallery", _last(one.name)), ("display name", one.display_name)]
    rows += [("contract", f"{one.contract.model} v{one.contract.version}, {one.contract.sha256[:12]}…")]
    if one.licence_restriction:
        rows += [("licence", one.licence_restriction)]
    rows += [(field.replace("_", " "), policy_text(one.policy, field, absent=ABSENT[field])) for field in POLICY_FIELDS]
    if one.policy.HasField("calibrated_size"):
        rows += [("calibrated at", f"{one.policy.calibrated_size} identities")]
    rows += [("policy revision", str(one.policy.revision)), ("etag", one.etag)]
    _show([one], as_json, ("", ""), rows)


def _show(messages: Iterable[Message], as_json: bool, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    if as_json:
        for message in messages:
            print_json(as_dict(message))
        return
    print_table(headings, rows)


def _last(name: str) -> str:
    return name.rpartition("/")[2]
