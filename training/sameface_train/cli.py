"""The `sameface-train` command: prepare, train, embed, export, and compare the recipes."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sameface.cli.output import note, print_json, print_table
from sameface.libraries import keep_caches_in
from sameface.settings import cache_folder
from sameface_qdrant.errors import SamefaceError
from sameface_train.comparison.cli import app as compare_app
from sameface_train.export_command import export_command
from sameface_train.few_people.command import few_people_command
from sameface_train.options import AsJson, Data, Device, EmbeddingsFile, PictureFile, RunFolder
from sameface_train.reading import read_shown, shown_progress
from sameface_train.train_command import train_command

app = typer.Typer(
    name="sameface-train",
    help="Train an embedder with recipes from published papers, and export it into the model repository.",
    epilog="Exit codes: 0 done, 2 wrong usage, 3 something could not be done, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

app.add_typer(compare_app, name="compare")


@app.command("recipes")
def list_recipes(as_json: AsJson = False) -> None:
    """List the recipes with their papers."""
    from sameface_train.recipes import RECIPES

    if as_json:
        for recipe in RECIPES.values():
            print_json(recipe.to_dict())
        return
    print_table(
        ("recipe", "paper", "loss", "miner", "margin", "batch", "backbone"),
        (recipe.row() for recipe in RECIPES.values()),
    )


@app.command()
def prepare(
    photos: Annotated[Path, typer.Argument(help="folder with one sub-folder of raw photos per identity")],
    target: Annotated[Path, typer.Argument(help="folder for the aligned 128×128 images")],
    enforce_quality: Annotated[
        bool, typer.Option("--enforce-quality", help="leave out faces that the service's quality gate would refuse")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make training images from raw photos: find and align faces with the code of the service.

    Example: `sameface-train prepare my_photos prepared`
    """
    from sameface.cli.serve import load_settings
    from sameface.inference.onnx import OnnxInference
    from sameface_train.prepare import prepare as prepare_photos

    with shown_progress("preparing") as progress:
        inference = OnnxInference(load_settings(None).model_repository)
        done = prepare_photos(photos, target, inference, enforce_quality=enforce_quality, progress=progress)
    for reason, names in sorted(done.refused.items()):
        note(f"{reason}: {len(names)} left out, for instance {names[0]}")
    if done.alone:
        note(f"{len(done.alone)} identities have one image, for instance {done.alone[0]}")
    if as_json:
        refused = {reason: len(names) for reason, names in done.refused.items()}
        print_json(
            {"images": done.written, "identities": done.identities, "refused": refused, "alone": len(done.alone)}
        )
        return
    print(f"{done.written} images of {done.identities} identities in {target}")


app.command("train")(train_command)
app.command("few-people")(few_people_command)


@app.command()
def embed(
    run: RunFolder,
    data: Data,
    out: EmbeddingsFile,
    split: Annotated[str, typer.Option(help="part of omniglot28.npz: background or evaluation")] = "evaluation",
    allow_leakage: Annotated[
        bool, typer.Option("--allow-leakage", help="also embed identities that the run was trained on")
    ] = False,
    device: Device = "cpu",
) -> None:
    """Embed images with a run's network, for `sameface evaluate`. Identities of its training are refused.

    Example: `sameface-train embed runs/drawings others --out others.npz`
    """
    from sameface.evaluation.samples import Samples, write_embeddings
    from sameface_train.checkpoint import load_trained
    from sameface_train.embedding import embed as embed_images
    from sameface_train.embedding import unit
    from sameface_train.errors import LeakedData

    trained = load_trained(run)
    if not trained.recipe.by_cosine:
        note(f"evaluation compares by cosine. {trained.recipe.name} does not, and will look worse than it is")
    samples = read_shown(data, trained.recipe.backbone, split)
    if known := sorted(set(trained.identities) & set(samples.bases)):
        message = f"{len(known)} of {len(set(samples.bases))} identities were trained on, for instance {known[0]}"
        if not allow_leakage:
            raise LeakedData(
                f"{message}; embed other identities, or give --allow-leakage", metadata={"identities": len(known)}
            )
        note(message)
    with shown_progress("embedding") as progress:
        network = trained.network.to(device)
        vectors = unit(embed_images(network, samples.images, trained.side, device, progress=progress))
    identities = tuple(samples.bases[label] for label in samples.labels)
    model = f"{trained.recipe.name}, seed {trained.seed}, step {trained.step}"
    write_embeddings(out, Samples(vectors, identities, samples.names, model=model))
    print(f"{len(vectors)} embeddings of {len(set(identities))} identities in {out}")


@app.command("map")
def map_command(
    run: RunFolder,
    data: Data,
    out: PictureFile,
    identities: Annotated[int, typer.Option(min=1, help="how many identities to draw, taken evenly from all")] = 10,
    split: Annotated[str, typer.Option(help="part of omniglot28.npz: background or evaluation")] = "evaluation",
) -> None:
    """Draw images at the places of their embeddings, reduced to two dimensions."""
    import numpy as np

    from sameface_train.checkpoint import load_trained
    from sameface_train.embedding import embed as embed_images
    from sameface_train.image_map import draw_map

    trained = load_trained(run)
    samples = read_shown(data, trained.recipe.backbone, split)
    count = len(samples.identities)
    chosen = np.zeros(count, dtype=np.bool_)
    chosen[np.linspace(0, count - 1, min(identities, count)).round().astype(int)] = True
    samples = samples.of(chosen)
    vectors = embed_images(trained.network, samples.images, trained.side)
    title = f"{trained.recipe.name}, step {trained.step}"
    draw_map(vectors, samples.images, samples.labels.tolist(), out, title, samples.identities)
    print(f"{len(samples)} images of {len(samples.identities)} identities in {out}")


app.command("export")(export_command)


def main() -> None:
    """Run the command. An error is printed as one line on stderr, and the exit code is 3."""
    keep_caches_in(cache_folder())
    try:
        app()
    except SamefaceError as error:
        note(f"{error.reason}: {error.message}")
        sys.exit(3)


if __name__ == "__main__":
    main()
