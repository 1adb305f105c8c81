"""`sameface demo`: enrols portraits, decides, and writes a report."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sameface.cli.options import InferenceName
from sameface.cli.output import coloured, note, visible
from sameface_qdrant.errors import InvalidArgument


def demo(
    portraits: Annotated[Path, typer.Option(help="folder of the portraits")] = Path("tests/data/portraits"),
    output: Annotated[Path, typer.Option(help="folder for report.html and report.json")] = Path("build/demo"),
    inference: Annotated[
        InferenceName, typer.Option(help="run models with the local tritonserver, or with ONNX Runtime in process")
    ] = "triton",
    script: Annotated[
        Path | None, typer.Option(help="TOML file with other decisions and expectations", show_default=False)
    ] = None,
) -> None:
    """Enrol real portraits, make decisions, and compare them with the expected outcomes.

    The command starts a service and stops it at the end. Exit code: 0 as expected, 1 another outcome, 3 error.
    """
    from sameface.client import connect
    from sameface.demo.cases import read_script
    from sameface.demo.report import decision_row, write_report
    from sameface.demo.run import run_script
    from sameface.launcher import served

    if not portraits.is_dir():
        raise InvalidArgument(
            f"{portraits} is not a folder; run this in a checkout, or give the folder with --portraits",
            metadata={"field": "portraits"},
        )
    console = Console(stderr=True)
    output.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with (
        TemporaryDirectory(prefix="sameface-demo-") as data_dir,
        console.status("starting") as status,
        served(Path(data_dir), output / "serve.log", ["--inference", inference]) as service,
    ):
        ready_s = time.monotonic() - began
        with connect(service.address) as connection:
            enrolled, decided = run_script(
                connection, read_script(script), portraits, lambda step: status.update(Text(step))
            )
            system = {**_system(connection), "seconds_to_ready": round(ready_s, 1)}
        status.update("stopping")
    credits_text = (portraits / "CREDITS.md").read_text(encoding="utf-8")
    write_report(output, enrolled, decided, system, credits_text)
    print_table([decision_row(record) for record in decided])
    print(f"report: {output / 'report.html'} and {output / 'report.json'}")
    if system["licence_restriction"]:
        note(system["licence_restriction"])
    as_expected = sum(record.as_expected for record in decided)
    print(f"demo: {as_expected} of {len(decided)} decisions as expected")
    if as_expected != len(decided):
        raise typer.Exit(1)


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print one line per decision."""
    table = Table(box=None, header_style="bold", padding=(0, 1))
    for heading in ("photo", "claim", "score", "threshold", "source", "lead", "outcome", "ms"):
        table.add_column(heading, justify="right" if heading in ("score", "threshold", "lead", "ms") else "left")
    for row in rows:
        expected = "" if row["as_expected"] else f"(expected {row['expected']})"
        photo = row["photo"].removesuffix(".jpg") + (" (embedding)" if row["given_as"] == "embedding" else "")
        table.add_row(
            Text(visible(photo)),
            Text(visible(f"{row['gallery']}/{row['claim'] or '?'}")),
            _number(row.get("score")),
            _number(row.get("threshold")),
            row.get("threshold_source", "–"),
            _number(row.get("lead")),
            coloured(row["outcome"], expected),
            f"{row['milliseconds']:.0f}",
        )
    Console(width=132 if not Console().is_terminal else None).print(table)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _system(connection: Any) -> dict[str, Any]:
    from sameface.inference.local.metrics import read_inference_counts
    from sameface.v1 import system_service_pb2

    answer = connection.system.GetServerInfo(system_service_pb2.GetServerInfoRequest())
    default = next(model for model in answer.models if model.default_embedder and not model.takes_whole_images)
    metrics = answer.inference_metrics_url.removeprefix("unix:")
    counts = read_inference_counts(Path(metrics)) if metrics else {}
    return {
        "sameface_version": answer.version,
        f"{answer.inference_runtime}_version": answer.inference_version,
        f"qdrant_{answer.store_engine}_version": answer.store_version,
        "models": [f"{model.name} v{model.version}: {model.title}" for model in answer.models],
        "embedder": f"{default.name} v{default.version}",
        "licence": default.licence,
        "licence_restriction": default.licence_restriction,
        "inference_counts": {f"{model} v{version}": count for (model, version), count in counts.items()},
    }
