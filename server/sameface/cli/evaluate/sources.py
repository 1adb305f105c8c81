"""Gets embeddings from images through a service, or from a file; and the options that the commands share."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sameface.cli.options import EmbedderModel, InferenceName, connected
from sameface.cli.output import note, note_skipped
from sameface_qdrant.errors import InvalidArgument

if TYPE_CHECKING:
    from sameface.client import Client
    from sameface.evaluation.dataset import LabelledFolder
    from sameface.evaluation.embedding import EmbeddedPhotos
    from sameface.evaluation.samples import Samples

Folder = Annotated[
    Path | None,
    typer.Argument(
        help="folder with one sub-folder of images per identity, or <signer>/genuine/ and <signer>/forgery/",
        show_default=False,
    ),
]


def _in_a_folder(path: Path | None) -> Path | None:
    """Check that a file can be written, before minutes are spent on its contents."""
    if path is not None and not path.absolute().parent.is_dir():
        raise InvalidArgument(
            f"{path} cannot be written: {path.absolute().parent} is not a folder", metadata={"field": "file"}
        )
    return path


FolderOfPhotos = Annotated[
    Path,
    typer.Argument(
        help="folder with one sub-folder of images per identity, or <signer>/genuine/ and <signer>/forgery/",
        show_default=False,
    ),
]
Forged = Annotated[
    str | None,
    typer.Option(
        "--forged",
        metavar="REGEX",
        help="matches the sample names of forgeries and no others; default: the file's labels, else a folder forgery/",
        show_default=False,
    ),
]
Embeddings = Annotated[
    Path | None,
    typer.Option(
        metavar="NPZ",
        help="file of embeddings, instead of a service; the folder then only gives the pictures of the report",
        show_default=False,
    ),
]
SaveEmbeddings = Annotated[
    Path | None,
    typer.Option(
        "--save-embeddings",
        metavar="NPZ",
        help="write the embeddings into a file",
        show_default=False,
        callback=_in_a_folder,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(help="host:port of a running service; default: a service for this command", show_default=False),
]
Runtime = Annotated[InferenceName, typer.Option("--inference", help="inference of the service for this command")]
Version = Annotated[int, typer.Option("--embedder-version", help="version of the embedder; 0 takes the default")]
Model = EmbedderModel
Seed = Annotated[int, typer.Option(help="seed of all random choices")]
Replicates = Annotated[int, typer.Option(min=100, help="resamples of the identities, for the intervals")]
Html = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="write a report as one HTML page", show_default=False, callback=_in_a_folder),
]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object")]


@dataclass(frozen=True, slots=True)
class Source:
    """Labelled embeddings and where they come from."""

    name: str
    samples: "Samples"
    folder: Path | None
    """The folder of the images; None if it is not given."""


def load(
    folder: Path | None,
    embeddings: Path | None,
    save: Path | None,
    address: str | None,
    inference: InferenceName,
    version: int,
    model: str = "",
    *,
    forged: str | None = None,
) -> Source:
    """Read embeddings from a file if one is given; otherwise embed the folder's images.

    ``forged`` is a regular expression that the names of forgeries in a file match.

    Raises:
        InvalidArgument: neither a file nor a folder is given, a file is given with options of a service, ``forged`` is
            given without a file, or there is nothing to read.
    """
    from sameface.evaluation.samples import read_embeddings, write_embeddings

    if embeddings is not None:
        if address is not None or version or model or save is not None:
            raise InvalidArgument(
                "--embeddings is given with --address, --embedder-model, --embedder-version or --save-embeddings; "
                "embeddings from a file need no service",
                metadata={"field": "embeddings"},
            )
        return Source(embeddings.name, read_embeddings(embeddings, forged), folder)
    if forged is not None:
        raise InvalidArgument(
            "--forged is given without --embeddings; in a folder, forgeries are in <signer>/forgery/",
            metadata={"field": "forged"},
        )
    if folder is None:
        raise InvalidArgument(
            "no source was given; expected a folder of images, or --embeddings NPZ", metadata={"field": "folder"}
        )
    photos = photos_of(folder)
    with service(address, inference) as client:
        samples = embed(client, folder, photos.photos, version, model, forgeries=photos.forgeries).samples
    if save is not None:
        write_embeddings(save, samples)
        note(f"embeddings in {save}")
    return Source(folder.resolve().name, samples, folder)


def photos_of(folder: Path) -> "LabelledFolder":
    """Return the labelled images of a folder, and say which files are left out, and why.

    Raises:
        InvalidArgument: there is no image.
    """
    from sameface.evaluation.dataset import read_labelled

    found = read_labelled(folder)
    note_skipped(found.skipped)
    return found


def embed(
    client: "Client",
    folder: Path,
    photos: Mapping[Path, str],
    version: int,
    model: str = "",
    *,
    forgeries: Mapping[Path, str] | None = None,
) -> "EmbeddedPhotos":
    """Embed images, with a progress bar; the embeddings of forgeries are apart."""
    from sameface.evaluation.embedding import embed_photos
    from sameface.evaluation.samples import separate_forgeries

    every = {**photos, **(forgeries or {})}
    with progress("embedding", len(every)) as advance:
        found = embed_photos(client, folder, every, version, advance, model)
    forged = {path.relative_to(folder).as_posix() for path in forgeries or ()}
    return replace(found, samples=separate_forgeries(found.samples, forged.__contains__))


@contextmanager
def progress(description: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar; what it gives is called after each step."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda: bar.advance(task)


@contextmanager
def service(address: str | None, inference: str) -> Iterator["Client"]:
    """Connect to the service at ``address``; without one, start a service that ends with the command."""
    from sameface.client import Client
    from sameface.launcher import served

    if address is not None:
        with connected(address) as client:
            yield client
        return
    with TemporaryDirectory(prefix="sameface-evaluate-") as name:
        folder = Path(name)
        with (
            served(folder / "data", folder / "serve.log", ["--inference", inference]) as running,
            Client(running.address) as client,
        ):
            yield client
