"""`sameface evaluate compatibility`: what a change of the model does to the templates that are stored."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sameface.cli.evaluate.results import show, write_page
from sameface.cli.evaluate.sources import Address, AsJson, Html, Model, Replicates, Runtime, Seed, Source, load
from sameface.cli.output import note
from sameface.cli.serve import load_settings
from sameface_qdrant.errors import InvalidArgument, MapMismatch

if TYPE_CHECKING:
    from sameface.cli.options import InferenceName
    from sameface.evaluation.samples import Samples
    from sameface_qdrant.values.template_map import TemplateMap


def compatibility(
    old: Annotated[int, typer.Argument(help="version of the stored templates")],
    new: Annotated[int, typer.Argument(help="version of the probes")],
    folder: Annotated[
        Path | None,
        typer.Argument(help="folder with one sub-folder of images per identity", show_default=False),
    ] = None,
    embeddings: Annotated[
        list[Path] | None,
        typer.Option(metavar="NPZ", help="file of embeddings; give it twice, for OLD and for NEW", show_default=False),
    ] = None,
    map_file: Annotated[
        Path | None,
        typer.Option(
            "--map",
            metavar="NPZ",
            help="template map; default: that of the model repository, if it has one",
            show_default=False,
        ),
    ] = None,
    model: Model = "",
    fmrs: Annotated[
        list[float] | None,
        typer.Option(
            "--fmr",
            help="measure FNMR at this FMR, above 0 and below 1; may be repeated",
            show_default="1e-3, 1e-4 and 1e-5",
        ),
    ] = None,
    address: Address = None,
    inference: Runtime = "triton",
    replicates: Replicates = 1000,
    seed: Seed = 0,
    html: Html = None,
    png: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write the DET curves as a picture", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print error rates of stored templates of version OLD against probes of version NEW, mapped and unmapped.

    Example: `sameface evaluate compatibility 1 3 my_photos`

    Beside them are those of each version alone. Use photos of people that the map was not fitted to.
    """
    from sameface.evaluation.compatibility import FMRS, in_order_of, measure_compatibility
    from sameface.evaluation.compatibility_report import (
        compatibility_det,
        compatibility_pictures,
        compatibility_record,
        compatibility_tables,
    )
    from sameface.evaluation.records import conditions
    from sameface.evaluation.report import Page
    from sameface.evaluation.tables import conditions_table

    if wrong := [one for one in fmrs or () if not 0.0 < one < 1.0]:
        raise InvalidArgument(f"--fmr is {wrong[0]:g}; expected above 0 and below 1", metadata={"field": "fmr"})
    template_map = _map(old, new, model, map_file)
    first, second = _sources(folder, embeddings or [], (old, new), model, address, inference)
    before = in_order_of(first.samples, second.samples)
    mapped = None
    if template_map is not None:
        _check_fits(template_map, before, second.samples)
        mapped = template_map.applied(before.vectors)
    found = measure_compatibility(before, second.samples, mapped, fmrs=fmrs or FMRS, replicates=replicates, seed=seed)
    measured_on = [conditions(one.name, one.samples) for one in (first, second)]
    tables = [
        *compatibility_tables(found, (old, new)),
        *(
            conditions_table(one, f"Conditions of version {version}")
            for one, version in zip(measured_on, (old, new), strict=True)
        ),
    ]
    if html is not None:
        page = Page(
            title=f"Stored templates of version {old} with probes of version {new}",
            summary="All combinations have the same pairs of samples and the same resampled identities.",
            tables=tables,
            pictures=compatibility_pictures(found),
        )
        write_page(html, page)
    if png is not None:
        compatibility_det(found).savefig(png, dpi=150)
        note(f"picture in {png}")
    digest = None if template_map is None else template_map.sha256
    show(tables, {**compatibility_record(found), "map_sha256": digest, "conditions": measured_on}, as_json)


def _map(old: int, new: int, model: str, path: Path | None) -> "TemplateMap | None":
    from sameface.inference.cards import EMBEDDER
    from sameface.inference.map_cards import MAP, map_folder, read_map
    from sameface_qdrant.values.template_map import TemplateMap

    if path is not None:
        return TemplateMap.from_bytes(path.read_bytes())
    folder = map_folder(load_settings(None).model_repository, model or EMBEDDER, old, new)
    if not (folder / MAP).is_file():
        note(f"there is no map from version {old} to {new}; mapped templates are left out. --map names a file")
        return None
    return read_map(folder)[1]


def _check_fits(template_map: "TemplateMap", old: "Samples", new: "Samples") -> None:
    """Check that a map is for the versions of the samples, as far as these say what they are of."""
    for samples, contract, which in ((old, template_map.old, "old"), (new, template_map.new, "new")):
        size = samples.vectors.shape[1]
        digest = samples.model.rpartition("sha256 ")[2]
        if size != contract.dimension or (digest != samples.model and digest != contract.sha256):
            raise MapMismatch(
                f"the {which} embeddings have {size} numbers and are by {samples.model or 'an unknown model'}; the map "
                f"expects {contract.dimension} by {contract.key} (sha256 {contract.sha256}); give the map of these two "
                "versions with --map, or fit one with `sameface model map`",
                metadata={"given": samples.model[:120], "expected": contract.key},
            )


def _sources(
    folder: Path | None,
    embeddings: list[Path],
    versions: tuple[int, int],
    model: str,
    address: str | None,
    inference: "InferenceName",
) -> tuple[Source, Source]:
    if len(embeddings) == 2:
        first, second = (load(folder, path, None, None, inference, 0) for path in embeddings)
    elif folder is not None and not embeddings:
        first, second = (load(folder, None, None, address, inference, version, model) for version in versions)
    else:
        raise InvalidArgument(
            f"{len(embeddings)} files of embeddings were given; expected a folder of images, or --embeddings twice, "
            "for OLD and for NEW",
            metadata={"field": "embeddings"},
        )
    return first, second
