"""`sameface model …`: the files of the model repository."""

import typer
from rich.console import Console

from sameface.cli.serve import load_settings

app = typer.Typer(help="The models of the repository.", no_args_is_help=True)


@app.callback()
def _noun() -> None:
    """Keep `build` a verb of its own while it is the only one."""


@app.command()
def build() -> None:
    """Build every model.onnx from its pinned source; files with the right digest are left alone."""
    from sameface.models.build import build_models

    console = Console(stderr=True)
    settings = load_settings(None)
    with console.status("models") as status:
        report = build_models(
            settings.model_repository,
            cache=settings.cache_dir,
            progress=lambda step: status.update(f"models: {step}"),
        )
    console.print(f"models are ready in {report.repository}", soft_wrap=True, highlight=False)
