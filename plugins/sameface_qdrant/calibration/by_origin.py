"""Comparisons for thresholds of mapped templates: probes of the new model with templates that a map made. Pure."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sameface_qdrant.calibration.requests import CalibrationOptions, GalleryTemplates
from sameface_qdrant.calibration.thresholds import Calibration
from sameface_qdrant.errors import NotEnoughData
from sameface_qdrant.metrics.comparisons import Comparisons, labelled_scores
from sameface_qdrant.metrics.identity_scores import identity_scores
from sameface_qdrant.values.gallery import Gallery

_BLOCK = 256


def mapped_comparisons(
    probes: NDArray[np.float32],
    probe_identities: Sequence[str],
    mapped: NDArray[np.float32],
    mapped_identities: Sequence[str],
    *,
    max_comparisons: int,
    seed: int = 0,
) -> Comparisons:
    """Compare native embeddings, as probes, with the mapped templates of each identity; its best one counts.

    Two mapped templates are not compared with each other: both have the errors of the map, and no probe has.

    Args:
        probes: unit vectors [probes, dimension]: native templates, and people who are not enrolled.
        probe_identities: whom each shows.
        mapped: unit vectors [templates, dimension].
        mapped_identities: whose each is.
        max_comparisons: most non-mated comparisons; more are sampled.
        seed: of the sample.

    Raises:
        NotEnoughData: there is no mapped template, or no native embedding of another person.
    """
    names, owners = np.unique(np.array(mapped_identities, dtype=np.str_), return_inverse=True)
    if not names.size or not len(probes):
        raise NotEnoughData(
            f"the gallery has {len(mapped)} mapped templates and {len(probes)} native embeddings to compare them with; "
            "expected at least 1 of each. Until people are enrolled or renewed under the new model, the thresholds of "
            "the template map apply",
            metadata={"identities": len(names), "comparisons": 0},
        )
    order = np.argsort(owners, kind="stable")
    found: list[NDArray[np.float64]] = []
    first: list[NDArray[np.int64]] = []
    second: list[NDArray[np.int64]] = []
    rng = np.random.default_rng(seed)
    # The share of the non-mated comparisons that is kept, so that they are about as many as allowed.
    share = min(1.0, max_comparisons / max(1, len(probes) * names.size))
    for start in range(0, len(probes), _BLOCK):
        scores = identity_scores(probes[start : start + _BLOCK], mapped[order], owners[order])
        who = np.array(probe_identities[start : start + _BLOCK], dtype=np.str_)
        kept = (who[:, None] == names[None, :]) | (rng.random(scores.shape) < share)
        rows, columns = np.nonzero(kept)
        found.append(scores[rows, columns])
        first.append(start + rows)
        second.append(columns)
    people = np.array(probe_identities, dtype=np.str_)
    return labelled_scores(
        np.concatenate(found), people[np.concatenate(first)].tolist(), names[np.concatenate(second)].tolist()
    )


def compared_with_mapped(gallery: Gallery, templates: GalleryTemplates, options: CalibrationOptions) -> Comparisons:
    """Return the comparisons for thresholds of a gallery's mapped templates. The cohort, if any, are probes too.

    Raises:
        NotEnoughData: see `mapped_comparisons`.
        InvalidArgument, InvalidEmbedding, ContractMismatch: the cohort is malformed.
    """
    is_mapped = np.zeros(len(templates.vectors), bool) if templates.mapped is None else templates.mapped
    people = np.array(templates.identities, dtype=np.str_)
    probes, shown = templates.vectors[~is_mapped], people[~is_mapped].tolist()
    if (cohort := options.cohort) is not None:
        probes, shown = np.concatenate([probes, cohort.units(gallery.contract)]), [*shown, *cohort.identities]
    return mapped_comparisons(
        probes,
        shown,
        templates.vectors[is_mapped],
        people[is_mapped].tolist(),
        max_comparisons=options.max_comparisons,
        seed=options.seed,
    )


def mapped_caveat(measured: Calibration, compared: Comparisons) -> str:
    """Return the sentence about the thresholds of mapped templates that were measured beside those of native ones."""
    return (
        f"Mapped templates have thresholds of their own: {measured.verify.threshold:.3f} for verification and "
        f"{measured.identify.threshold:.3f} for identification, from {compared.mated.size} mated and "
        f"{compared.non_mated.size} non-mated comparisons of native templates with mapped ones."
    )
