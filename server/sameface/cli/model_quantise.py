"""`sameface model quantise`: makes a faster version of the embedder for OpenVINO."""

from pathlib import Path
from typing import Annotated

import typer

from sameface.cli.output import note
from sameface.cli.serve import load_settings


def quantise(
    faces: Annotated[
        Path,
        typer.Argument(help="folder of aligned faces of people that the network was trained on", show_default=False),
    ],
    of: Annotated[int, typer.Option(help="version of face_embedder to quantise", show_default=False)],
    version: Annotated[int, typer.Option(min=1, help="number of the new version", show_default=False)],
    most: Annotated[int, typer.Option("--faces", min=1, help="how many of the faces to use")] = 300,
) -> None:
    """Quantise a version of the embedder to 8 bits, for OpenVINO. Its answers are others, so it gets a new number.

    Example: `sameface model quantise crops --of 2 --version 1101`
    """
    from sameface.inference.cards import OPENVINO_EMBEDDER
    from sameface.models.quantised_version import make_quantised_version

    settings = load_settings(None)
    made = make_quantised_version(
        settings.model_repository, settings.cache_dir, of=of, version=version, faces=faces, most=most
    )
    print(f"{made.folder}: {made.weights_bytes / 1e6:.1f} MB, calibrated on {made.faces} faces")
    note(
        f"next: complete the card, then sameface model seal {OPENVINO_EMBEDDER} {version}, sameface model build, and "
        f"sameface evaluate operating-points PHOTOS --embedder-version {version} --write"
    )
