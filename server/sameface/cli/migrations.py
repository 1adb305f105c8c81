"""`sameface migration …`: changes the version of the embedder that a gallery is bound to, without photos."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from sameface.cli.options import DEFAULT_ADDRESS, Address, AsJson, Etag, ExitCode, GalleryArgument, connected
from sameface.cli.output import note, show_answers, time_text
from sameface.cli.policies import policy_options
from sameface.resource_names import last_part
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.values.gallery import PolicyOptions
from sameface_qdrant.values.migration import DEFAULT_RATE

if TYPE_CHECKING:
    from sameface.client import Client, Contract, Migration, MigrationPlan, PlannedThresholds

app = typer.Typer(
    help="Change the version of the embedder that a gallery is bound to, without photos (docs/model-change.md).",
    no_args_is_help=True,
)

LONG_S = 24 * 3600.0
"""Deadline of calls that bring over or erase what a gallery holds."""
LOOK_S = 1.0
MEBI = 1 << 20

MigrationArgument = Annotated[
    str, typer.Argument(metavar="[MIGRATION]", help="id of the migration", show_default="the one that is under way")
]
Version = Annotated[
    int, typer.Option("--embedder-version", help="the new version of the embedder; 0: the service's default")
]
Rate = Annotated[
    float,
    typer.Option(
        "--rate", min=0, help="most templates to map per second", show_default=f"{DEFAULT_RATE:g}, also for 0"
    ),
]


@app.command("plan")
def plan(
    gallery: GalleryArgument,
    embedder_version: Version = 0,
    rate: Rate = 0.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Show what a migration would do. Nothing is changed. Exit code 3: a promotion would be refused as things are.

    Example: `sameface migration plan staff --embedder-version 3`
    """
    with connected(address, timeout_s=LONG_S) as client:
        found = client.plan_migration(gallery, embedder_version=embedder_version, templates_per_second=rate)
    rows = [
        ("gallery", gallery),
        ("from", _contract(found.old_contract)),
        ("to", _contract(found.new_contract)),
        ("map", f"{found.map_sha256[:12]}…"),
        ("templates", f"{found.template_count} ({found.mapped_count} mapped already, {found.expired_count} expired)"),
        ("time", f"{found.seconds:.0f} s"),
        ("space", f"{found.bytes / MEBI:.1f} MiB more until it is finished"),
        *((f"threshold of {one.operation.lower()}", _thresholds(one)) for one in found.thresholds),
        ("thresholds of identities", str(found.identity_thresholds)),
        ("decisions that change", f"{found.changed_decisions} of {found.compared_decisions} compared"),
        *_restricted(found),
        *(("problem", one) for one in found.problems),
    ]
    show_answers([found], as_json, ("", ""), rows)
    if found.problems:
        raise typer.Exit(ExitCode.ERROR)


