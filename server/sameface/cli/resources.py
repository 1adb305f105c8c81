"""`sameface gallery …`, `identity …`, `template …`: what is stored."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from google.protobuf.message import Message

from sameface.cli.options import (
    DEFAULT_ADDRESS,
    Address,
    AsJson,
    Etag,
    Force,
    GalleryArgument,
    IdentityArgument,
    connected,
    parse_labels,
)
from sameface.cli.output import as_dict, note, print_json, print_table
from sameface.v1 import gallery_pb2

gallery_app = typer.Typer(help="Galleries: named sets of identities under one policy.", no_args_is_help=True)
identity_app = typer.Typer(help="Identities: one enrolled person each.", no_args_is_help=True)
template_app = typer.Typer(help="Templates: one stored reference embedding each.", no_args_is_help=True)

DisplayName = Annotated[str | None, typer.Option(help="any text for people", show_default=False)]
VerifyThreshold = Annotated[float | None, typer.Option(help="lowest score that accepts a claim", show_default=False)]
IdentifyThreshold = Annotated[float | None, typer.Option(help="lowest score that identifies", show_default=False)]
RunnerUpMargin = Annotated[float | None, typer.Option(help="required lead over the runner-up", show_default=False)]
TargetFmr = Annotated[float | None, typer.Option(help="false match rate to aim for", show_default=False)]
TargetFpir = Annotated[
    float | None, typer.Option(help="false positive identification rate to aim for", show_default=False)
]
MaxTemplates = Annotated[int | None, typer.Option(help="most templates per identity, 1 to 64", show_default=False)]


class PolicyField(StrEnum):
    """A field of a gallery's policy, as its option is called."""

    VERIFY_THRESHOLD = "verify-threshold"
    IDENTIFY_THRESHOLD = "identify-threshold"
    RUNNER_UP_MARGIN = "runner-up-margin"
    TARGET_FMR = "target-fmr"
    TARGET_FPIR = "target-fpir"
    MAX_TEMPLATES = "max-templates"


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
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Make a gallery."""
    policy = _policy(verify_threshold, identify_threshold, runner_up_margin, target_fmr, target_fpir, max_templates)
    with connected(address) as client:
        made = client.create_gallery(
            gallery, display_name=display_name or "", embedder_version=embedder_version, **policy
        )
    _show_gallery(made, as_json)


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
    reset: Annotated[
        list[PolicyField],
        typer.Option(help="policy field to put back to its default; may be repeated", show_default=False),
    ] = [],  # noqa: B006  # typer copies it
    etag: Etag = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Change what is given; a changed policy is a new revision."""
    policy = _policy(verify_threshold, identify_threshold, runner_up_margin, target_fmr, target_fpir, max_templates)
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
        ("revision", "made", *(field.replace("_", " ") for field in fields)),
        [
            (
                str(one.revision),
                f"{one.create_time.ToDatetime():%Y-%m-%d %H:%M:%S}",
                *(f"{getattr(one, field):g}" if one.HasField(field) else "–" for field in fields),
            )
            for one in found
        ],
    )


@gallery_app.command("delete")
def delete_gallery(
    gallery: GalleryArgument, force: Force = False, etag: Etag = "", address: Address = DEFAULT_ADDRESS
) -> None:
    """Erase a gallery; one with identities only with --force."""
    with connected(address) as client:
        client.delete_gallery(gallery, force=force, etag=etag)
    note(f"{gallery} is erased")


@identity_app.command("list")
def list_identities(gallery: GalleryArgument, address: Address = DEFAULT_ADDRESS, as_json: AsJson = False) -> None:
    """List every identity of a gallery."""
    with connected(address) as client:
        found = sorted(client.identities(gallery), key=lambda one: one.name)
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
    with connected(address) as client:
        changed = client.update_identity(gallery, identity, etag=etag, **fields)
    _show([changed], as_json, IDENTITY_HEADINGS, [_identity_row(changed)])


@identity_app.command("delete")
def delete_identity(
    gallery: GalleryArgument,
    identity: IdentityArgument,
    force: Force = False,
    etag: Etag = "",
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Erase an identity; one with templates only with --force."""
    with connected(address) as client:
        client.delete_identity(gallery, identity, force=force, etag=etag)
    note(f"{identity} is erased from {gallery}")


@template_app.command("list")
def list_templates(
    gallery: GalleryArgument, identity: IdentityArgument, address: Address = DEFAULT_ADDRESS, as_json: AsJson = False
) -> None:
    """List the templates of an identity."""
    with connected(address) as client:
        found = list(client.templates(gallery, identity))
    rows = [
        (
            _last(one.name),
            gallery_pb2.Template.Origin.Name(one.origin).removeprefix("ORIGIN_").lower(),
            f"{one.create_time.ToDatetime():%Y-%m-%d %H:%M}",
            f"{one.expire_time.ToDatetime():%Y-%m-%d %H:%M}" if one.HasField("expire_time") else "–",
            ", ".join(f"{part.name} {part.value:.0f}" for part in one.quality),
        )
        for one in found
    ]
    _show(found, as_json, ("template", "made from", "enrolled", "expires", "quality"), rows)


@template_app.command("delete")
def delete_template(
    gallery: GalleryArgument,
    identity: IdentityArgument,
    template: Annotated[str, typer.Argument(metavar="TEMPLATE", help="id of the template")],
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Erase a template."""
    with connected(address) as client:
        client.delete_template(gallery, identity, template)
    note(f"template {template} is erased")


POLICY_FIELDS = tuple(field.replace("-", "_") for field in PolicyField)
IDENTITY_HEADINGS = ("identity", "display name", "templates", "threshold", "labels", "changed")


def _policy(*values: float | int | None) -> dict[str, Any]:
    return {field: value for field, value in zip(POLICY_FIELDS, values, strict=True) if value is not None}


def _identity_row(one: gallery_pb2.Identity) -> tuple[str, ...]:
    return (
        _last(one.name),
        one.display_name,
        str(one.template_count),
        f"{one.verify_threshold:g}" if one.HasField("verify_threshold") else "–",
        ", ".join(f"{key}={value}" for key, value in sorted(one.labels.items())),
        f"{one.update_time.ToDatetime():%Y-%m-%d %H:%M}",
    )


def _show_gallery(one: gallery_pb2.Gallery, as_json: bool) -> None:
    rows = [("gallery", _last(one.name)), ("display name", one.display_name)]
    rows += [("contract", f"{one.contract.model} v{one.contract.version}, {one.contract.sha256[:12]}…")]
    rows += [
        (
            field.replace("_", " "),
            f"{getattr(one.policy, field):g}" if one.policy.HasField(field) else "from the model card",
        )
        for field in POLICY_FIELDS
    ]
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
