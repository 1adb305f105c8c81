"""`sameface-train compare …`: train recipes with the same budget, and measure them in the same way."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sameface.cli.output import note, print_table
from sameface_train.options import (
    Change,
    Device,
    Mirrored,
    Steps,
    Threads,
    changes,
    check_mirrored,
    interruptible,
    say_skipped,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from sameface_train.checkpoint import Trained
    from sameface_train.comparison.running import Judge
    from sameface_train.samples import Samples

app = typer.Typer(
    help="Train several recipes with the same budget, and measure them in the same way.", no_args_is_help=True
)

Out = Annotated[
    Path, typer.Option(help="folder of the runs, results.jsonl and results.png; finished runs are not repeated")
]
Recipes = Annotated[
    list[str] | None,
    typer.Option("--recipe", help="recipe to compare; may be repeated; default: all that suit the data"),
]
HEAD = {"identification": "head"}
"""The losses that have a second way of comparing, with its name."""

Seeds = Annotated[int, typer.Option(min=1, help="runs of each recipe")]


@app.command("drawings")
def compare_drawings(
    data: Annotated[Path, typer.Argument(help="omniglot28.npz")],
    official: Annotated[Path, typer.Argument(help="folder of the 20 official runs")],
    out: Out,
    recipes: Recipes = None,
    seeds: Seeds = 3,
    steps: Steps = None,
    change: Change = None,
    mirror: Mirrored = False,
    threads: Threads = 0,
    device: Device = "cpu",
) -> None:
    """Compare recipes on Omniglot by one-shot accuracy, in random episodes and in the official runs."""
    from sameface_train.comparison import drawings
    from sameface_train.recipes import RECIPES, recipe
    from sameface_train.samples import mirrored, read_omniglot, rotated

    judge = partial(
        drawings.judge, evaluation=read_omniglot(data, "evaluation"), official=drawings.read_official(official)
    )
    names = recipes or [name for name in RECIPES if name != "fine-tune"]
    changed = changes(change, steps)
    if mirror:
        check_mirrored(recipe(name, "drawings", **changed) for name in names)
    learnt_on = rotated(read_omniglot(data, "background"))
    _compare(
        names,
        "drawings",
        seeds,
        changed,
        threads,
        mirrored(learnt_on) if mirror else learnt_on,
        judge,
        out,
        device,
        HEAD,
    )


@app.command("signatures")
def compare_signatures(
    train_folder: Annotated[Path, typer.Argument(help="<signer>/{genuine,forgery}/*.jpg to train on")],
    judged_on: Annotated[Path, typer.Argument(help="the same for other signers, to measure on")],
    out: Out,
    recipes: Recipes = None,
    seeds: Seeds = 3,
    steps: Steps = None,
    change: Change = None,
    threads: Threads = 0,
    device: Device = "cpu",
) -> None:
    """Compare recipes on signatures by the EER for skilled and random forgeries, with five templates per signer."""
    from sameface_train.comparison import signatures
    from sameface_train.leakage import refuse_leakage
    from sameface_train.recipes import RECIPES

    refuse_leakage(train_folder, judged_on, allow=False, note=note)
    learnt_on, others = signatures.read_signatures(train_folder), signatures.read_signatures(judged_on)
    names = recipes or [name for name in RECIPES if name not in ("fine-tune", "matching")]
    judge = partial(signatures.judge, held_out=others)
    ways = HEAD | {"siamese": "gaussian", "triplet": "gaussian"}
    _compare(names, "signatures", seeds, changes(change, steps), threads, learnt_on, judge, out, device, ways)


@app.command("faces")
def compare_faces(
    train_folder: Annotated[Path, typer.Argument(help="prepared faces to train on, a folder per identity")],
    judged_on: Annotated[Path, typer.Argument(help="prepared faces of other people, to measure on")],
    out: Out,
    recipes: Recipes = None,
    seeds: Seeds = 1,
    steps: Steps = None,
    change: Change = None,
    threads: Threads = 0,
    device: Device = "cpu",
) -> None:
    """Compare recipes on faces by error rates over all pairs; each starts from the pretrained network."""
    from sameface_train.backbones import BACKBONES
    from sameface_train.comparison import faces
    from sameface_train.leakage import refuse_leakage
    from sameface_train.prepare import SLACK
    from sameface_train.recipes import RECIPES
    from sameface_train.samples import read_folder

    refuse_leakage(train_folder, judged_on, allow=False, note=note)
    side = BACKBONES["sface"].side[0] + 2 * SLACK
    learnt_on, others = (read_folder(folder, side=side) for folder in (train_folder, judged_on))
    judge = partial(faces.judge, held_out=others)
    baselines = {"(pretrained)": faces.pretrained}
    _compare(
        recipes or list(RECIPES),
        "faces",
        seeds,
        changes(change, steps),
        threads,
        learnt_on,
        judge,
        out,
        device,
        HEAD,
        baselines,
    )


def _compare(
    names: list[str],
    task: str,
    seeds: int,
    changed: dict[str, Any],
    threads: int,
    samples: "Samples",
    judge: "Judge",
    out: Path,
    device: str,
    ways: dict[str, str],
    baselines: "dict[str, Callable[[], Trained]] | None" = None,
) -> None:
    import torch

    from sameface_train.comparison.running import compare, summary
    from sameface_train.drawing import draw_results
    from sameface_train.memory import keep_freed_memory
    from sameface_train.recipes import recipe as choose

    if threads:
        torch.set_num_threads(threads)
    keep_freed_memory()
    chosen = [choose(name, task, **changed) for name in names]
    say_skipped(samples)
    with interruptible():
        results = compare(
            chosen, range(seeds), samples, judge, out, device=device, ways=ways, baselines=baselines, note=note
        )
    headings, rows = summary(results)
    if measures := headings[2:]:
        draw_results(results, measures, out / "results.png", f"{out.name}: each dot a seed, the line their mean")
    print_table(headings, rows)