@app.command("create")
def create(
    gallery: GalleryArgument,
    embedder_version: Version = 0,
    rate: Rate = 0.0,
    wait: Annotated[bool, typer.Option("--wait", help="return when every template is mapped")] = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Begin to map the templates of a gallery for another version, in the background.

    Exit code with --wait: 0 if every template is mapped, 3 if the migration was paused or has ended before.

    Example: `sameface migration create staff --embedder-version 3 --wait`
    """
    with connected(address, timeout_s=LONG_S) as client:
        begun = client.create_migration(gallery, embedder_version=embedder_version, templates_per_second=rate)
        while wait and begun.state == "MAPPING":
            time.sleep(LOOK_S)
            begun = client.get_migration(gallery, begun.id)
    _show(begun, as_json)
    if begun.state not in ("MAPPING", "MAPPED", "PROMOTED"):
        raise typer.Exit(ExitCode.ERROR)


@app.command("show")
def show(
    gallery: GalleryArgument,
    migration: MigrationArgument = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Show a migration with its progress. Without an id: the one that is under way, else the latest."""
    with connected(address) as client:
        if not migration and not client.get_gallery(gallery).migration:
            found = max(client.migrations(gallery), key=lambda one: str(one.create_time), default=None)
            if found is None:
                raise InvalidArgument(f"the gallery {gallery!r} has had no migration", metadata={"field": "migration"})
        else:
            found = client.get_migration(gallery, migration or _present(client, gallery))
    _show(found, as_json)


@app.command("list")
def list_migrations(gallery: GalleryArgument, address: Address = DEFAULT_ADDRESS, as_json: AsJson = False) -> None:
    """List the migrations of a gallery, newest first."""
    with connected(address) as client:
        found = sorted(client.migrations(gallery), key=lambda one: str(one.create_time), reverse=True)
    rows = [
        (one.id, _contract(one.old_contract), _contract(one.new_contract), _state(one), time_text(one.create_time))
        for one in found
    ]
    show_answers(found, as_json, ("migration", "from", "to", "state", "made"), rows)


@app.command("pause")
def pause(
    gallery: GalleryArgument,
    migration: MigrationArgument = "",
    etag: Etag = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Let the mapping stand still."""
    with connected(address) as client:
        _show(client.pause_migration(gallery, migration or _present(client, gallery), etag=etag), as_json)


@app.command("resume")
def resume(
    gallery: GalleryArgument,
    migration: MigrationArgument = "",
    etag: Etag = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Let a mapping go on that was paused, by a command or because the disk was full."""
    with connected(address) as client:
        _show(client.resume_migration(gallery, migration or _present(client, gallery), etag=etag), as_json)


@app.command("promote")
@policy_options()
def promote(
    *,
    gallery: GalleryArgument,
    migration: MigrationArgument = "",
    drop_identity_thresholds: Annotated[
        bool, typer.Option("--drop-identity-thresholds", help="clear the thresholds of single identities")
    ] = False,
    policy: PolicyOptions,
    etag: Etag = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Let the gallery decide under the new contract. A threshold that is not given is the model card's or the map's.

    Example: `sameface migration promote staff`
    """
    with connected(address, timeout_s=LONG_S) as client:
        promoted = client.promote_migration(
            gallery,
            migration or _present(client, gallery),
            drop_identity_thresholds=drop_identity_thresholds,
            etag=etag,
            **policy,
        )
    _show(promoted, as_json)


@app.command("roll-back")
def roll_back(
    gallery: GalleryArgument,
    migration: MigrationArgument = "",
    discard_new: Annotated[
        bool, typer.Option("--discard-new", help="erase templates that have no form under the old contract")
    ] = False,
    etag: Etag = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Let the gallery decide under the old contract again, with its old templates and its old policy."""
    with connected(address, timeout_s=LONG_S) as client:
        named = migration or _present(client, gallery)
        _show(client.roll_back_migration(gallery, named, discard_new=discard_new, etag=etag), as_json)


@app.command("cancel")
def cancel(
    gallery: GalleryArgument,
    migration: MigrationArgument = "",
    etag: Etag = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Give up a migration that was not promoted, and erase the new templates."""
    with connected(address, timeout_s=LONG_S) as client:
        _show(client.cancel_migration(gallery, migration or _present(client, gallery), etag=etag), as_json)


@app.command("finish")
def finish(
    gallery: GalleryArgument,
    migration: MigrationArgument = "",
    etag: Etag = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Erase the templates of the old contract. The migration cannot be rolled back then."""
    with connected(address, timeout_s=LONG_S) as client:
        _show(client.finish_migration(gallery, migration or _present(client, gallery), etag=etag), as_json)
    note(f"the receipt of the erasure: sameface erasure list {gallery}")


def _present(client: "Client", gallery: str) -> str:
    """Return the id of the migration that a gallery is in."""
    found = client.get_gallery(gallery).migration
    if not found:
        raise InvalidArgument(
            f"the gallery {gallery!r} is in no migration; `sameface migration create {gallery}` begins one, and "
            f"`sameface migration list {gallery}` lists earlier ones",
            metadata={"field": "migration"},
        )
    return last_part(found)


def _contract(contract: "Contract") -> str:
    return f"{contract.model} v{contract.version}"


def _restricted(one: "Migration | MigrationPlan") -> list[tuple[str, str]]:
    return [("licence", one.licence_restriction)] if one.licence_restriction else []


def _thresholds(one: "PlannedThresholds") -> str:
    present, native, mapped = (
        "not known" if value is None else f"{value:.3f}" for value in (one.present, one.native, one.mapped)
    )
    return f"{present} now; then {native} against native templates, {mapped} against mapped ones"


def _state(one: "Migration") -> str:
    return one.state.lower().replace("_", " ")


def _show(one: "Migration", as_json: bool) -> None:
    rows = [
        ("migration", one.id),
        ("from", _contract(one.old_contract)),
        ("to", _contract(one.new_contract)),
        ("state", _state(one)),
        ("templates", f"{one.template_count}, of these {one.mapped_count} mapped and {one.native_count} native"),
    ]
    rows += _restricted(one)
    if one.failure:
        rows += [("paused because", one.failure)]
    if one.estimated_end_time is not None:
        rows += [("all mapped at about", f"{time_text(one.estimated_end_time, 'seconds')} UTC")]
    rows += [("etag", one.etag)]
    show_answers([one], as_json, ("", ""), rows)
