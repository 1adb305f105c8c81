"""`sameface evaluate pairs`: measure the accuracy over a list of pairs, as LFW's protocol does."""

from pathlib import Path
from typing import Annotated

import typer

from sameface.cli.evaluate.results import show, write_page
from sameface.cli.evaluate.sources import (
    Address,
    AsJson,
    Embeddings,
    Folder,
    Html,
    Model,
    Runtime,
    Source,
    Version,
    embed,
    service,
)
from sameface_qdrant.errors import InvalidArgument


def pairs(
    folder: Folder = None,
    listing: Annotated[
        Path | None, typer.Option("--pairs", help="LFW-style list of pairs; default: pairsDevTest.txt of the folder")
    ] = None,
    embeddings: Embeddings = None,
    address: Address = None,
    inference: Runtime = "triton",
    version: Version = 0,
    model: Model = "",
    html: Html = None,
    as_json: AsJson = False,
) -> None:
    """Print the accuracy over a list of mated and non-mated pairs (the protocol of LFW)."""
    import numpy as np

    from sameface.evaluation.dataset import read_pairs
    from sameface.evaluation.pairs import folds_of, pair_accuracy, pair_scores
    from sameface.evaluation.pictures import worst_listed_pairs
    from sameface.evaluation.records import conditions
    from sameface.evaluation.report import Page, photo_pairs
    from sameface.evaluation.samples import read_embeddings
    from sameface.evaluation.tables import Table, conditions_table

    if listing is None and folder is None:
        raise InvalidArgument(
            "no list of pairs was given; expected a folder with pairsDevTest.txt, or --pairs FILE",
            metadata={"field": "pairs"},
        )
    listed = read_pairs(listing or (folder or Path()) / "pairsDevTest.txt", folder if embeddings is None else None)
    if embeddings is not None:
        source = Source(embeddings.name, read_embeddings(embeddings), folder)
    elif folder is not None:
        names = sorted({name for pair in listed for name in (pair.first, pair.second)})
        with service(address, inference) as client:
            photos = {folder / name: Path(name).parent.name for name in names}
            source = Source(folder.resolve().name, embed(client, folder, photos, version, model).samples, folder)
    else:
        raise InvalidArgument(
            "no source was given; expected a folder of photos, or --embeddings NPZ", metadata={"field": "folder"}
        )
    samples = source.samples
    scores, mated = pair_scores(samples, listed), np.array([pair.mated for pair in listed])
    accuracy = pair_accuracy(scores, mated, folds_of(listed))
    found = conditions(source.name, samples)
    record = {
        "pairs": len(listed),
        "accuracy": accuracy.cross_validated,
        "standard_error": accuracy.standard_error,
        "accuracy_at_best_threshold": accuracy.best,
        "best_threshold": accuracy.best_threshold,
        "without_face": len(samples.not_acquired),
        "conditions": found,
    }
    rows = (
        (
            "each fold at the best threshold of the other folds",
            f"{100 * accuracy.cross_validated:.2f} % ± {100 * accuracy.standard_error:.2f} %",
        ),
        (f"all pairs at their best threshold, {accuracy.best_threshold:.3f}", f"{100 * accuracy.best:.2f} %"),
    )
    notes = (
        f"{len(listed):,} pairs in {len(np.unique(folds_of(listed)))} folds; ± is the standard error over the folds.",
        "The accuracy at the best threshold is optimistic: the threshold was chosen on the same pairs.",
        "A pair with a photo without a face is decided as non-mated.",
    )
    table = Table("Pairs (1:1)", ("", "accuracy"), rows, notes)
    if html is not None:
        high, low = (
            []
            if source.folder is None
            else photo_pairs(
                [(listed[one].first, listed[one].second, float(scores[one])) for one in positions], source.folder
            )
            for positions in worst_listed_pairs(scores, mated)
        )
        page = Page(
            title=f"Pairs of {source.name}",
            summary=f"A pair is accepted as one person if its score is at least about {accuracy.best_threshold:.3f}.",
            tables=[table, conditions_table(found)],
            highest_non_mated=high,
            lowest_mated=low,
        )
        write_page(html, page)
    show([table, conditions_table(found)], record, as_json)
