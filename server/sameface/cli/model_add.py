"""`sameface model add`: puts a model that the user brings into the model repository."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from sameface.cli.output import note
from sameface.cli.serve import load_settings


def add(
    model: Annotated[Literal["face_pad"], typer.Argument(help="face_pad: presentation attack detection")],
    file: Annotated[Path, typer.Argument(help="ONNX file that keeps the tensor contract", show_default=False)],
    licence: Annotated[
        str, typer.Option(help="licence of the weights; unknown if you do not know it", show_default=False)
    ],
    training_data: Annotated[
        str,
        typer.Option(
            help="what the weights were trained on, with its terms; unknown if you do not know it", show_default=False
        ),
    ],
    version: Annotated[int, typer.Option(min=1, help="its version; an existing one is never overwritten")] = 1,
    title: Annotated[str, typer.Option(help="title of the card", show_default=False)] = "",
    restriction: Annotated[str, typer.Option(help="what the licence forbids, in a sentence", show_default=False)] = "",
    about: Annotated[
        str, typer.Option("--note", help="anything else that is known, for instance figures", show_default=False)
    ] = "",
) -> None:
    """Check an ONNX file against the tensor contract, and add it with a sealed card. The next start serves it.

    Example: `sameface model add face_pad pad.onnx --licence MIT --training-data "our own photos, 2026"`
    """
    from sameface.models.add import Statement, add_pad

    repository = load_settings(None).model_repository
    stated = Statement(licence, training_data, restriction=restriction, note=about)
    if title:
        stated = Statement(licence, training_data, title, restriction, about)
    card = add_pad(repository, file, stated, version)
    print(f"{repository / card.model / str(card.version)}: sha256 {card.sha256}, golden vector {card.golden.output}")
    note("restart the service to serve it; remove the folder to take it out again")
    note("measure it on photos of your own before a gallery rejects anything: sameface evaluate pad LIVE ATTACK")
