"""`sameface triton …`: the local Triton runtime."""

import typer
from rich.console import Console

from sameface.cli.serve import load_settings

app = typer.Typer(help="The local Triton runtime.", no_args_is_help=True)


@app.callback()
def _noun() -> None:
    """Keep `install` a verb of its own while it is the only one."""


@app.command()
def install() -> None:
    """Prepare the runtime of the local tritonserver in the cache folder; done once, then reused."""
    from sameface.inference.local.runtime import install_runtime

    console = Console(stderr=True)
    settings = load_settings(None)
    with console.status("Triton runtime") as status:
        runtime = install_runtime(settings.cache_dir, lambda step: status.update(f"Triton runtime: {step}"))
    console.print(f"Triton runtime is ready in {runtime.root}", soft_wrap=True, highlight=False)
