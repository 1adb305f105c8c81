"""`sameface evaluate quality`: measure how well quality predicts errors."""

from typing import Annotated

import typer

from sameface.cli.evaluate.results import show, write_page
from sameface.cli.evaluate.sources import (
    Address,
    AsJson,
    FolderOfPhotos,
    Html,
    Replicates,
    Runtime,
    Seed,
    Version,
    photos_of,
    progress,
    service,
)
from sameface_qdrant.errors import InvalidArgument


def quality(
    folder: FolderOfPhotos,
    kinds: Annotated[
        str,
        typer.Option(
            "--degrade",
            metavar="KINDS",
            help="also measure degraded copies: kinds with commas between them, such as blur,night,cropped; or all",
            show_default=False,
        ),
    ] = "",
    fmr: Annotated[float, typer.Option(min=1e-6, max=0.5, help="target FMR of the threshold")] = 1e-3,
    address: Address = None,
    inference: Runtime = "triton",
    version: Version = 0,
    replicates: Replicates = 200,
    seed: Seed = 0,
    html: Html = None,
    as_json: AsJson = False,
) -> None:
    """Print FNMR with the worst comparisons discarded, for each quality component and for the quality gate.

    Example: `sameface evaluate quality my_photos --degrade blur,night --html report.html`
    """
    from sameface.evaluation.assessed import assess_copies, assess_photos
    from sameface.evaluation.degradations import DEGRADATIONS
    from sameface.evaluation.quality import measure_quality
    from sameface.evaluation.quality_report import quality_pictures, quality_record, quality_tables
    from sameface.evaluation.records import conditions
    from sameface.evaluation.report import Page
    from sameface.evaluation.tables import conditions_table

    wanted = list(DEGRADATIONS) if kinds == "all" else [kind.strip() for kind in kinds.split(",") if kind.strip()]
    if unknown := [kind for kind in wanted if kind not in DEGRADATIONS]:
        raise InvalidArgument(
            f"--degrade names {unknown[0]!r}; expected all, or some of {', '.join(DEGRADATIONS)}",
            metadata={"field": "degrade"},
        )
    labelled = photos_of(folder)
    photos = labelled.photos
    with service(address, inference) as client:
        with progress("photos", len(photos)) as advance:
            found = assess_photos(client, folder, photos, version, advance)
        copies = None
        if wanted:
            with progress("degraded copies", len(found.samples.sample)) as advance:
                copies = assess_copies(client, folder, found, wanted, version, seed, advance)
    figures = measure_quality(found, copies, fmr, replicates=replicates, seed=seed)
    name = folder.resolve().name
    measured_on = [conditions(name, found.samples, len(labelled.forgeries))]
    if copies is not None:
        measured_on.append(conditions(f"{name}, copies with {', '.join(wanted)}", copies.samples))
    tables = [
        *quality_tables(figures),
        *(
            conditions_table(one, title)
            for one, title in zip(measured_on, ("Conditions", "Conditions of the copies"), strict=False)
        ),
    ]
    if html is not None:
        summary = "If quality predicts errors, FNMR falls when the comparisons of the lowest quality are discarded."
        write_page(html, Page(f"Quality on {name}", summary, tables, quality_pictures(figures)))
    show(tables, {**quality_record(figures), "degraded": wanted, "conditions": measured_on}, as_json)
