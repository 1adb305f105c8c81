"""`sameface evaluate groups`: measure FMR and FNMR of groups of people at one threshold."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sameface.cli.evaluate.results import show, write_page
from sameface.cli.evaluate.sources import (
    Address,
    AsJson,
    Embeddings,
    Folder,
    Html,
    Model,
    Replicates,
    Runtime,
    SaveEmbeddings,
    Seed,
    Version,
    load,
)
from sameface.cli.output import note
from sameface.cli.serve import load_settings
from sameface_qdrant.errors import InvalidArgument

if TYPE_CHECKING:
    from sameface.evaluation.groups import Group
    from sameface.evaluation.samples import Samples
    from sameface.inference.cards import ModelCard

FMR_OF_THE_CARD = 1e-3
"""The operating point of the card that is used without ``--threshold`` and ``--fmr``."""
EMBEDDED_BY = re.compile(r"(\w+) version (\d+), sha256 ([0-9a-f]{64})")
"""What samples that a service embedded say of their model."""


def groups(
    folder: Folder = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            metavar="CSV",
            help="labels of groups; the first column is photo or identity (or id)",
            show_default=False,
        ),
    ] = None,
    bands: Annotated[
        list[str] | None,
        typer.Option(
            "--bands",
            metavar="COLUMN=LIMITS",
            help="cut a column of numbers, for instance income=20,40; may be repeated",
            show_default="age=18,30,45,60 if there is a column age",
        ),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=-1, max=1, help="the threshold of all groups", show_default=False)
    ] = None,
    fmr: Annotated[
        float | None,
        typer.Option(help="take the threshold for this FMR over everybody in these images", show_default=False),
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="write the figures into the model's card")] = False,
    remark: Annotated[
        str,
        typer.Option(
            "--note",
            help="with --write: what readers have to know about these images; without it, an earlier note stays",
            show_default=False,
        ),
    ] = "",
    embeddings: Embeddings = None,
    save: SaveEmbeddings = None,
    address: Address = None,
    inference: Runtime = "triton",
    version: Version = 0,
    model: Model = "",
    replicates: Replicates = 1000,
    seed: Seed = 0,
    html: Html = None,
    as_json: AsJson = False,
) -> None:
    """Print FMR and FNMR of every group at one threshold for all, with intervals and differences.

    Example: `sameface evaluate groups my_photos --labels people.csv`

    The threshold is that of the model card for FMR 1e-3, unless --threshold or --fmr is given.
    """
    from sameface.evaluation.group_plot import groups_svg
    from sameface.evaluation.group_tables import group_tables
    from sameface.evaluation.groups import measure_groups, measure_groups_at
    from sameface.evaluation.labels import read_labels, with_everybody
    from sameface.evaluation.records import conditions, groups_record
    from sameface.evaluation.report import Page, Picture
    from sameface.evaluation.tables import conditions_table
    from sameface.evaluation.verification import verify

    if labels is None:
        raise InvalidArgument("no labels were given; expected --labels CSV", metadata={"field": "labels"})
    if threshold is not None and fmr is not None:
        raise InvalidArgument("--threshold and --fmr were given; expected one of them", metadata={"field": "fmr"})
    if fmr is not None and not 0.0 < fmr < 1.0:
        raise InvalidArgument(f"--fmr is {fmr:g}; expected above 0 and below 1", metadata={"field": "fmr"})
    limits = _limits(bands, labels)
    source = load(folder, embeddings, save, address, inference, version, model)
    samples = source.samples
    card = _card_of(samples) if write or (threshold is None and fmr is None) else None
    found_labels, left_out = read_labels(labels, samples, limits)
    if fmr is not None:
        everybody = verify(samples, (fmr,), replicates=replicates, seed=seed)
        origin = f"for FMR {fmr:g} over everybody in these images"
        found = measure_groups(everybody, with_everybody(found_labels))
    else:
        origin = "given"
        if threshold is None:
            assert card is not None
            threshold, origin = _of_card(card)
        found = measure_groups_at(samples, threshold, with_everybody(found_labels), replicates=replicates, seed=seed)
    (all_people, *by_group) = found
    if write:
        assert card is not None
        _write(card, found, source.name, remark)
    measured_on = conditions(source.name, samples)
    record = {
        "threshold": all_people.rates[0].threshold,
        "threshold_origin": origin,
        "everybody": groups_record([all_people])[0]["rates"][0],
        "groups": groups_record(by_group),
        "conditions": measured_on,
    }
    tables = [*group_tables(by_group, left_out), conditions_table(measured_on)]
    if html is not None:
        columns = list(dict.fromkeys(group.column for group in by_group))
        pictures = [
            Picture(
                f"{title} by {column} at threshold {all_people.rates[0].threshold:.4f}. Bars: 95 % intervals. Hollow "
                "points: groups of few people.",
                svg=groups_svg([group for group in by_group if group.column == column], rate),
            )
            for column in columns
            for title, rate in (("FNMR", "fnmr"), ("FMR", "fmr"))
        ]
        page = Page(
            title=f"Differential performance on {source.name}",
            summary="Error rates of groups at one threshold for all (ISO/IEC 19795-10).",
            tables=tables,
            pictures=pictures,
        )
        write_page(html, page)
    if not as_json:
        print(f"Threshold {all_people.rates[0].threshold:.4f}, {origin}.\n")
    show(tables, record, as_json)


def _limits(given: list[str] | None, labels: Path) -> Mapping[str, Sequence[float]]:
    """Return where columns of numbers are cut."""
    from sameface.evaluation.labels import AGE, AGE_BANDS, has_column

    if given is None:
        return {AGE: AGE_BANDS} if has_column(labels, AGE) else {}
    limits: dict[str, Sequence[float]] = {}
    for text in given:
        column, separator, numbers = text.rpartition("=")
        if column in limits:
            raise InvalidArgument(
                f"--bands was given twice for {column!r}; expected one for each column", metadata={"field": "bands"}
            )
        try:
            if not separator or not column:
                raise ValueError
            limits[column] = tuple(float(number) for number in numbers.split(","))
        except ValueError:
            raise InvalidArgument(
                f"--bands is {text!r}; expected a column and rising numbers, for instance age=18,30,45,60",
                metadata={"field": "bands"},
            ) from None
    return limits


def _card_of(samples: "Samples") -> "ModelCard":
    """Return the card of the version that embedded the samples.

    Raises:
        InvalidArgument: the samples do not name a version, or its card has another digest.
        ModelCheckFailed: there is no such card.
    """
    from sameface.inference.cards import read_card

    named = EMBEDDED_BY.fullmatch(samples.model)
    if named is None:
        raise InvalidArgument(
            f"the samples were embedded by {samples.model or 'a model that they do not name'}, which has no card; "
            "expected a version of the model repository. Give --threshold or --fmr, and no --write",
            metadata={"field": "threshold"},
        )
    card = read_card(load_settings(None).model_repository / named[1] / named[2] / "card.json")
    if card.sha256 != named[3]:
        raise InvalidArgument(
            f"the samples were embedded by {samples.model}, and its card has sha256 {card.sha256}; embed them again",
            metadata={"field": "embeddings"},
        )
    return card


def _of_card(card: "ModelCard") -> tuple[float, str]:
    for point in card.operating_points:
        if point.fmr == FMR_OF_THE_CARD:
            name = f"the operating point of {card.model} version {card.version} for FMR {point.fmr:g}"
            return point.threshold, f"{name}, measured on {point.measured_on}"
    raise InvalidArgument(
        f"the card of {card.model} version {card.version} has no operating point for FMR {FMR_OF_THE_CARD:g}; give "
        "--threshold or --fmr",
        metadata={"field": "threshold"},
    )


def _write(card: "ModelCard", found: "Sequence[Group]", name: str, remark: str) -> None:
    """Put the figures into the card, in the place of those that were measured on the same images.

    Without a remark, that of the older figures stays.
    """
    from sameface.evaluation.records import groups_for_card
    from sameface.inference.card_figures import GroupFigures
    from sameface.models.seal import write_card

    older = [one.note for one in card.groups if one.measured_on == name and one.note]
    remark = remark or next(iter(older), "")
    measured = [GroupFigures.model_validate(one) for one in groups_for_card(found, name, remark)]
    kept = tuple(one for one in card.groups if one.measured_on != name)
    path = load_settings(None).model_repository / card.model / str(card.version) / "card.json"
    write_card(path, card.model_copy(update={"groups": (*kept, *measured)}))
    note(f"{len(measured)} groups written into {path}")
