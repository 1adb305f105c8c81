"""`sameface model …`: builds and checks the model repository, and sets the default version of new galleries."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from sameface.cli.model_add import add
from sameface.cli.model_centre import centre
from sameface.cli.model_checks import checked_models, configured_models
from sameface.cli.model_figures import figures
from sameface.cli.model_map import map_
from sameface.cli.model_quantise import quantise
from sameface.cli.options import AsJson
from sameface.cli.output import note, print_json, print_table
from sameface.cli.serve import load_settings

if TYPE_CHECKING:
    from sameface.inference.cards import ModelCard
    from sameface.inference.defaults import ChosenVersion
    from sameface.settings import Settings

app = typer.Typer(
    help="Build, list and check models, and choose the default version of new galleries.", no_args_is_help=True
)

app.command()(add)
app.command()(figures)
app.command()(centre)
app.command()(quantise)
app.command("map")(map_)

TritonUrl = Annotated[
    str, typer.Option(help="gRPC host:port of a running Triton; default: run in this process", show_default=False)
]
RESTART = "a running service keeps the default that it started with; restart it to use the new one"


@app.command()
def build() -> None:
    """Build every model.onnx from its source. Files with the right digest are kept."""
    from sameface.models.build import build_models
    from sameface.settings import model_repository_source

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
    model: Annotated[str, typer.Argument(help="model, for instance face_embedder")],
    version: Annotated[int, typer.Argument(help="version, as its folder is named")],
    weights: Annotated[
        Path | None,
        typer.Option(help="ONNX file to serve; default: the version is built from its source", show_default=False),
    ] = None,
) -> None:
    """Write digest, golden vector and golden set of a new version into its card.

    Operating points and figures go if the digest changes, because they were measured with other weights.

    Example: `sameface model seal face_embedder 1001`
    """
    from sameface.inference.cards import read_card
    from sameface.models.build import build_version
    from sameface.models.seal import seal as seal_card

    settings = load_settings(None)
    repository = settings.model_repository
    content = build_version(repository, model, version, settings.cache_dir) if weights is None else weights.read_bytes()
    card_path = repository / model / str(version) / "card.json"
    had_points = card_path.is_file() and bool(read_card(card_path).operating_points)
    card = seal_card(card_path, content)
    faces = len(card.golden_set.outputs) if card.golden_set else 0
    print(
        f"{card_path}: sha256 {card.sha256}, golden vector of {len(card.golden.output)} numbers, {faces} golden faces"
    )
    if had_points and not card.operating_points:
        note(
            "the operating points were measured with other weights and are gone; measure them again: sameface evaluate"
        )


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List every model version with its licences, and mark each embedder's default for new galleries."""
    from sameface.inference.cards import EMBEDDER, read_all_cards
    from sameface.inference.embedders import is_default

    settings = load_settings(None)
    cards, chosen = read_all_cards(settings.model_repository), _chosen(settings)
    served = configured_models(settings).cards
    defaults = {(card.model, card.version) for card in served if is_default(card, served, chosen.version)}

    def default(card: "ModelCard") -> bool:
        return (card.model, card.version) in defaults

    if as_json:
        for card in cards:
            record = card.model_dump(mode="json", exclude={"golden": True, "golden_set": True, "centre": {"vector"}})
            print_json({**record, "default": default(card)})
        return
    print_table(
        ("model", "version", "", "", "licence of the weights", "training data", "restriction"),
        (
            (
                card.model,
                str(card.version),
                "default" if default(card) else "",
                card.title,
                card.licence.weights,
                card.licence.training_data,
                card.licence.restriction,
            )
            for card in cards
        ),
    )
    note(f"the default of {EMBEDDER} is named by {chosen.where}")


@app.command()
def check(triton_url: TritonUrl = "", as_json: AsJson = False) -> None:
    """Check that every version that is served reproduces the golden vector and golden set of its card.

    SAMEFACE_EMBEDDER_RUNTIME=openvino checks what serves with it. Exit code: 0 all do, 3 one does not.
    """
    settings = load_settings(None)
    checked = checked_models(settings, configured_models(settings).run, triton_url)
    if as_json:
        for one in checked:
            print_json(one.record())
        return
    print_table(
        ("model", "version", "cosine to golden vector", "least cosine to golden set", "mated", "non-mated"),
        (
            (
                one.card.model,
                str(one.card.version),
                f"{one.cosine:.7f}",
                f"{one.faces.smallest_cosine:.7f}" if one.faces else "–",
                _span(one.faces.mated if one.faces else ()),
                _span(one.faces.non_mated if one.faces else ()),
            )
            for one in checked
        ),
    )


