"""`sameface model add`: puts a model that the user brings into the model repository."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from sameface.cli.output import note
from sameface.cli.serve import load_settings


def add(
    model: Annotated[
        str,
        typer.Argument(
            help="face_pad: presentation attack detection; any other name: an embedder of whole images",
            show_default=False,
        ),
    ],
    file: Annotated[Path, typer.Argument(help="ONNX file that keeps the tensor contract", show_default=False)],
    licence: Annotated[
        str, typer.Option(help="licence of the weights; unknown if you do not know it", show_default="must be given")
    ] = "",
    training_data: Annotated[
        str,
        typer.Option(
            help="what the weights were trained on, with its terms; unknown if you do not know it",
            show_default="must be given",
        ),
    ] = "",
    origin: Annotated[
        str,
        typer.Option(
            "--source",
            help="where the file comes from: an address, a package with its version, or the command that made it",
            show_default="must be given",
        ),
    ] = "",
    figures: Annotated[
        str,
        typer.Option(
            help="what was measured, on what, and by whom; not measured if nothing was", show_default="must be given"
        ),
    ] = "",
    version: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="its version; an existing one is never overwritten",
            show_default="1 for face_pad, else the next one",
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="title of the card", show_default=False)] = "",
    restriction: Annotated[str, typer.Option(help="what the licence forbids, in a sentence", show_default=False)] = "",
    about: Annotated[str, typer.Option("--note", help="anything else that is known", show_default=False)] = "",
    fit: Annotated[
        Literal["pad", "stretch"],
        typer.Option(help="embedder: how an image of another shape becomes the input: keep its aspect, or not"),
    ] = "pad",
    strokes: Annotated[
        Literal["as-is", "bright", "isolated"],
        typer.Option(help="embedder: what is done to the strokes of a drawing first"),
    ] = "as-is",
) -> None:
    """Check an ONNX file against the tensor contract, and add it with a sealed card. The next start serves it.

    Licence, training data, source and figures go into the card. Without one of them, nothing is added.

    Examples:

    `sameface model add face_pad pad.onnx --licence MIT --training-data "our own photos, 2026" --source "our run 12"
    --figures "APCER 3 % on 400 prints of ours"`

    `sameface model add products products.onnx --licence ours --training-data "our catalogue" --source "our run 7"
    --figures "not measured"`
    """
    from sameface.models.add import add_pad
    from sameface.models.statement import Statement

    repository = load_settings(None).model_repository
    if model == "face_pad":
        stated = Statement(licence, training_data, origin, figures, restriction=restriction, note=about)
        if title:
            stated = replace(stated, title=title)
        card = add_pad(repository, file, stated, version or 1)
        following = "measure it on photos of yours before a gallery rejects anything: sameface evaluate pad LIVE ATTACK"
    else:
        from sameface.models.whole_image import add_embedder, image_of

        content = file.read_bytes()
        name = title or f"{model}, added by the operator"
        stated = Statement(licence, training_data, origin, figures, name, restriction, about)
        card = add_embedder(repository, model, content, image_of(content, fit, strokes), stated, version=version)
        following = (
            f"measure thresholds: sameface evaluate operating-points FOLDER --embedder-model {model} "
            f"--embedder-version {card.version} --write"
        )
    numbers = card.golden.output if model == "face_pad" else f"of {len(card.golden.output)} numbers"
    print(f"{repository / card.model / str(card.version)}: sha256 {card.sha256}, golden vector {numbers}")
    note("restart the service to serve it; remove the folder to take it out again")
    note(following)
