"""One page for a run: recipe, data, curves, figures of held-out identities with intervals, a map, the worst pairs."""

import base64
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sameface.evaluation.cross_comparison import CrossComparison
from sameface.evaluation.pictures import worst_pairs
from sameface.evaluation.report import Page, PhotoPair, Picture, verification_pictures, write_report
from sameface.evaluation.samples import Samples as Embedded
from sameface.evaluation.tables import Table, verification_tables
from sameface.evaluation.verification import TARGETS, verify
from sameface_qdrant.errors import NotEnoughData
from sameface_train.checkpoint import load_trained
from sameface_train.image_map import draw_map
from sameface_train.samples import Images, Samples
from sameface_train.signers import is_forged
from sameface_train.validation import CRITERION, Measured, embedded, without_forgeries

if TYPE_CHECKING:
    from sameface_train.trainer import Run

FILE_NAME = "report.html"
MAPPED = 10
"""Identities on the map."""
THUMBNAIL = 112
_PAIRS = 6


def write_run_report(run: "Run") -> None:
    """Write ``report.html`` of a run that is at its end: one file, which needs no other.

    Raises:
        OSError: the file cannot be written.
    """
    trained = load_trained(run.folder)
    tables, pictures = [_recipe_table(run), _data_table(run)], [_curves(run.folder)]
    high: Sequence[PhotoPair] = ()
    low: Sequence[PhotoPair] = ()
    if run.validation is not None:
        held_out = without_forgeries(run.validation)
        device = run.options.device
        vectors = replace(
            embedded(trained.network.to(device), held_out, trained.side, device),
            model=f"{run.recipe.name}, step {trained.step}",
        )
        try:
            found = verify(vectors, _targets(held_out))
        except NotEnoughData as error:
            tables.insert(0, Table("Held-out identities", ("", ""), (), (error.message,)))
        else:
            first = [
                replace(one, title="Held-out identities", notes=(*_about(run), *one.notes))
                for one in verification_tables(found)
            ]
            tables = [*first, *tables]
            plots = verification_pictures(found, vectors)
            pictures += [*plots[:2], _map(vectors, held_out, trained.step)]
            high, low = _pairs(found.comparison, vectors, held_out.images)
    page = Page(
        title=f"{run.recipe.name}: {run.folder.name}",
        summary=f"{run.recipe.paper}. {run.step} steps on {len(run.samples):,} images of "
        f"{len(run.samples.identities):,} identities, seed {run.options.seed}. The network kept is that of step "
        f"{trained.step}.",
        tables=tables,
        pictures=pictures,
        highest_non_mated=high,
        lowest_mated=low,
    )
    write_report(run.folder / FILE_NAME, page)


def _targets(held_out: Samples) -> tuple[float, ...]:
    """Return the target FMRs at which at least one non-mated comparison may match."""
    counts = np.bincount(held_out.labels)
    non_mated = (counts.sum() ** 2 - (counts**2).sum()) // 2
    return tuple(target for target in TARGETS if target * non_mated >= 1.0) or TARGETS[:1]


def _about(run: "Run") -> list[str]:
    assert run.validation is not None, "there are no held-out identities"
    notes = [f"{len(run.validation.identities):,} identities were held out; nothing was learnt from them."]
    if len(run.measured) > 1:
        notes.append(
            f"The network was chosen by them among {len(run.measured)} steps ({CRITERION}). So these figures are "
            "somewhat too good: measure on other identities before you rely on them."
        )
    if not run.recipe.by_cosine:
        notes.append(f"They are compared by cosine. {run.recipe.name} compares in another way, and looks worse here.")
    if any(is_forged(identity) for identity in run.validation.identities):
        notes.append(_forgeries(run.best or (run.measured[-1] if run.measured else None)))
    return notes


def _forgeries(measured: Measured | None) -> str:
    text = "These figures are without skilled forgeries, which sameface evaluate forgeries measures."
    if measured is None or measured.forgery_fmr is None:
        return text
    share, rate = measured.forgery_fmr, measured.fmr
    return f"{text} At the threshold of FMR {rate:.2g}, {share:.2%} of the forgeries are accepted by one genuine image."


