"""`sameface triton …`: installs and runs the local Triton."""

import typer
from rich.console import Console
from rich.text import Text

from sameface.cli.model_checks import configured_models
from sameface.cli.output import note
from sameface.cli.serve import load_settings

app = typer.Typer(help="Install the local Triton, and run it.", no_args_is_help=True)


@app.command()
def install() -> None:
    """Install the local tritonserver in the cache folder. Later calls reuse it."""
    from sameface.inference.local.runtime import install_runtime

    console = Console(stderr=True)
    settings = load_settings(None)
    with console.status("Triton runtime") as status:
        runtime = install_runtime(settings.cache_dir, lambda step: status.update(Text(f"Triton runtime: {step}")))
    note(f"Triton runtime is ready in {runtime.root}")


@app.command()
def serve() -> None:
    """Run the local tritonserver until Ctrl-C, and restart it if it fails. Services reach it with --triton-url."""
    import asyncio
    import signal

    from sameface.inference.local.runtime import require_runtime
    from sameface.inference.local.server import LocalTriton

    settings = load_settings(None)

    async def run() -> None:
        cards = configured_models(settings).run
        server = LocalTriton(settings.model_repository, require_runtime(settings.cache_dir), cards)
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        await server.start()
        try:
            print(f"tritonserver answers gRPC on {server.grpc_url}, metrics on unix:{server.metrics}", flush=True)
            await stopping.wait()
        finally:
            await server.stop()

    asyncio.run(run())
