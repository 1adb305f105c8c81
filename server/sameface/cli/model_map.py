"""`sameface model map`: fits a map that brings templates of one version of the embedder into the space of another."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from sameface.cli.evaluate.sources import Runtime, load
from sameface.cli.options import ExitCode
from sameface.cli.output import note
from sameface.cli.serve import load_settings
from sameface_qdrant.errors import InvalidArgument

if TYPE_CHECKING:
    from sameface.cli.options import InferenceName
    from sameface.models.mapping import Judges
    from sameface.models.mapping_fit import Form


def map_(
    old: Annotated[int, typer.Argument(help="version of the stored templates")],
    new: Annotated[int, typer.Argument(help="version of the probes")],
    faces: Annotated[
        Path,
        typer.Argument(
            help="folder of aligned faces, one folder for each person, as `sameface-train prepare` makes them",
            show_default=False,
        ),
    ],
    data: Annotated[str, typer.Option(help="what the faces are, and their licence, for the card", show_default=False)],
    judge: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="photos of other people that judge the map, one folder for each person; default: the people of FACES, "
            "each judged by a map that was fitted to others",
            show_default=False,
        ),
    ] = None,
    judge_embeddings: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="NPZ",
            help="file of embeddings of such photos; give it twice, for OLD and for NEW",
            show_default=False,
        ),
    ] = None,
    judge_name: Annotated[
        str, typer.Option(help="name of the photos that judge, for the card", show_default="name of the folder")
    ] = "",
    model: Annotated[str, typer.Option(help="the embedder")] = "face_embedder",
    form: Annotated[
        list[str] | None,
        typer.Option(help="ridge, orthogonal or network; may be repeated", show_default="the best of all"),
    ] = None,
    copies: Annotated[int, typer.Option(min=0, help="changed copies of each face")] = 4,
    mixtures: Annotated[int, typer.Option(min=0, help="mixtures of two people")] = 1500,
    seed: Annotated[int, typer.Option(help="seed of all random choices")] = 0,
    kept: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="keep the embeddings of the faces here", show_default=False),
    ] = None,
    inference: Runtime = "triton",
    accept_worse: Annotated[
        bool,
        typer.Option(
            "--accept-worse",
            help="let migrations take the map even if it does not win over OLD, or too few people judge it",
        ),
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="write the map in the place of one for these versions that exists")
    ] = False,
) -> None:
    """Fit a map from version OLD to version NEW, judge it, and write it into the model repository with its card.

    A gallery can then move to NEW without new photos: see `sameface migration`. Never fit to faces that judge.
    Exit code: 0 migrations take the map, 3 it is written and they do not; what is printed says why.

    Example: `sameface model map 1 3 prepared --data "our staff, 2026, by contract" --judge photos`
    """
    from sameface.evaluation.compatibility import JUDGED, Combination
    from sameface.models.mapping import make_map
    from sameface.models.mapping_faces import Amounts, read_people
    from sameface.models.mapping_files import check_no_map, write_map
    from sameface.models.mapping_rule import figures_lower, wins

    forms = _forms(form or [])
    settings = load_settings(None)
    if not replace:
        check_no_map(settings.model_repository, model, old, new)
    people = read_people(faces)
    judges = _judges(judge, judge_embeddings or [], judge_name, (old, new), model, inference)
    with Console(stderr=True).status("starting") as status:
        made = make_map(
            settings.model_repository,
            settings.cache_dir,
            model=model,
            old=old,
            new=new,
            faces=people,
            data=data,
            judges=judges,
            amounts=Amounts(copies, mixtures, seed),
            forms=forms,
            kept=kept,
            progress=lambda step, done, total: status.update(Text(f"{step} {done:,} of {total:,}")),
        )
    folder, card = write_map(settings.model_repository, made, accept_worse=accept_worse, replace=replace)
    fit, found = card.fit, card.evaluation
    print(
        f"{folder}: {fit.form} of strength {fit.strength:g}, fitted to {fit.photos:,} photos of {fit.people} people; "
        f"mean cosine to native templates {found.cosine.value:.4f}"
    )
    for name in (Combination.OLD, Combination.MAPPED, Combination.NEW):
        rates = ", ".join(f"{one.name} {100 * one.value.value:.2f} %" for one in made.found.figures[name].figures)
        print(f"{name}: {rates}")
    verdict = "wins" if wins(found) else "does not win"
    print(f"it {verdict} over version {old}: {figures_lower(found)} of {len(JUDGED)} figures that decide are lower")
    for doubt in card.doubts:
        note(doubt)
    if not card.is_default:
        note("so migrations do not take the map. If you accept that, give --accept-worse --replace")
        raise typer.Exit(ExitCode.ERROR)
    note("migrations take the map when the service has started again")


def _forms(given: list[str]) -> tuple["Form", ...]:
    from sameface.models.mapping_fit import Form

    for name in given:
        if name not in {*Form}:
            raise InvalidArgument(
                f"--form is {name[:40]!r}; expected one of {', '.join(Form)}", metadata={"field": "form"}
            )
    return tuple(map(Form, given)) or tuple(Form)


def _judges(
    folder: Path | None,
    embeddings: list[Path],
    name: str,
    versions: tuple[int, int],
    model: str,
    inference: "InferenceName",
) -> "Judges | None":
    from sameface.models.mapping import Judges

    if folder is None and not embeddings:
        return None
    if len(embeddings) == 2:
        old, new = (load(None, path, None, None, inference, 0) for path in embeddings)
    elif folder is not None and not embeddings:
        old, new = (load(folder, None, None, None, inference, version, model) for version in versions)
    else:
        raise InvalidArgument(
            f"{len(embeddings)} files of embeddings were given; expected --judge-embeddings twice, for OLD and for NEW",
            metadata={"field": "judge_embeddings"},
        )
    shown = name or (new.name if folder is None else folder.resolve().name)
    return Judges(old.samples, new.samples, shown)
