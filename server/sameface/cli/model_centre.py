"""`sameface model centre`: computes the mean embedding that a version of the embedder subtracts."""

from pathlib import Path
from typing import Annotated

import typer

from sameface.cli.output import note
from sameface.cli.serve import load_settings


def centre(
    model: Annotated[str, typer.Argument(help="face_embedder or face_embedder_openvino")],
    version: Annotated[int, typer.Argument(help="version, as its folder is named")],
    faces: Annotated[
        Path,
        typer.Argument(help="folder of aligned faces, as `sameface-train prepare` makes them", show_default=False),
    ],
    measured_on: Annotated[str, typer.Option(help="what the faces are, for the card", show_default=False)],
    most: Annotated[int, typer.Option("--faces", min=1, help="how many of the faces to use")] = 10_000,
) -> None:
    """Compute the mean embedding over aligned faces, and write it into the card. The version then subtracts it.

    The mean is that of the version's trunk, averaged over mirror images if the card says so. Never use faces that judge
    the version. A sealed version with operating points is refused, because galleries may be bound to it.

    Example: `sameface model centre face_embedder 1001 crops --measured-on "our staff, 2026"`
    """
    from sameface.models.centre import write_centre

    settings = load_settings(None)
    made = write_centre(
        settings.model_repository,
        settings.cache_dir,
        model=model,
        version=version,
        faces=faces,
        most=most,
        measured_on=measured_on,
    )
    length = sum(value * value for value in made.vector) ** 0.5
    print(f"{model} version {version}: centre of length {length:.4f}, the mean over {made.photos} faces")
    note(f"next: sameface model seal {model} {version}, and sameface model build")
