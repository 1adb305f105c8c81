"""`python -m benchmarks versions`: the error rates, times and licences of every version of the embedder.

    python -m benchmarks versions --photos lfw_devtest --pairs pairsDevTest.txt --labels sex.csv --times --write
    python -m benchmarks versions --london london --write

It embeds the photos with every version (kept in build/versions), measures, and writes the figures to
benchmarks/versions/figures.json. ``--write`` also writes the figures into every card, and the tables into
docs/models.md, docs/evaluation.md and docs/model-change.md.

Without ``--photos``, ``--london`` and ``--times`` it only writes or shows what was measured before.
"""

import argparse
import asyncio
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.conditions import conditions
from benchmarks.embedders import measure_embedders
from benchmarks.pose import turned_rates, turned_record
from benchmarks.results import print_tables
from benchmarks.versions.embed import embeddings_of, versions_of
from benchmarks.versions.groups import groups_table, measure_version_groups
from benchmarks.versions.maps import map_tables
from benchmarks.versions.measure import measure_versions
from benchmarks.versions.rule import default_version
from benchmarks.versions.tables import (
    conditions_sentence,
    identification_sentence,
    markdown_rows,
    pose_table,
    verification_sentence,
    verification_table,
    versions_tables,
)
from sameface.evaluation.dataset import read_pairs
from sameface.evaluation.samples import Samples, read_embeddings
from sameface.inference.card_figures import Evaluation, GroupFigures
from sameface.inference.cards import MeasuredPoint, ModelCard, read_card
from sameface.models.seal import write_card
from sameface.settings import Settings

FIGURES = Path(__file__).with_name("figures.json")
DOCUMENTS = (Path("docs/models.md"), Path("docs/evaluation.md"), Path("docs/model-change.md"))
BASE = "1"
FOLDS = 5
MARKED = re.compile(r"(<!-- versions: (\w+) -->\n)(.*?)(<!-- end of versions -->)", re.S)


