"""`sameface-train export`: puts the network of a run into a model repository."""

from pathlib import Path
from shlex import quote
from typing import Annotated, Literal

import typer

from sameface_train.options import RunFolder


def export_command(
    run: RunFolder,
    licence: Annotated[str, typer.Option(help="licence of the weights")],
    training_data: Annotated[str, typer.Option(help="what it was trained on, and its licence")],
    model: Annotated[
        str,
        typer.Option(help="name of the embedder; any name but face_embedder is an embedder of whole images"),
    ] = "face_embedder",
    version: Annotated[
        int | None,
        typer.Option(
            min=1, help="version to write; needed for face_embedder, otherwise the next one", show_default=False
        ),
    ] = None,
    repository: Annotated[
        Path | None,
        typer.Option(help="folder of models; default: the one that `sameface serve` serves", show_default=False),
    ] = None,
    title: Annotated[str, typer.Option(help="title of the model card", show_default="the run")] = "",
    restriction: Annotated[
        str, typer.Option(help="what the licence forbids, in one sentence; shown when a gallery is made")
    ] = "",
    fit: Annotated[
        Literal["pad", "stretch"],
        typer.Option(help="how an image of another size or shape becomes the network's: keep its aspect, or not"),
    ] = "pad",
    strokes: Annotated[
        Literal["as-is", "bright", "isolated"] | None,
        typer.Option(help="what is done to the strokes of a drawing first", show_default="as in the training"),
    ] = None,
) -> None:
    """Export the network of a run into a model repository: weights.onnx, model.onnx and a sealed card.

    Example: `sameface-train export runs/shapes --model shapes --licence ours --training-data "our own"`

    The export is checked against PyTorch. `sameface serve` serves it after its next start. Afterwards `sameface
    evaluate operating-points --write` measures thresholds. For faces, `sameface model promote` makes a version of
    face_embedder the default of new galleries.
    """
    from sameface.cli.serve import load_settings
    from sameface.models.statement import Statement, check_stated
    from sameface_train.checkpoint import load_trained
    from sameface_train.export import export
    from sameface_train.publish import publish, publish_embedder
    from sameface_train.validation import stated_figures

    of_faces = model == "face_embedder"
    if of_faces and (version is None or version < 2):
        raise typer.BadParameter(
            f"{version} was given; expected 2 or more for face_embedder, or an embedder of its own with --model NAME",
            param_hint="--version",
        )
    if of_faces and strokes is not None:
        raise typer.BadParameter("face_embedder takes aligned faces; it needs --model NAME", param_hint="--strokes")
    trained = load_trained(run)
    source = f"{run.name} of sameface-train"
    title = title or f"{trained.recipe.name}, {source}"
    figures = stated_figures(run / "validation.csv", trained.step)
    stated = Statement(licence, training_data, source, figures, title, restriction)
    check_stated(stated)
    content, cosine = export(trained, model)
    target = repository or load_settings(None).model_repository
    if of_faces:
        assert version is not None
        folder = publish(
            content,
            target,
            version,
            title=title,
            licence=licence,
            training_data=training_data,
            restriction=restriction,
            source=source,
        )
        following = f"sameface evaluate operating-points PHOTOS --embedder-version {version} --write"
    else:
        card = publish_embedder(
            trained, content, target, model, version, stated, source=source, fit=fit, strokes=strokes
        )
        folder = target / card.model / str(card.version)
        print(f"{folder}: preprocessing {card.preprocessing}")
        following = (
            f"sameface evaluate operating-points IMAGES --embedder-model {model} --embedder-version {card.version} "
            "--write"
        )
    print(f"{folder}: {len(content):,} bytes, smallest cosine to PyTorch {cosine:.7f}")
    if repository is not None:
        where = quote(str(repository))
        print(
            f"to serve it: SAMEFACE_MODEL_REPOSITORY={where} sameface model build, then sameface serve "
            f"--model-repository {where}"
        )
    print(f"next: {following}")