@app.command()
def promote(
    version: Annotated[int, typer.Argument(help="version of face_embedder")], triton_url: TritonUrl = ""
) -> None:
    """Check a version and make it the default for new galleries. Existing galleries keep their version.

    Example: `sameface model promote 1001`

    The version must have the right digest and operating points, and reproduce its golden vector and golden set on the
    runtime that serves. A version whose licence forbids something is never the default; galleries name it.
    """
    from sameface.errors import ModelCheckFailed, ModelNotFound
    from sameface.inference.cards import EMBEDDER
    from sameface.inference.defaults import check_unrestricted, promoted, read_default, write_default
    from sameface.inference.embedders import embedder_versions
    from sameface.models.statement import check_card_states
    from sameface.settings import model_repository_source

    settings = load_settings(None)
    models = configured_models(settings)
    cards = embedder_versions(models.cards)
    about = {"model": EMBEDDER, "version": version}
    if version not in cards:
        raise ModelNotFound(
            f"{settings.model_repository} has no {EMBEDDER} version {version}; it has {sorted(cards)}. The setting "
            "embedder_runtime adds those for OpenVINO, and embedder_versions leaves out what it does not name",
            metadata=about,
        )
    card = cards[version]
    check_unrestricted(card)
    check_card_states(card, figures=False)
    if not card.points:
        raise ModelCheckFailed(
            f"{EMBEDDER} version {version} has no operating points, so new galleries would have no thresholds; measure "
            f"them: sameface evaluate operating-points PHOTOS --embedder-version {version} --write",
            metadata=about,
        )
    if card.golden_set is None:
        raise ModelCheckFailed(
            f"the card of {EMBEDDER} version {version} has no golden set; write it with "
            f"sameface model seal {EMBEDDER} {version}",
            metadata=about,
        )
    (checked,) = checked_models(settings, [embedder_versions(models.run)[version]], triton_url)
    default, _ = read_default(settings.model_repository, model_repository_source())
    if default.version == version:
        print(f"{EMBEDDER} version {version} is the default already")
        return
    path = write_default(settings.model_repository, promoted(default, version, _now()))
    assert checked.faces is not None
    print(
        f"{EMBEDDER} version {version} is the default of new galleries, version {default.version} was before ({path}); "
        f"golden vector {checked.cosine:.7f}, golden set {checked.faces.smallest_cosine:.7f}"
    )
    _tell_consequences(settings)


@app.command()
def rollback() -> None:
    """Undo the last promotion: the version before it is the default again. Existing galleries keep their version."""
    from sameface.errors import ModelNotFound
    from sameface.inference.cards import EMBEDDER
    from sameface.inference.defaults import check_unrestricted, read_default, rolled_back, write_default
    from sameface.inference.embedders import embedder_versions
    from sameface.settings import model_repository_source

    settings = load_settings(None)
    default, _ = read_default(settings.model_repository, model_repository_source())
    before = rolled_back(default, _now())
    cards = embedder_versions(configured_models(settings).cards)
    if before.version not in cards:
        raise ModelNotFound(
            f"{EMBEDDER} version {before.version} was the default before and is not in {settings.model_repository}; "
            "put it back, or promote another one",
            metadata={"model": EMBEDDER, "version": before.version},
        )
    check_unrestricted(cards[before.version])
    path = write_default(settings.model_repository, before)
    print(
        f"{EMBEDDER} version {before.version} is the default of new galleries again, version {default.version} was "
        f"before ({path})"
    )
    _tell_consequences(settings)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _span(scores: Sequence[float]) -> str:
    return f"{scores[0]:.3f} to {scores[-1]:.3f}" if scores else "–"


def _chosen(settings: "Settings") -> "ChosenVersion":
    from sameface.inference.defaults import chosen_version
    from sameface.settings import model_repository_source

    return chosen_version(settings.embedder_version, settings.model_repository, model_repository_source())


def _tell_consequences(settings: "Settings") -> None:
    note(RESTART)
    if settings.embedder_version is not None:
        note(f"the setting embedder_version is {settings.embedder_version} here, and overrides the default")
