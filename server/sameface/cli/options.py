"""Options, exit codes and the connection to the service, for several commands."""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sameface_qdrant.errors import InvalidArgument

if TYPE_CHECKING:
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


def connected(address: str) -> "Client":
    """Return a client of the service."""
    from sameface.client import Client

    # A person at a terminal should learn soon that no service answers.
    return Client(address, unreachable_s=1.0)


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
