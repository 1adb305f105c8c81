"""`sameface serve`: run the service."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sameface.cli.options import ExitCode, InferenceName
from sameface.cli.output import visible
from sameface.core_dumps import forbid_core_dumps
from sameface.logs import log_to_stderr, quiet_grpc
from sameface.malloc_arenas import limit_malloc_arenas
from sameface_qdrant.errors import InvalidArgument, SamefaceError

if TYPE_CHECKING:
    from sameface.settings import Settings


def say_on_stderr(message: str) -> None:
    """Print a warning where a command prints its errors."""
    print(visible(f"sameface: warning: {message}"), file=sys.stderr)


def load_settings(config: Path | None, warn: Callable[[str], None] | None = say_on_stderr, **flags: Any) -> "Settings":
    """Return the settings. A flag overrides the environment, the environment the file, the file the default.

    A flag that is None was not given. ``warn`` is told of each variable that begins with SAMEFACE_ and that nobody
    reads; None: of none.

    Raises:
        InvalidArgument: a value is not allowed; the message names the field.
    """
    # Importing the settings takes as long as the rest of a command, and most commands do not need them.
    from pydantic import ValidationError

    from sameface.settings import Settings
    from sameface.variables import unknown_variables

    if config is not None:
        os.environ["SAMEFACE_CONFIG"] = str(config)
    if warn is not None:
        for unknown in unknown_variables(os.environ):
            warn(str(unknown))
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        problems = "; ".join(_problem(one["loc"], one["type"], one["msg"]) for one in error.errors(include_input=False))
        raise InvalidArgument(f"settings are wrong: {problems}", metadata={"field": "settings"}) from None
    except (FileNotFoundError, ValueError) as error:
        raise InvalidArgument(f"settings cannot be read: {error}", metadata={"field": "settings"}) from None


def _problem(place: tuple[int | str, ...], kind: str, message: str) -> str:
    from sameface.variables import PREFIX, known_variables, nearest

    name = ".".join(map(str, place))
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        meant = nearest(PREFIX + "__".join(map(str, place)).upper(), known_variables())
        meant = meant.removeprefix(PREFIX).replace("__", ".").lower()
        message = f"there is no such setting{meant and f'; did you mean {meant}?'}"
    return f"{name}: {message}"


def serve(
    config: Annotated[Path | None, typer.Option(help="TOML file with settings", show_default=False)] = None,
    listen: Annotated[str | None, typer.Option(help="host:port; port 0 picks a free one", show_default=False)] = None,
    http: Annotated[
        str | None, typer.Option(help="host:port of HTTP (REST/JSON and gRPC-Web); off by default", show_default=False)
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="folder of the embedded store", show_default=False)] = None,
    model_repository: Annotated[Path | None, typer.Option(help="Triton model repository", show_default=False)] = None,
    inference: Annotated[
        InferenceName | None,
        typer.Option(help="run models with Triton, or the ONNX files in process", show_default=False),
    ] = None,
    triton_url: Annotated[
        str | None, typer.Option(help="gRPC host:port of a running Triton", show_default=False)
    ] = None,
    qdrant_url: Annotated[
        str | None,
        typer.Option(help="URL of a Qdrant server, or of its nodes with commas between them", show_default=False),
    ] = None,
    embedder_version: Annotated[
        int | None,
        typer.Option(help="version of the embedder for new galleries; default: the promoted one", show_default=False),
    ] = None,
    embedder_runtime: Annotated[
        Literal["onnxruntime", "openvino"] | None,
        typer.Option(help="run the embedder in ONNX Runtime, or in OpenVINO", show_default=False),
    ] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"] | None,
        typer.Option(help="lowest level that is logged", show_default=False),
    ] = None,
    log_format: Annotated[
        Literal["text", "json"] | None, typer.Option(help="how a line of the log is written", show_default=False)
    ] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="print the settings as JSON and exit")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the start-up line as JSON")] = False,
) -> None:
    """Run the service until SIGTERM or Ctrl-C.

    Examples: `sameface serve`, `sameface serve --triton-url triton:8001 --qdrant-url http://qdrant:6334`

    Every setting also has an environment variable, for instance `SAMEFACE_LISTEN`.
    """
    # The settings import gRPC.
    quiet_grpc()
    settings = load_settings(
        config,
        # Logged below, in the format of the log.
        warn=say_on_stderr if print_config else None,
        listen=listen,
        data_dir=data_dir,
        model_repository=model_repository,
        inference=inference,
        triton_url=triton_url,
        qdrant_url=qdrant_url,
        embedder_version=embedder_version,
        embedder_runtime=embedder_runtime,
        log_level=log_level,
        log_format=log_format,
        http={"listen": http} if http is not None else None,
    )
    from sameface.settings import available_cpus

    # Before the service and its libraries start threads.
    limit_malloc_arenas(available_cpus())
    if print_config:
        print(settings.model_dump_json(indent=2))
        return
    from sameface.tracing.spans import present_ids
    from sameface.variables import unknown_variables

    log_to_stderr(settings.log_level, settings.log_format, present_ids)

    for unknown in unknown_variables(os.environ):
        logging.getLogger(__name__).warning("%s", unknown)
    if not settings.core_dumps:
        forbid_core_dumps()
    # The service takes long to import; --help and --print-config do not need it.
    from sameface.event_loop import loop_factory
    from sameface.service import Started, run_service

    def announce(started: Started) -> None:
        if as_json:
            line = {
                "address": started.address,
                "seconds": round(started.seconds, 3),
                "triton": started.triton_url,
                "store": started.store_location,
                "http": started.http,
                "metrics": started.metrics,
            }
            print(json.dumps(line), flush=True)
        else:
            print(started.line(), flush=True)

    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(run_service(settings, announce))
    except Exception as error:
        if settings.log_format == "text":
            raise
        if isinstance(error, SamefaceError):
            logging.getLogger(__name__).error("%s: %s", error.reason, error.message)
        else:
            logging.getLogger(__name__).exception("unexpected %s", type(error).__name__)
        raise typer.Exit(ExitCode.ERROR) from None
    finally:
        # Before the command says why it ends: what is left to be logged comes first.
        logging.shutdown()
