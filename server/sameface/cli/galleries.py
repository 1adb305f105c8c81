"""`sameface gallery …`: makes, shows, changes and erases galleries."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from sameface.cli.deferred import DeferredGroup
from sameface.cli.erasures import show_receipts
from sameface.cli.options import (
    DEFAULT_ADDRESS,
    Address,
    AsJson,
    DisplayName,
    EmbedderModel,
    Etag,
    Force,
    GalleryArgument,
    connected,
)
from sameface.cli.output import note, show_answers, time_text
from sameface.cli.policies import policy_options, policy_text
from sameface.resource_names import last_part
from sameface_qdrant.values.gallery import POLICY_SETTINGS, PolicyOptions

if TYPE_CHECKING:
    from sameface.client import Gallery

REKEY_S = 24 * 3600.0
"""Deadline of a re-key, which takes as long as the gallery is large."""


class GalleryCommands(DeferredGroup):
    """The commands of this module and, imported on demand because they need numpy, those of calibration."""

    places: ClassVar[Mapping[str, str]] = {
        "calibrate": "sameface.cli.calibrate:calibrate",
        "what-if": "sameface.cli.calibrate:what_if",
    }


gallery_app = typer.Typer(
    cls=GalleryCommands,
    help="Make, show, change, calibrate and erase galleries: named sets of identities.",
    no_args_is_help=True,
)


@gallery_app.command("create")
@policy_options()
def create_gallery(
    *,
    gallery: GalleryArgument,
    display_name: DisplayName = None,
    embedder_model: EmbedderModel = "",
    embedder_version: Annotated[int, typer.Option(help="version of the embedder; 0: the service's default")] = 0,
    protected: Annotated[
        bool | None,
        typer.Option("--protected/--unprotected", help="rotate templates, encrypt names", show_default="by setting"),
    ] = None,
    exist_ok: Annotated[
        bool, typer.Option("--exist-ok", help="if it exists, show it as it is; the other options change nothing")
    ] = False,
    policy: PolicyOptions,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Make a gallery.

    Example: `sameface gallery create staff --target-fmr 0.0001`
    """
    with connected(address) as client:
        made = client.create_gallery(
            gallery,
            display_name=display_name or "",
            embedder_version=embedder_version,
            embedder_model=embedder_model,
            protected=protected,
            exist_ok=exist_ok,
            **policy,
        )
    _show_gallery(made, as_json)
    if made.licence_restriction:
        note(made.licence_restriction)


@gallery_app.command("show")
def show_gallery(gallery: GalleryArgument, address: Address = DEFAULT_ADDRESS, as_json: AsJson = False) -> None:
    """Show a gallery with its policy and contract."""
    with connected(address) as client:
        _show_gallery(client.get_gallery(gallery), as_json)


@gallery_app.command("rekey")
def rekey_gallery(gallery: GalleryArgument, address: Address = DEFAULT_ADDRESS, as_json: AsJson = False) -> None:
    """Write a protected gallery again under the service's current key, without photos.

    If it was interrupted, the same command goes on. See `sameface protection`.
    """
    with connected(address, timeout_s=REKEY_S) as client:
        done = client.rekey_gallery(gallery)
    if as_json:
        show_answers([done], True, (), [])
    else:
        print(f"{gallery}: {_keys(done.gallery)}, {done.moved} records written")


@gallery_app.command("list")
def list_galleries(address: Address = DEFAULT_ADDRESS, as_json: AsJson = False) -> None:
    """List every gallery."""
    with connected(address) as client:
        found = sorted(client.galleries(), key=lambda one: one.name)
    show_answers(
        found,
        as_json,
        ("gallery", "display name", "contract", "policy revision", "made"),
        [
            (
                one.id,
                one.display_name,
                f"{one.contract.model} v{one.contract.version}",
                str(one.policy.revision),
                time_text(one.create_time),
            )
            for one in found
        ],
    )


@gallery_app.command("update")
@policy_options(reset=True)
def update_gallery(
    *,
    gallery: GalleryArgument,
    display_name: DisplayName = None,
    policy: PolicyOptions,
    etag: Etag = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Change the given settings of a gallery. A changed policy is a new revision.

    Example: `sameface gallery update staff --verify-threshold 0.42 --reset target-fmr`
    """
    with connected(address) as client:
        _show_gallery(client.update_gallery(gallery, display_name=display_name, etag=etag, **policy), as_json)


@gallery_app.command("revisions")
def policy_revisions(gallery: GalleryArgument, address: Address = DEFAULT_ADDRESS, as_json: AsJson = False) -> None:
    """List every revision of a gallery's policy, newest first."""
    with connected(address) as client:
        found = list(client.policy_revisions(gallery))
    show_answers(
        found,
        as_json,
        ("revision", "made", *(setting.name.replace("_", " ") for setting in POLICY_SETTINGS), "author"),
        [
            (
                str(one.revision),
                time_text(one.create_time, "seconds"),
                *(policy_text(one, setting) for setting in POLICY_SETTINGS),
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
    """Erase a gallery. If it has identities, --force is needed."""
    with connected(address) as client:
        receipt = client.delete_gallery(gallery, force=force, etag=etag)
    show_receipts([receipt], as_json)


def _keys(one: "Gallery") -> str:
    return "" if one.protection is None else f"key {one.protection.key_id}, generation {one.protection.generation}"


def _show_gallery(one: "Gallery", as_json: bool) -> None:
    rows = [("gallery", one.id), ("display name", one.display_name)]
    rows += [("contract", f"{one.contract.model} v{one.contract.version}, {one.contract.sha256[:12]}…")]
    if one.protection is not None:
        rekeying = ", being re-keyed" if one.protection.rekeying else ""
        rows += [("protection", f"{_keys(one)}{rekeying}")]
    if one.migration:
        rows += [("migration", last_part(one.migration))]
    if one.mapped_templates is not None:
        rows += [("mapped templates", f"made by the map {one.mapped_templates.map_sha256[:12]}…")]
    if one.licence_restriction:
        rows += [("licence", one.licence_restriction)]
    for setting in POLICY_SETTINGS:
        rows += [(setting.name.replace("_", " "), policy_text(one.policy, setting, absent=setting.absent))]
    if one.policy.calibrated_size is not None:
        rows += [("calibrated at", f"{one.policy.calibrated_size} identities")]
    rows += [("policy revision", str(one.policy.revision)), ("etag", one.etag)]
    show_answers([one], as_json, ("", ""), rows)
