"""`sameface evaluate …`: measure a service on labelled photos."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sameface.cli.options import InferenceName
from sameface.cli.serve import load_settings

if TYPE_CHECKING:
    from sameface.client.connection import Connection
    from sameface.evaluation.embedding import EmbeddedPhotos

app = typer.Typer(help="Measure a service on labelled photos.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="folder with one sub-folder of photos per identity")]
Address = Annotated[
    str | None, typer.Option(help="host:port of a running service; default: one of its own", show_default=False)
]
Runtime = Annotated[InferenceName, typer.Option("--inference", help="of the service of its own")]
Version = Annotated[int, typer.Option("--embedder-version", help="version of face_embedder; 0 takes the default")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object")]


@app.command()
def pairs(
    folder: Folder,
    listing: Annotated[
        Path | None, typer.Option("--pairs", help="LFW-style list; default: pairsDevTest.txt of the folder")
    ] = None,
    address: Address = None,
    inference: Runtime = "triton",
    version: Version = 0,
    as_json: AsJson = False,
) -> None:
    """Print the accuracy over a list of mated and non-mated pairs (the protocol of LFW)."""
    import numpy as np

    from sameface.evaluation.dataset import read_pairs
    from sameface.evaluation.pairs import pair_accuracy, single_set_folds

    listed = read_pairs(listing or folder / "pairsDevTest.txt", folder)
    photos = sorted({path for pair in listed for path in (pair.first, pair.second)})
    with _service(address, inference) as connection:
        embedded = _embed(connection, photos, version)
    vectors = embedded.vectors
    # A photo without a face cannot match anything.
    scores = np.array(
        [
            vectors[pair.first] @ vectors[pair.second] if pair.first in vectors and pair.second in vectors else -1.0
            for pair in listed
        ]
    )
    mated = np.array([pair.mated for pair in listed])
    folds = np.array([pair.fold for pair in listed])
    accuracy = pair_accuracy(scores, mated, folds if folds.max() else single_set_folds(mated))
    figures = {
        "pairs": len(listed),
        "accuracy": accuracy.cross_validated,
        "standard_error": accuracy.standard_error,
        "accuracy_at_best_threshold": accuracy.best,
        "best_threshold": accuracy.best_threshold,
        **_acquisition(embedded, len(photos)),
    }
    if as_json:
        print(json.dumps(figures, indent=2))
        return
    print(f"{len(listed)} pairs of {folder}, {len(photos)} photos, {_model(embedded)}")
    print(
        f"accuracy {accuracy.cross_validated:.2%} ± {accuracy.standard_error:.2%} (threshold chosen on nine folds, "
        "applied to the tenth; standard error over folds)"
    )
    print(f"at the one best threshold {accuracy.best_threshold:.3f}: {accuracy.best:.2%} (has seen these pairs)")
    _print_acquisition(embedded, len(photos))


@app.command("operating-points")
def operating_points(
    folder: Folder,
    write: Annotated[bool, typer.Option("--write", help="write the points into the model's card")] = False,
    address: Address = None,
    inference: Runtime = "triton",
    version: Version = 0,
    as_json: AsJson = False,
) -> None:
    """Print the thresholds for FMR 1e-3, 1e-4 and 1e-5 over all cross pairs of the folder, with what they cost."""
    import numpy as np

    from sameface.evaluation.dataset import read_photos
    from sameface.evaluation.operating_points import cross_pairs, measure_thresholds

    photos = read_photos(folder)
    with _service(address, inference) as connection:
        embedded = _embed(connection, list(photos), version)
    order = list(embedded.vectors)
    crossed = cross_pairs(np.stack([embedded.vectors[path] for path in order]), [photos[path] for path in order])
    measured = measure_thresholds(crossed)
    points = [
        {
            "fmr": point.target_fmr,
            "threshold": point.threshold,
            "fnmr": round(point.fnmr, 5),
            "fnmr_by_identity": round(point.fnmr_by_identity, 5),
            "non_mated": len(crossed.non_mated),
            "mated": len(crossed.mated),
            "identities": crossed.identities,
            "measured_on": folder.resolve().name,
        }
        for point in measured
    ]
    if write:
        _write_points(embedded, points)
    if as_json:
        print(json.dumps({"operating_points": points, **_acquisition(embedded, len(photos))}, indent=2))
        return
    print(f"{folder}: {crossed.identities} identities, {len(photos)} photos, {_model(embedded)}")
    print(f"{len(crossed.mated)} mated and {len(crossed.non_mated)} non-mated comparisons (all cross pairs)")
    for point in measured:
        print(
            f"FMR {point.target_fmr:g}: threshold {point.threshold:.4f}, FNMR {point.fnmr:.2%} over comparisons, "
            f"{point.fnmr_by_identity:.2%} with every identity counting the same"
        )
    _print_acquisition(embedded, len(photos))


@contextmanager
def _service(address: str | None, inference: str) -> Iterator["Connection"]:
    from sameface.client import connect
    from sameface.launcher import served

    if address is not None:
        with connect(address) as connection:
            yield connection
        return
    with TemporaryDirectory(prefix="sameface-evaluate-") as name:
        folder = Path(name)
        with (
            served(folder / "data", folder / "serve.log", ["--inference", inference]) as service,
            connect(service.address) as connection,
        ):
            yield connection


def _embed(connection: "Connection", photos: Sequence[Path], version: int) -> "EmbeddedPhotos":
    from sameface.evaluation.embedding import embed_photos

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("embedding", total=len(photos))
        return embed_photos(connection, photos, version, lambda: progress.advance(task))


def _acquisition(embedded: "EmbeddedPhotos", photos: int) -> dict[str, Any]:
    return {
        "model": _model(embedded),
        "sha256": embedded.contract.sha256,
        "photos": photos,
        "without_face": len(embedded.without_face),
        "quality_gate_would_refuse": dict(embedded.refusals),
    }


def _print_acquisition(embedded: "EmbeddedPhotos", photos: int) -> None:
    refusals = ", ".join(f"{count} {reason}" for reason, count in embedded.refusals.most_common()) or "none"
    print(
        f"no face found in {len(embedded.without_face)} of {photos} photos; the quality gate would refuse: {refusals}"
    )


def _model(embedded: "EmbeddedPhotos") -> str:
    return f"{embedded.contract.model} version {embedded.contract.version}"


def _write_points(embedded: "EmbeddedPhotos", points: list[dict[str, Any]]) -> None:
    from sameface.inference.cards import ModelCard, read_card
    from sameface.models.seal import write_card

    contract = embedded.contract
    path = load_settings(None).model_repository / contract.model / str(contract.version) / "card.json"
    card = read_card(path)
    write_card(path, ModelCard.model_validate({**card.model_dump(), "operating_points": points}))
