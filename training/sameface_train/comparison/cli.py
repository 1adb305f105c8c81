"""`sameface-train compare …`: several recipes on one budget, judged alike."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sameface.cli.output import note, print_table
from sameface_train.options import Device, Steps, Threads

if TYPE_CHECKING:
    from sameface_train.comparison.running import Judge
    from sameface_train.samples import Samples

app = typer.Typer(help="Train several recipes on one budget, and judge them alike.", no_args_is_help=True)

Out = Annotated[Path, typer.Option(help="folder of the runs and results.jsonl; what is there is not done again")]
Recipes = Annotated[list[str] | None, typer.Option("--recipe", help="repeatable; default: all that fit")]
Seeds = Annotated[int, typer.Option(min=1, help="runs of each recipe")]


@app.command("drawings")
def compare_drawings(
    data: Annotated[Path, typer.Argument(help="omniglot28.npz")],
    official: Annotated[Path, typer.Argument(help="folder of the 20 official runs")],
    out: Out,
    recipes: Recipes = None,
    seeds: Seeds = 3,
    steps: Steps = None,
    threads: Threads = 0,
    device: Device = "cpu",
) -> None:
    """Omniglot: 5- and 20-way one-shot among all characters, within alphabets, and the official runs."""
    from sameface_train.comparison import drawings
    from sameface_train.recipes import RECIPES
    from sameface_train.samples import read_omniglot, rotated

    judge = partial(
        drawings.judge, evaluation=read_omniglot(data, "evaluation"), official=drawings.read_official(official)
    )
    names = recipes or [name for name in RECIPES if name != "fine-tune"]
    _compare(names, "", seeds, steps, threads, rotated(read_omniglot(data, "background")), judge, out, device)


@app.command("signatures")
def compare_signatures(
    train_folder: Annotated[Path, typer.Argument(help="<signer>/{genuine,forgery}/*.jpg to train on")],
    judged_on: Annotated[Path, typer.Argument(help="the same of other signers")],
    out: Out,
    recipes: Recipes = None,
    seeds: Seeds = 3,
    steps: Steps = None,
    threads: Threads = 0,
    device: Device = "cpu",
) -> None:
    """Signatures: equal error rates against skilled and random forgeries, with five templates of each signer."""
    from sameface_train.comparison import signatures
    from sameface_train.errors import LeakedData
    from sameface_train.recipes import RECIPES

    learnt_on, others = signatures.read_signatures(train_folder), signatures.read_signatures(judged_on)
    if shared := sorted(set(learnt_on.groups) & set(others.groups)):
        raise LeakedData(f"{len(shared)} signers are in both folders, for instance {shared[0]}")
    names = recipes or [name for name in RECIPES if name not in ("fine-tune", "matching")]
    judge = partial(signatures.judge, held_out=others)
    _compare(names, "signatures", seeds, steps, threads, learnt_on, judge, out, device)


def _compare(
    names: list[str],
    task: str,
    seeds: int,
    steps: int | None,
    threads: int,
    samples: "Samples",
    judge: "Judge",
    out: Path,
    device: str,
) -> None:
    import torch

    from sameface_train.comparison.running import compare, summary
    from sameface_train.recipes import recipe as choose

    if threads:
        torch.set_num_threads(threads)
    chosen = [choose(name, task, **({"steps": steps} if steps else {})) for name in names]
    results = compare(chosen, range(seeds), samples, judge, out, device=device, note=note)
    headings, rows = summary(results)
    print_table(headings, rows)
