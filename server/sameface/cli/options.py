"""Options, exit codes and the connection to the service, for several commands."""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sameface.addresses import is_here
from sameface_qdrant.errors import InvalidArgument

if TYPE_CHECKING:
    import grpc

    from sameface.client import Client


class ExitCode(IntEnum):
    """How a command ends."""

    OK = 0
    """Done; for decisions: MATCH."""
    NO_MATCH = 1
    AMBIGUOUS = 2
    ERROR = 3
    """Something could not be done, so there is no decision about it."""


Address = Annotated[
    str, typer.Option("--address", envvar="SAMEFACE_ADDRESS", help="the service's host:port", show_default=True)
]
DEFAULT_ADDRESS = "127.0.0.1:50051"
AsJson = Annotated[bool, typer.Option("--json", help="print JSON, one object a line")]
Selection = Annotated[
    Literal["largest", "most_central", "error"] | None,
    typer.Option("--face", help="which face to use if there are several; error: refuse several", show_default=False),
]
EmbedderModel = Annotated[
    str, typer.Option("--embedder-model", help="embedder, for other things than faces", show_default="face_embedder")
]
GalleryArgument = Annotated[str, typer.Argument(metavar="GALLERY", help="id of the gallery")]
IdentityArgument = Annotated[str, typer.Argument(metavar="IDENTITY", help="id of the identity")]
PhotosArgument = Annotated[
    list[str], typer.Argument(metavar="PHOTO...", help="files, folders, patterns such as 'shots/*.jpg', or - for stdin")
]
Labels = Annotated[
    list[str],
    typer.Option(
        "--label", metavar="KEY=VALUE", help="only identities with this label; may be repeated", show_default=False
    ),
]
InferenceName = Literal["triton", "onnx"]
DisplayName = Annotated[str | None, typer.Option(help="name to show; any text", show_default=False)]
Etag = Annotated[str, typer.Option("--etag", help="change nothing unless this is the current etag", show_default=False)]
VerifyThreshold = Annotated[float | None, typer.Option(help="lowest score that accepts a claim", show_default=False)]
Force = Annotated[bool, typer.Option("--force", help="also erase everything inside")]
Expires = Annotated[
    datetime | None,
    typer.Option("--expires", help="from this local time on, every comparison ignores it", show_default=False),
]
NeverExpires = Annotated[bool, typer.Option("--never-expires", help="remove the expiry time")]


def in_utc(moment: datetime | None) -> datetime | None:
    """Return a time of the command line, which is local time, in UTC."""
    return None if moment is None else moment.astimezone(UTC)


def connected(address: str, *, timeout_s: float = 30.0) -> "Client":
    """Return a client of the service, with the credentials of the environment."""
    from sameface.client import Client
    from sameface.client.connection import check_address

    check_address(address)
    credentials, key = credentials_of(os.environ), key_of(os.environ)
    if key and credentials is None and not is_here(address):
        raise InvalidArgument(
            f"SAMEFACE_API_KEY would travel unencrypted to {address}; set SAMEFACE_CLIENT_CA to the PEM file of the "
            "service's authority, or to public",
            metadata={"field": "key"},
        )
    # A person at a terminal should learn soon that no service answers.
    return Client(
        address,
        timeout_s=timeout_s,
        unreachable_s=1.0,
        credentials=credentials,
        metadata=key,
        server_name=os.environ.get("SAMEFACE_CLIENT_SERVER_NAME", ""),
        max_photo_bytes=max_photo_bytes_of(os.environ),
    )


def credentials_of(environment: Mapping[str, str]) -> "grpc.ChannelCredentials | None":
    """Return credentials for TLS; None without encryption.

    ``SAMEFACE_CLIENT_CA`` is the PEM file of the service's authority, or ``public`` for gRPC's list of public ones.
    ``SAMEFACE_CLIENT_CERTIFICATE`` and ``SAMEFACE_CLIENT_PRIVATE_KEY`` are for a service that asks for a certificate.
    """
    from sameface.client.connection import tls_credentials

    ca, certificate, key = (
        environment.get(f"SAMEFACE_CLIENT_{name}", "") for name in ("CA", "CERTIFICATE", "PRIVATE_KEY")
    )
    if not (ca or certificate or key):
        return None
    if bool(certificate) != bool(key):
        raise InvalidArgument(
            "SAMEFACE_CLIENT_CERTIFICATE and SAMEFACE_CLIENT_PRIVATE_KEY go together; set both, or neither",
            metadata={"field": "certificate"},
        )
    files = [Path(one) if one and one != "public" else None for one in (ca, certificate, key)]
    return tls_credentials(*files)


def max_photo_bytes_of(environment: Mapping[str, str]) -> int:
    """Return how many bytes a photo may have: ``SAMEFACE_CLIENT_MAX_PHOTO_BYTES``, or what a service takes by default.

    Raises:
        InvalidArgument: it is no number, or more than a message may have.
    """
    from sameface.client.connection import MAX_PHOTO_BYTES, checked_photo_bytes

    text = environment.get("SAMEFACE_CLIENT_MAX_PHOTO_BYTES", "")
    try:
        return checked_photo_bytes(int(text)) if text else MAX_PHOTO_BYTES
    except ValueError as error:
        raise InvalidArgument(
            f"SAMEFACE_CLIENT_MAX_PHOTO_BYTES cannot be used: {error}", metadata={"field": "max_photo_bytes"}
        ) from None


def key_of(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the metadata with the API key or token in ``SAMEFACE_API_KEY``, if it is set.

    Raises:
        InvalidArgument: it has a character that no key and no token has.
    """
    key = environment.get("SAMEFACE_API_KEY", "")
    if not (key.isascii() and key.isprintable()) or key != key.strip():
        raise InvalidArgument(
            "SAMEFACE_API_KEY has a line break, a space around it, or a character that is not ASCII; remove it",
            metadata={"field": "key"},
        )
    return [("authorization", f"Bearer {key}")] if key else []


def parse_labels(texts: Sequence[str]) -> dict[str, str]:
    """Return the labels of texts in the form KEY=VALUE.

    Raises:
        InvalidArgument: a text has another form, or a key is given twice.
    """
    labels: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise InvalidArgument(
                f"--label is {text!r}; expected KEY=VALUE, for instance country=fr", metadata={"field": "label"}
            )
        if key in labels:
            raise InvalidArgument(f"--label {key} is given more than once", metadata={"field": "label"})
        labels[key] = value
    return labels
