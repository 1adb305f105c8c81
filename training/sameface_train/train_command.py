"""`sameface-train train`: the options of the command around `sameface_train.train`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sameface.cli.output import note, print_json
from sameface_train.options import (
    AsJson,
    Change,
    Data,
    Device,
    Mirrored,
    Steps,
    Threads,
    changes,
    check_mirrored,
    interruptible,
)
from sameface_train.reading import shown_progress

if TYPE_CHECKING:
    from sameface_train.api import FinishedRun


def train_command(
    recipe: Annotated[str, typer.Argument(help="name of a recipe; see `sameface-train recipes`")],
    data: Data,
    run: Annotated[Path, typer.Option(help="folder of the run; an interrupted run is continued")],
    seed: Annotated[int, typer.Option(min=0, help="seed of all random choices")] = 0,
    steps: Steps = None,
    change: Change = None,
    task: Annotated[
        str,
        typer.Option(help="drawings, signatures or faces: use the backbone, augmentation, batch and schedule for them"),
    ] = "",
    mirror: Mirrored = False,
    device: Device = "cpu",
    hold_out: Annotated[
        float, typer.Option(min=0, max=0.9, help="share of the identities to keep out of training and measure on")
    ] = 0.0,
    validate_every: Annotated[
        int,
        typer.Option(min=0, help="steps between two measurements, the best of which is kept; 0: only at the end"),
    ] = 0,
    judged_on: Annotated[
        list[Path] | None,
        typer.Option(
            help="folder of test images; training is refused if the data shares some of them; may be repeated"
        ),
    ] = None,
    allow_leakage: Annotated[
        bool, typer.Option("--allow-leakage", help="print what is shared with test images, and train")
    ] = False,
    on_collapse: Annotated[
        str, typer.Option(help="what to do if all embeddings become one point: stop or continue")
    ] = "stop",
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="also write TensorBoard events, in the run's folder tensorboard")
    ] = False,
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Train an embedder. You may interrupt it; the same command continues the run.

    Example: `sameface-train train triplet my_drawings --run runs/drawings --hold-out 0.1`
    """
    import torch

    from sameface_train.api import train
    from sameface_train.data import training_samples
    from sameface_train.leakage import refuse_leakage
    from sameface_train.memory import keep_freed_memory
    from sameface_train.monitor import live_view
    from sameface_train.recipes import recipe as choose

    if on_collapse not in ("stop", "continue"):
        raise typer.BadParameter(f"{on_collapse!r} was given; expected stop or continue", param_hint="--on-collapse")
    if threads:
        torch.set_num_threads(threads)
    keep_freed_memory()
    chosen = choose(recipe, task, **changes(change, steps))
    if mirror:
        check_mirrored([chosen])
    with shown_progress("reading") as progress:
        samples = training_samples(data, chosen.backbone, mirror=mirror, progress=progress)
    for folder in judged_on or ():
        refuse_leakage(data, folder, allow=allow_leakage, note=note)
    with interruptible(), live_view(chosen.name, chosen.schedule.steps) as view:
        done = train(
            chosen,
            samples,
            run,
            seed=seed,
            device=device,
            hold_out=hold_out,
            validate_every=validate_every,
            on_collapse="stop" if on_collapse == "stop" else "continue",
            tensorboard=tensorboard,
            on_step=view.see,
            on_measured=view.validated,
            note=note,
        )
    _print(done, as_json)


def _print(done: "FinishedRun", as_json: bool) -> None:
    last = done.log[-1]
    waited = sum(reading.waited_s for reading in done.log) / max(1e-9, sum(reading.step_s for reading in done.log))
    if as_json:
        best = {} if done.best is None else {"best_step": done.step, "held_out_fnmr": done.best.fnmr}
        record = {"run": str(done.folder), "steps": last.step, "loss": last.loss, "spread": last.spread}
        print_json({**record, **best, "data_wait": waited})
        return
    print(
        f"{last.step} steps, loss {last.loss:.4g}, spread {last.spread:.3f}, waited for data {waited:.1%} of the time; "
        f"curves and figures in {done.folder / 'report.html'}"
    )
    if done.best is not None and len(done.measured) > 1:
        print(f"network.pt is step {done.step}, the best of {len(done.measured)} measured steps; last.pt is the last")
