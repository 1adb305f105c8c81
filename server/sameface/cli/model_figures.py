"""`sameface model figures`: shows the error rates in the cards of versions, for everybody and by group."""

from typing import TYPE_CHECKING, Annotated

import typer

from sameface.cli.options import AsJson
from sameface.cli.output import print_json, print_table
from sameface.cli.serve import load_settings
from sameface_qdrant.errors import InvalidArgument

if TYPE_CHECKING:
    from sameface.inference.card_figures import MeasuredRate
    from sameface.inference.cards import ModelCard


def figures(
    version: Annotated[
        int | None, typer.Argument(help="version of the embedder of faces; default: all", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the error rates in the cards of the embedder of faces: for everybody, and by group where they were measured.

    Example: `sameface model figures 1`
    """
    from sameface.inference.cards import read_all_cards

    cards = [
        card
        for card in read_all_cards(load_settings(None).model_repository)
        if card.embeds_faces and version in (None, card.version)
    ]
    if not cards:
        raise InvalidArgument(f"no version {version} embeds faces here", metadata={"field": "version"})
    if as_json:
        for card in cards:
            print_json(card.model_dump(mode="json", include={"model", "version", "evaluation", "groups"}))
        return
    print_table(
        ("model", "version", "measured on", "FNMR by identity at", "", "FNIR", "rank 1", "pairs"),
        [row for card in cards for row in _evaluation(card)],
    )
    rows = [row for card in cards for row in _groups(card)]
    if rows:
        print()
        print_table(("model", "version", "photos", "group", "people", "threshold", "FNMR", "FMR", ""), rows)
        print("In brackets: 95 % intervals. FMR is over comparisons of two people of the group.")


def _evaluation(card: "ModelCard") -> list[tuple[str, ...]]:
    from sameface.inference.cards import EMBEDDER

    found = card.evaluation
    if found is None:
        absent = f"those of {EMBEDDER}: equal answers" if card.equivalent_to else "no evaluation"
        return [(card.model, str(card.version), absent, *("",) * 5)]
    return [
        (
            *((card.model, str(card.version), found.measured_on) if place == 0 else ("", "", "")),
            f"FMR {one.fmr:g}",
            _rate(one.fnmr_by_identity),
            *((_rate(found.fnir), _rate(found.rank_one), _rate(found.pairs)) if place == 0 else ("", "", "")),
        )
        for place, one in enumerate(found.fnmr)
    ]


def _groups(card: "ModelCard") -> list[tuple[str, ...]]:
    return [
        (
            card.model,
            str(card.version),
            one.measured_on,
            f"{one.column}: {one.label}" if one.column else one.label,
            f"{one.identities:,}{' (few)' if one.few_identities else ''}",
            f"{one.threshold:.4f}",
            _rate(one.fnmr_by_identity),
            _rate(one.fmr),
            one.note,
        )
        for one in card.groups
    ]


def _rate(one: "MeasuredRate | None") -> str:
    if one is None:
        return "–"
    return f"{100 * one.value:.2f} % ({100 * one.low:.2f} to {100 * one.high:.2f})"
