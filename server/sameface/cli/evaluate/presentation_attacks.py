"""`sameface evaluate pad`: measure presentation attack detection."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sameface.cli.evaluate.results import show, write_page
from sameface.cli.evaluate.sources import Address, AsJson, Html, Runtime, service
from sameface.cli.output import note_skipped
from sameface.photo_folders import Skipped

if TYPE_CHECKING:
    from sameface.evaluation.presentation_attacks import PadEvaluation


def pad(
    live: Annotated[Path, typer.Argument(help="folder of bona fide photos, searched with its sub-folders")],
    attack: Annotated[
        Path, typer.Argument(help="folder of attacks, with one sub-folder for each species: print, replay, mask, …")
    ],
    threshold: Annotated[float, typer.Option(min=0, max=1, help="lowest bona fide score that is accepted")] = 0.5,
    address: Address = None,
    inference: Runtime = "triton",
    html: Html = None,
    as_json: AsJson = False,
) -> None:
    """Print APCER of each species and BPCER at a threshold, and BPCER at APCER 10, 5 and 1 % (ISO/IEC 30107-3).

    Example: `sameface evaluate pad live attack --html report.html`
    """
    from sameface.evaluation.presentation_attack_report import pad_pictures, pad_record, pad_tables
    from sameface.evaluation.report import Page

    found, model = _measured(live, attack, threshold, address, inference)
    names = (live.resolve().name, attack.resolve().name)
    tables = pad_tables(found, model, names)
    if html is not None:
        page = Page(
            title=f"Presentation attack detection on {names[0]} and {names[1]}",
            summary=f"{model}. Each photo gets a bona fide score. It is no probability, and a high one does not prove "
            "that a person is present.",
            tables=tables,
            pictures=pad_pictures(found),
        )
        write_page(html, page)
    show(tables, pad_record(found, model, names), as_json)


def _measured(
    live: Path, attack: Path, threshold: float, address: str | None, inference: str
) -> "tuple[PadEvaluation, str]":
    """Examine every photo, with a progress bar."""
    from sameface.evaluation.presentation_attacks import (
        examine,
        measure_attacks,
        read_attacks,
        read_bona_fide,
        served_pad,
    )

    skipped: list[Skipped] = []
    people, species = read_bona_fide(live, skipped), read_attacks(attack, skipped)
    note_skipped(skipped)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with service(address, inference) as client:
        model = served_pad(client)
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("examining", total=len(people) + sum(map(len, species.values())))
            bona_fide = examine(client, live, people, lambda: progress.advance(task))
            attacks = {
                name: examine(client, attack, photos, lambda: progress.advance(task))
                for name, photos in species.items()
            }
    return measure_attacks(bona_fide, attacks, threshold), model
