"""`sameface evaluate compare`: compare two models on the same samples."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sameface.cli.evaluate.results import show, write_page
from sameface.cli.evaluate.sources import (
    Address,
    AsJson,
    Folder,
    Forged,
    Html,
    Model,
    Replicates,
    Runtime,
    Seed,
    Source,
    load,
)
from sameface_qdrant.errors import InvalidArgument

if TYPE_CHECKING:
    from sameface.cli.options import InferenceName


def compare(
    folder: Folder = None,
    embeddings: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="NPZ",
            help="file of embeddings; give it twice, for the first and the second model",
            show_default=False,
        ),
    ] = None,
    versions: Annotated[
        list[int] | None,
        typer.Option(
            "--embedder-version",
            help="version of the embedder; give it twice, for the first and the second model",
            show_default=False,
        ),
    ] = None,
    model: Model = "",
    listing: Annotated[
        Path | None,
        typer.Option("--pairs", help="LFW-style list of pairs, to compare the accuracy over it", show_default=False),
    ] = None,
    fmrs: Annotated[
        list[float] | None,
        typer.Option(
            "--fmr",
            help="compare FNMR at this FMR, above 0 and below 1; may be repeated",
            show_default="1e-4 and 1e-5",
        ),
    ] = None,
    forged: Forged = None,
    address: Address = None,
    inference: Runtime = "triton",
    replicates: Replicates = 1000,
    seed: Seed = 0,
    html: Html = None,
    as_json: AsJson = False,
) -> None:
    """Print error rates of two models on the same samples, and whether they differ by more than chance.

    Example: `sameface evaluate compare my_photos --embedder-version 1 --embedder-version 2`

    With few identities, choose an FMR that they support: `--fmr 0.01`.
    """
    from sameface.evaluation.dataset import read_pairs
    from sameface.evaluation.model_comparison import compare_models
    from sameface.evaluation.model_figures import FMRS
    from sameface.evaluation.records import comparison_record, conditions, identification_record, verification_record
    from sameface.evaluation.report import Page, comparison_pictures, worst_photo_pairs
    from sameface.evaluation.tables import comparison_tables, conditions_table

    if wrong := [one for one in fmrs or () if not 0.0 < one < 1.0]:
        raise InvalidArgument(f"--fmr is {wrong[0]:g}; expected above 0 and below 1", metadata={"field": "fmr"})
    first, second = _sources(folder, embeddings or [], versions or [], model, address, inference, forged)
    pairs = () if listing is None else read_pairs(listing)
    found = compare_models(first.samples, second.samples, pairs, fmrs=fmrs or FMRS, replicates=replicates, seed=seed)
    names = (first.name, second.name)
    measured_on = [conditions(one.name, one.samples) for one in (first, second)]
    tables = [
        *comparison_tables(found, names),
        *(conditions_table(one, f"Conditions of {name}") for one, name in zip(measured_on, names, strict=True)),
    ]
    models = [
        {"name": name, "verification": verification_record(one), "identification": identification_record(other)}
        for name, one, other in zip(names, found.verification, found.identification, strict=True)
    ]
    if html is not None:
        high, low = (
            ([], [])
            if second.folder is None
            else worst_photo_pairs(found.verification[1], second.samples, second.folder)
        )
        page = Page(
            title=f"{names[1]} compared with {names[0]}",
            summary="Both models on the same samples, with the same resampled identities.",
            tables=tables,
            pictures=comparison_pictures(found, names),
            highest_non_mated=high,
            lowest_mated=low,
            pairs_note=f"Scores of {names[1]}; one pair for each identity or each two identities. ",
        )
        write_page(html, page)
    show(tables, {"endpoints": comparison_record(found), "models": models, "conditions": measured_on}, as_json)


def _sources(
    folder: Path | None,
    embeddings: list[Path],
    versions: list[int],
    model: str,
    address: str | None,
    inference: "InferenceName",
    forged: str | None,
) -> tuple[Source, Source]:
    if len(embeddings) == 2 and not (versions or model):
        read = [load(folder, path, None, None, inference, 0, forged=forged) for path in embeddings]
        same_name = read[0].name == read[1].name
        names = [str(path) if same_name else one.name for path, one in zip(embeddings, read, strict=True)]
    elif len(versions) == 2 and not embeddings and folder is not None:
        read = [load(folder, None, None, address, inference, version, model, forged=forged) for version in versions]
        names = [f"version {version}" for version in versions]
    else:
        raise InvalidArgument(
            f"{len(embeddings)} files of embeddings and {len(versions)} versions were given; expected --embeddings "
            "twice, or a folder of images with --embedder-version twice",
            metadata={"field": "embeddings"},
        )
    first, second = (Source(name, one.samples, one.folder) for name, one in zip(names, read, strict=True))
    return first, second
