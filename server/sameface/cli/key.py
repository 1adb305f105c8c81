"""`sameface key …`: makes, lists, revokes and rotates the API keys of a service, in its file of keys."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sameface.cli.options import AsJson, in_utc
from sameface.cli.output import note, print_json, print_table
from sameface.cli.serve import load_settings
from sameface_qdrant.errors import InvalidArgument

if TYPE_CHECKING:
    from sameface.access.api_keys import ApiKey, KeyFile

app = typer.Typer(
    help="Make, list, revoke and rotate API keys. A running service uses the changes at once.", no_args_is_help=True
)

File = Annotated[
    Path | None,
    typer.Option("--file", help="file of the keys", show_default="from the settings: access.keys"),
]
KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="id of the key; `sameface key list` shows it")]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="says what the key is for")],
    role: Annotated[
        list[str], typer.Option("--role", help="reader, verifier, identifier, enroller, auditor or admin; repeatable")
    ],
    gallery: Annotated[
        list[str],
        typer.Option(
            "--gallery", help="id of a gallery, the start of ids such as 'team-*', or '*' for all; repeatable"
        ),
    ],
    expires: Annotated[
        datetime | None, typer.Option(help="local time from which on it is not valid", show_default=False)
    ] = None,
    file: File = None,
    as_json: AsJson = False,
) -> None:
    """Make a key, and print it. It is shown this once.

    Example: `sameface key create door --role verifier --gallery staff`
    """
    from sameface.access.caller import Grant

    grants = tuple(Grant.of(one, role) for one in gallery)
    moment = in_utc(expires)
    if moment is not None and moment <= datetime.now(UTC):
        raise InvalidArgument(
            f"the key would have ended at {moment:%Y-%m-%d %H:%M} UTC already; give a later end with --expires",
            metadata={"field": "expires"},
        )
    _show(*_opened(file).create(name, grants, moment.timestamp() if moment else None), as_json=as_json)


@app.command("list")
def list_keys(file: File = None, as_json: AsJson = False) -> None:
    """List the keys: what they are for, what they may do, and whether they are valid. Not the keys themselves."""
    now = time.time()
    keys = sorted(_opened(file).read().values(), key=lambda one: one.created)
    if as_json:
        for one in keys:
            print_json(_described(one, now))
        return
    print_table(
        ("key", "name", "may", "created", "expires", "state"),
        [
            (
                one.id,
                one.name,
                "; ".join(f"{', '.join(sorted(grant.roles))} in {grant.gallery}" for grant in one.grants),
                _time(one.created),
                _time(one.expires),
                one.state(now),
            )
            for one in keys
        ],
    )


@app.command("revoke")
def revoke(key: KeyArgument, file: File = None, as_json: AsJson = False) -> None:
    """Make a key invalid at once, and for good."""
    revoked = _opened(file).revoke(key)
    if as_json:
        print_json(_described(revoked, time.time()))
    else:
        print(f"revoked {revoked.id}")


@app.command("rotate")
def rotate(
    key: KeyArgument,
    grace_s: Annotated[float, typer.Option("--grace", min=0, help="seconds that the old key stays valid")] = 86400.0,
    expires: Annotated[
        datetime | None,
        typer.Option(help="local time from which on it is not valid; without it, the end stays", show_default=False),
    ] = None,
    file: File = None,
    as_json: AsJson = False,
) -> None:
    """Give a key a new secret, and print the new key. It is shown this once. The grants stay."""
    moment = in_utc(expires)
    _show(*_opened(file).rotate(key, grace_s, moment.timestamp() if moment else None), as_json=as_json)


def _opened(file: Path | None) -> "KeyFile":
    from sameface.access.api_keys import KeyFile

    return KeyFile(file or load_settings(None).keys_file)


def _show(record: "ApiKey", key: str, *, as_json: bool) -> None:
    if as_json:
        print_json({**_described(record, time.time()), "key": key})
        return
    note("Keep this key: it is stored nowhere, and is not shown again.")
    print(key)


def _described(one: "ApiKey", now: float) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        "grants": [{"gallery": grant.gallery, "roles": sorted(grant.roles)} for grant in one.grants],
        "created": _time(one.created),
        "expires": _time(one.expires),
        "state": one.state(now),
    }


def _time(seconds: float | None) -> str:
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
