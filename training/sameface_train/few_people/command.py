"""`sameface-train few-people`: fine-tunes the pretrained face network on few people, and judges it in folds."""

from pathlib import Path
from typing import Annotated

import typer

from sameface.cli.output import note, print_json, print_table
from sameface_train.options import AsJson, Change, Steps, Threads, changes, interruptible
from sameface_train.reading import read_shown, shown_progress

Folder = Annotated[Path, typer.Argument(help="folder that `sameface-train prepare` made, one sub-folder per person")]


def few_people_command(
    data: Folder,
    run: Annotated[Path, typer.Option(help="folder of the run; an interrupted run is continued")],
    folds: Annotated[int, typer.Option(min=0, help="folds over people; 0: measure nothing, with --share")] = 5,
    share: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="how far the weights go from the pretrained to the trained ones",
            show_default="what the held-out people choose",
        ),
    ] = None,
    copies: Annotated[int, typer.Option(min=1, help="changed copies of each photo")] = 8,
    mixtures: Annotated[int, typer.Option(min=0, help="mixtures of two people, for the teacher alone")] = 600,
    steps: Steps = None,
    change: Change = None,
    seed: Annotated[int, typer.Option(min=0, help="seed of all random choices")] = 0,
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Fine-tune the pretrained face network on tens of people. You may interrupt it; the same command continues.

    The network is trained to be averaged over a photo and its mirror image. People in folds choose how far the weights
    move.

    Example: `sameface-train few-people prepared --run runs/few`
    """
    import torch

    from sameface.models.weights import FILE_NAME
    from sameface_train.checkpoint import alone, load_trained
    from sameface_train.export import export
    from sameface_train.few_people.copies import Amounts
    from sameface_train.few_people.folds import FMRS, HeldOut, choose_share
    from sameface_train.few_people.learning import Step
    from sameface_train.few_people.training import HELD_OUT, Plan, Watch, few_people_recipe, train_few_people
    from sameface_train.memory import keep_freed_memory

    if threads:
        torch.set_num_threads(threads)
    keep_freed_memory()
    recipe = few_people_recipe(**changes(change, steps))
    plan = Plan(
        recipe,
        amounts=Amounts(copies, mixtures),
        folds=folds,
        share=share,
        seed=seed,
    )
    samples = read_shown(data, recipe.backbone, "")

    def stepped(fold: int | None, step: Step) -> None:
        if step.number % 20 == 0 or step.number == recipe.schedule.steps:
            where = "all people" if fold is None else f"fold {fold}"
            note(f"{where}, step {step.number}: loss {step.loss:.4f}, {step.active:.0%} of triplets violate the margin")

    with interruptible(), alone(run), shown_progress("copying") as copied:
        taken = train_few_people(samples, run, plan, Watch(note, copied, stepped))
    content, cosine = export(load_trained(run))
    (run / FILE_NAME).write_bytes(content)
    held_out = HeldOut.read(run / HELD_OUT) if folds else None
    figures = {} if held_out is None else choose_share(held_out.vectors, held_out.labels, held_out.folds)[1]
    if as_json:
        rows = {name: {"fnmr": one.fnmr, "separation": one.separation} for name, one in figures.items()}
        print_json({"run": str(run), "share": taken, "cosine": cosine, "held_out": rows})
        return
    if figures:
        print_table(
            ("held-out people", *(f"FNMR at FMR {rate:g}" for rate in FMRS), "d′"),
            ((name, *(f"{rate:.2%}" for rate in one.fnmr), f"{one.separation:.3f}") for name, one in figures.items()),
        )
    print(
        f"{run / FILE_NAME}: {taken:g} of the way to the trained weights; {len(content):,} bytes, smallest cosine to "
        f"PyTorch {cosine:.7f}"
    )
