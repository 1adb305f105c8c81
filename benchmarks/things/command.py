"""`python -m benchmarks things`: characters and signatures on the service, from training to held-out decisions.

Trains an embedder of each (the recipe `triplet` as it comes), exports both beside the models of faces, and measures
thresholds on development identities. Then a service on the local Triton, and one on ONNX Runtime, enrols one image of
each held-out identity, and answers claims and searches of their other images, over gRPC. No identity is in two of the
three parts. The runs are kept in the folder; the rest is made again.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.conditions import conditions, conditions_rows
from benchmarks.results import print_tables
from benchmarks.things.attempts import Attempt, Progress, claims, draw, searches
from benchmarks.things.official import official_runs
from benchmarks.things.picture import scores_png
from benchmarks.things.rates import agreement_table, claims_table, searches_table
from benchmarks.things.splits import Thing, characters, signatures
from benchmarks.things.steps import Thresholds, export, from_card, from_pairs, new_repository, train
from sameface.client import Client
from sameface.evaluation.tables import Table
from sameface.launcher import served
from sameface_qdrant.calibration.report import rate_text

STEPS = {"characters": 600, "signatures": 300}
TARGETS = {"characters": 1e-3, "signatures": 1e-2}
"""FMRs that the development identities support; 30 signers do not support 1e-3."""
Found = dict[str, dict[str, list[Attempt]]]
"""By inference and by name of the thing: claims, then searches."""


def main(arguments: Sequence[str]) -> None:
    """Measure and print; ``--json`` for programs."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks things", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--omniglot", type=Path, metavar="FILE", help="omniglot28.npz")
    parser.add_argument("--official", type=Path, metavar="FOLDER", help="Omniglot's 20 official runs, all_runs")
    parser.add_argument("--signatures", type=Path, metavar="FOLDER", help="<signer>/{genuine,forgery}/ to train on")
    parser.add_argument("--held-out", type=Path, metavar="FOLDER", help="the same of other signers, to report")
    parser.add_argument("--probes", type=int, default=659, help="most probes of each thing (default 659)")
    parser.add_argument("--character-steps", type=int, default=STEPS["characters"], help="of training (default 600)")
    parser.add_argument("--signature-steps", type=int, default=STEPS["signatures"], help="of training (default 300)")
    parser.add_argument(
        "--inference", nargs="+", choices=("triton", "onnx"), default=["triton", "onnx"], help="default both"
    )
    parser.add_argument("--folder", type=Path, default=Path("build/things"), help="default build/things")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    options = parser.parse_args(arguments)
    if options.omniglot is None and options.signatures is None:
        parser.error("expected --omniglot FILE, or --signatures FOLDER with --held-out FOLDER, or all of them")
    if (options.signatures is None) != (options.held_out is None):
        parser.error("expected --signatures and --held-out together: signers to train on, and others to report")
    if options.probes < 2:
        parser.error("expected --probes 2 or more")
    figures, tables = measure(options)
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    if options.json:
        json.dump(figures, sys.stdout, indent=1)
        print()
        return
    print_tables(tables)
    print(f"figures and picture: {options.folder}/figures.json, {options.folder}/scores.png")


def measure(options: argparse.Namespace) -> tuple[dict[str, Any], list[Table]]:
    """Return the figures, and tables of them."""
    folder: Path = options.folder.resolve()
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    before = conditions()
    with Console(stderr=True).status("data") as status:
        things = []
        if options.omniglot:
            things.append(characters(options.omniglot, folder / "omniglot"))
        if options.signatures:
            things.append(signatures(options.signatures, options.held_out, folder / "signatures"))
        steps = {"characters": options.character_steps, "signatures": options.signature_steps}
        trained = {thing.name: train(thing, folder, steps[thing.name]) for thing in things}
        repository = new_repository(folder)
        for thing in things:
            export(thing, folder, repository)
        thresholds = measured_thresholds(things, folder, repository)
        found: Found = {}
        official = None
        for place, inference in enumerate(options.inference):
            with serving(folder, repository, inference) as service, Client(service.address) as client:
                found[inference] = {
                    thing.name: attempts(client, thing, thresholds[thing.name], options.probes, status.update)
                    for thing in things
                }
                if options.official and options.omniglot and not place:
                    official = official_runs(client, "characters", options.official, status.update)
    scores_png(found[options.inference[0]], folder / "scores.png")
    tables = []
    for thing in things:
        for inference, of_inference in found.items():
            own = of_inference[thing.name]
            tables.append(claims_table(f"{thing.name}: claims, {inference}", own))
            tables.append(searches_table(f"{thing.name}: searches, {inference}", own))
    if len(found) == 2:
        tables.append(agreement_table(found))
    if official:
        tables.append(official)
    tables.append(trained_table(trained, thresholds))
    tables.append(Table("Conditions", ("", ""), conditions_rows(before)))
    figures = {
        "conditions": before,
        "trained": trained,
        "tables": [
            {"title": one.title, "headings": one.headings, "rows": one.rows, "notes": one.notes} for one in tables
        ],
        "attempts": {
            inference: {name: [one.to_dict() for one in own] for name, own in of_inference.items()}
            for inference, of_inference in found.items()
        },
    }
    return figures, tables


def trained_table(trained: Mapping[str, dict[str, Any]], thresholds: Mapping[str, Thresholds]) -> Table:
    """Return what the training took, and what the thresholds are of."""
    rows = []
    for name, took in trained.items():
        own = thresholds[name]
        rows.append((name, *map(str, took.values()), own.measured_on, own.rates, rate_text(own.fnmr)))
    headings = ("", "steps", "processor, s", "by the clock, s", "thresholds from", "for", "FNMR there")
    return Table("Training on one thread, and thresholds", headings, tuple(rows))


def measured_thresholds(things: Sequence[Thing], folder: Path, repository: Path) -> dict[str, Thresholds]:
    """Measure thresholds with a service of their own: characters for the card, signatures for the policy."""
    with serving(folder, repository, "onnx") as service:
        return {
            thing.name: from_pairs(thing, service.address, TARGETS[thing.name])
            if thing.name == "signatures"
            else from_card(thing, service.address, repository, TARGETS[thing.name])
            for thing in things
        }


def serving(folder: Path, repository: Path, inference: str) -> Any:
    """Start a service of the repository with an empty store."""
    shutil.rmtree(folder / "store", ignore_errors=True)
    flags = ["--model-repository", str(repository), "--inference", inference]
    return served(folder / "store", folder / f"{inference}.log", flags)


def attempts(client: Client, thing: Thing, thresholds: Thresholds, most: int, progress: Progress) -> list[Attempt]:
    """Make the galleries of a thing, enrol, claim and search. Look-alikes are enrolled too: they belong to the data."""
    drawn = draw(thing.held_out, most)
    halves = [f"{thing.name}-{half}" for half in ("one", "two")]
    for gallery in (thing.name, *halves):
        client.create_gallery(gallery, embedder_model=thing.name, on_collision="warn", **thresholds.policy)  # type: ignore[arg-type]
    return [*claims(client, thing.name, drawn, progress), *searches(client, halves, drawn, progress)]
