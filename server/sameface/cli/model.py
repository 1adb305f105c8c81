"""`sameface model …`: the files of the model repository."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from sameface.cli.options import AsJson
from sameface.cli.output import note, print_json, print_table
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
            progress=lambda step: status.update(Text(f"models: {step}")),
        )
    note(f"models are ready in {report.repository}")


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


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List every model version of the repository, with its licences."""
    from sameface.inference.cards import read_cards

    cards = read_cards(load_settings(None).model_repository)
    if as_json:
        for card in cards:
            print_json(card.model_dump(mode="json", exclude={"golden"}))
        return
    print_table(
        ("model", "version", "", "licence of the weights", "training data"),
        (
            (card.model, str(card.version), card.title, card.licence.weights, card.licence.training_data)
            for card in cards
        ),
    )


@app.command()
def check(
    triton_url: Annotated[
        str, typer.Option(help="gRPC host:port of a running Triton; default: in process", show_default=False)
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Run every version's golden input and compare with its card; exit code 3 where one does not reproduce it."""
    import asyncio

    from sameface.inference.cards import read_cards
    from sameface.inference.check import check_digests, check_models
    from sameface.inference.onnx import OnnxInference
    from sameface.inference.triton import TritonInference

    settings = load_settings(None)
    cards = read_cards(settings.model_repository)

    async def run() -> dict[tuple[str, int], float]:
        url = triton_url or settings.triton_url
        inference = TritonInference(url, recovery_s=0.0) if url else OnnxInference(settings.model_repository)
        try:
            return await check_models(inference, cards)
        finally:
            await inference.aclose()

    if not (triton_url or settings.triton_url):
        check_digests(settings.model_repository, cards)
    cosines = asyncio.run(run())
    if as_json:
        for (model, version), cosine in cosines.items():
            print_json({"model": model, "version": version, "cosine": cosine})
        return
    print_table(
        ("model", "version", "cosine to its golden vector"),
        ((model, str(version), f"{cosine:.7f}") for (model, version), cosine in cosines.items()),
    )