def _recipe_table(run: "Run") -> Table:
    recipe, sampling, schedule = run.recipe, run.recipe.sampling, run.recipe.schedule
    changed = {name: value for name, value in recipe.to_dict()["augmentation"].items() if value}
    groups = f", from {sampling.groups} groups" if sampling.groups else ""
    rows = [
        ("loss", recipe.loss + (f", {recipe.miner} triplets" if recipe.miner else "")),
        ("margin", "soft" if recipe.soft else "–" if recipe.margin is None else f"{recipe.margin:g}"),
        ("backbone", f"{recipe.backbone}, {recipe.dimension} numbers"),
        ("batch", f"{sampling.identities} identities × {sampling.each} images{groups}"),
        (
            "schedule",
            f"{schedule.steps:,} steps, learning rate {schedule.learning_rate:g} after {schedule.warm_up} steps, "
            f"averaging {schedule.averaging:g}",
        ),
        ("augmentation", ", ".join(f"{name} {value:g}" for name, value in changed.items()) or "none"),
    ]
    if recipe.feature_scale is not None:
        rows.insert(2, ("scale of the cosines", f"{recipe.feature_scale:g}"))
    return Table("Recipe", ("", ""), tuple(rows))


def _data_table(run: "Run") -> Table:
    channels, height, width = run.samples.images.shape[1:]
    skipped = "; ".join(f"{len(names):,} {reason}" for reason, names in sorted(run.samples.skipped.items()))
    held_out = "none" if run.validation is None else f"{len(run.validation.identities):,}"
    rows = (
        ("trained on", f"{len(run.samples):,} images of {len(run.samples.identities):,} identities"),
        ("images", f"{'grey' if channels == 1 else 'RGB'}, {height} × {width} pixels"),
        ("held-out identities", held_out),
        ("left out", skipped or "nothing"),
    )
    return Table("Data", ("", ""), rows)


def _curves(folder: Path) -> Picture:
    uri = _uri((folder / "training.png").read_bytes())
    return Picture("The run, step by step. The same numbers are in log.csv.", uri=uri, wide=True)


def _map(vectors: Embedded, held_out: Samples, step: int) -> Picture:
    names = held_out.identities
    chosen = np.unique(np.linspace(0, len(names) - 1, min(MAPPED, len(names))).round().astype(int))
    flags = np.isin(held_out.labels, chosen)
    buffer = io.BytesIO()
    draw_map(
        vectors.vectors[flags],
        held_out.images[flags],
        held_out.labels[flags].tolist(),
        buffer,
        f"{len(chosen)} held-out identities at step {step}",
        names,
    )
    caption = "Held-out images where the network puts them. What overlaps in two dimensions may still be apart in all."
    return Picture(caption, uri=_uri(buffer.getvalue()), wide=True)


def _pairs(comparison: CrossComparison, vectors: Embedded, images: Images) -> tuple[list[PhotoPair], list[PhotoPair]]:
    """Return the non-mated pairs with the highest and the mated pairs with the lowest scores, with thumbnails."""
    high, low = (
        [
            PhotoPair(
                vectors.sample[one], vectors.sample[other], score, thumbnail(images[one]), thumbnail(images[other])
            )
            for one, other, score in pairs
        ]
        for pairs in worst_pairs(comparison, _PAIRS)
    )
    return high, low


def thumbnail(image: Images) -> str:
    """Return an image [C, H, W] as a data URI: whole, on a square ground; grey ones as dark strokes on white."""
    grey = len(image) == 1
    opened = Image.fromarray(255 - image[0] if grey else np.ascontiguousarray(image.transpose(1, 2, 0)))
    factor = THUMBNAIL / max(opened.size)
    size = (max(1, round(opened.width * factor)), max(1, round(opened.height * factor)))
    resized = opened.resize(size, Image.Resampling.NEAREST if factor > 1 else Image.Resampling.LANCZOS)
    ground = Image.new("RGB", (THUMBNAIL, THUMBNAIL), "#eef1f4")
    ground.paste(resized.convert("RGB"), ((THUMBNAIL - size[0]) // 2, (THUMBNAIL - size[1]) // 2))
    buffer = io.BytesIO()
    ground.save(buffer, format="PNG", optimize=True)
    return _uri(buffer.getvalue())


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
