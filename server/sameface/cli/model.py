"""`sameface model …`: the files of the model repository."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sameface.cli.serve import load_settings
from sameface.settings import model_repository_source

app = typer.Typer(help="The models of the repository.", no_args_is_help=True)


@app.command()
def build() -> None:
    """Build every model.onnx from its pinned source; files with the right digest are left alone."""
    from sameface.models.build import build_models

    console = Console(stderr=True)
    settings = load_settings(None)
    with console.status("models") as status:
        report = build_models(
            settings.model_repository,
            source=model_repository_source(),
            cache=settings.cache_dir,
            progress=lambda step: status.update(f"models: {step}"),
        )
    console.print(f"models are ready in {report.repository}", soft_wrap=True, highlight=False)


@app.command()
def seal(
    model: Annotated[str, typer.Argument(help="for instance face_embedder")],
    version: Annotated[int, typer.Argument(help="its version folder")],
    weights: Annotated[
        Path | None, typer.Option(help="the ONNX file; default: what the version's recipe builds", show_default=False)
    ] = None,
) -> None:
    """Write the digest and the golden vector of a weights file into its card (for whoever makes a model version)."""
    from sameface.models.build import build_from_recipe
    from sameface.models.seal import seal as seal_card

    settings = load_settings(None)
    content = build_from_recipe(model, version, settings.cache_dir) if weights is None else weights.read_bytes()
    card_path = model_repository_source() / model / str(version) / "card.json"
    card = seal_card(card_path, content)
    print(f"{card_path}: sha256 {card.sha256}, golden vector of {len(card.golden.output)} numbers")