def main(arguments: Sequence[str]) -> None:
    """Measure, write and show."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks versions", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, help="LFW's development set, one folder for each person")
    parser.add_argument("--pairs", type=Path, help="its list of pairs")
    parser.add_argument("--labels", type=Path, help="labels of its photos, for error rates by group")
    parser.add_argument("--london", type=Path, help="the Face Research Lab London Set with people.csv: groups and pose")
    parser.add_argument(
        "--held-out",
        type=Path,
        help="folder held_out of sameface-train few-people on the London Set: turned faces in five folds by person",
    )
    parser.add_argument("--times", action="store_true", help="also measure the times; needs a quiet machine")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of the times (default 9)")
    parser.add_argument("--seconds", type=float, default=0.7, help="seconds of each version in a round (default 0.7)")
    parser.add_argument("--write", action="store_true", help="write cards and pages")
    parser.add_argument(
        "--points",
        type=int,
        nargs="*",
        default=(),
        metavar="VERSION",
        help="replace the operating points in the cards of these versions; a card without any gets them anyhow",
    )
    parser.add_argument("--kept", type=Path, default=Path("build/versions"), help="where embeddings are kept")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="where the figures are written")
    options = parser.parse_args(arguments)
    if (options.photos is None) != (options.pairs is None):
        parser.error("expected --photos and --pairs, or none of them")
    if options.held_out is not None and options.london is None:
        parser.error("expected --london with --held-out")
    repository = Settings().model_repository
    cards = versions_of(repository)
    figures: dict[str, Any] = json.loads(options.figures.read_text()) if options.figures.is_file() else {}
    forget_other_weights(figures, cards)
    with Console(stderr=True).status("starting") as status:
        if options.photos is not None:
            figures["versions"] = _measured(options, cards, status.update)
        measured = figures.get("versions", {})
        for number in {*cards} & {int(one) for one in measured}:
            replace = number in options.points
            cards[number] = with_points(cards[number], measured[str(number)]["operating_points"], replace=replace)
        for photos, labels in (
            (options.photos, options.labels),
            (options.london, options.london and options.london / "people.csv"),
        ):
            if photos is not None and labels is not None:
                samples = embeddings_of(photos, cards, options.kept, status.update)
                found = measure_version_groups(samples, labels, cards, photos.resolve().name, status.update)
                keep_groups(figures.setdefault("groups", {}), found)
        if options.london is not None:
            status.update("turned faces")
            samples = embeddings_of(options.london, cards, options.kept, status.update)
            named = {f"version {number}": one for number, one in samples.items()}
            figures["pose"] = turned_record(turned_rates(named))
            if options.held_out is not None:
                held_out = {**networks_of(options.held_out), "version 2": samples[2]}
                figures["folds"] = turned_record(turned_rates(held_out, folds=FOLDS))
        if options.times:
            before = conditions()
            size = (options.rounds, options.seconds)
            figures["times"] = {"conditions": before, **asyncio.run(measure_embedders(size, status.update))}
    options.figures.write_text(json.dumps(figures, indent=1) + "\n")
    if "versions" not in figures:
        parser.error(f"{options.figures} has no error rates yet; give --photos and --pairs")
    if options.write:
        cards = write_evaluations(repository, cards, figures)
        for document in DOCUMENTS:
            document.write_text(filled(refreshed(document.read_text(), figures, cards), map_tables(repository)))
    print_tables(versions_tables(figures, cards, _default(cards)))


def networks_of(folder: Path) -> dict[str, Samples]:
    """Return what the networks of folds gave for the people that they were not made with; the base comes first."""
    files = [path for path in folder.glob("*.npz") if not path.stem.endswith("changed")]
    files.sort(key=lambda path: (path.stem != "base", path.stem))
    return {path.stem.replace("-", " "): read_embeddings(path) for path in files}


def _measured(
    options: argparse.Namespace, cards: Mapping[int, ModelCard], progress: Callable[[str], None]
) -> dict[str, Any]:
    samples = embeddings_of(options.photos, cards, options.kept, progress)
    found = measure_versions(samples, read_pairs(options.pairs), options.photos.resolve().name, progress)
    return {
        str(number): {"model": card.model, "passes": card.passes, **found[number]} for number, card in cards.items()
    }


def forget_other_weights(figures: dict[str, Any], cards: Mapping[int, ModelCard]) -> None:
    """Remove what was measured of versions whose weights are others now, or that are gone. Times stay."""
    digests = {str(number): card.sha256 for number, card in cards.items()}
    measured = figures.get("digests", {})
    for number in [one for one in measured if measured[one] != digests.get(one)]:
        for part in ("versions", "groups"):
            figures.get(part, {}).pop(number, None)
        for found in figures.get("versions", {}).values():
            found["against"].pop(number, None)
        if "pose" in figures:
            figures["pose"] = [one for one in figures["pose"] if one["model"] != f"version {number}"]
    figures["digests"] = digests


def keep_groups(kept: dict[str, list[dict[str, Any]]], found: Mapping[int, list[dict[str, Any]]]) -> None:
    """Put groups in the place of those of the same version and photos."""
    for number, groups in found.items():
        photos = {one["measured_on"] for one in groups}
        others = [one for one in kept.get(str(number), ()) if one["measured_on"] not in photos]
        kept[str(number)] = [*others, *groups]


def _default(cards: Mapping[int, ModelCard]) -> int:
    """Return the default by the rule; 0 before anything was written into the cards."""
    try:
        return default_version(cards.values())
    except ValueError:
        return 0


def write_evaluations(
    repository: Path, cards: Mapping[int, ModelCard], figures: Mapping[str, Any]
) -> dict[int, ModelCard]:
    """Write evaluation and groups of every version into its card if it has the measured weights; return all cards."""
    written = dict(cards)
    for number, card in cards.items():
        found = figures["versions"].get(str(number))
        if found is not None and figures["digests"].get(str(number)) == card.sha256:
            groups = tuple(map(GroupFigures.model_validate, figures.get("groups", {}).get(str(number), ())))
            evaluation = Evaluation.model_validate(found["evaluation"])
            new = with_points(card, found["operating_points"]).model_copy(
                update={"evaluation": evaluation, "groups": groups or card.groups}
            )
            path = repository / card.model / str(number) / "card.json"
            if new != read_card(path):
                write_card(path, new)
            written[number] = new
    return written


def with_points(card: ModelCard, measured: Sequence[dict[str, Any]], *, replace: bool = False) -> ModelCard:
    """Return a card with the measured operating points if it has none, or with ``replace`` in the place of its own."""
    if card.operating_points and not replace:
        return card
    return card.model_copy(update={"operating_points": tuple(map(MeasuredPoint.model_validate, measured))})


def refreshed(document: str, figures: Mapping[str, Any], cards: Mapping[int, ModelCard]) -> str:
    """Return a document with the tables between its markers made again."""
    default = _default(cards)
    tables = versions_tables(figures, cards, default)
    texts = dict(zip(("figures", "differences", "comparisons", "times"), map(markdown_rows, tables), strict=False))
    if (one := figures["versions"].get(str(default))) is not None:
        table = markdown_rows(verification_table(one["verification"]))
        texts["verification"] = f"{verification_sentence(default, one['verification'])}\n\n{table}"
        texts["identification"] = identification_sentence(default, one)
    if "groups" in figures:
        texts["groups"] = markdown_rows(groups_table(figures["groups"], tuple(dict.fromkeys((BASE, str(default))))))
    if "pose" in figures:
        texts["pose"] = markdown_rows(pose_table(figures["pose"]))
    if "folds" in figures:
        texts["folds"] = markdown_rows(pose_table(figures["folds"]))
    if "times" in figures:
        texts["times"] += f"\n\n{conditions_sentence(figures['times'])}"
    return filled(document, texts)


def filled(document: str, texts: Mapping[str, str]) -> str:
    """Return a document with these texts between the markers of their names."""
    return MARKED.sub(
        lambda found: f"{found[1]}\n{texts[found[2]]}\n\n{found[4]}" if found[2] in texts else found[0], document
    )
