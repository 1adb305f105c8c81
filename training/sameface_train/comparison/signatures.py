"""Signatures: trained on some signers, and measured on others with skilled and random forgeries.

A signer enrols with K genuine signatures. A probe's score is its mean score with them, or its likelihood under their
Gaussian (Bromley et al. 1993, who use six signatures).
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray

from sameface.evaluation.dataset import entries
from sameface.evaluation.forgeries import Claims, claim_scores, draw_attempts, measure_forgeries
from sameface.evaluation.forgery_names import KINDS
from sameface.photo_folders import Skipped, why_skipped
from sameface.vision import isolate_strokes
from sameface_train.checkpoint import Trained
from sameface_train.comparison.drawings import scorer
from sameface_train.data_folder import SIGNERS, check_exists
from sameface_train.embedding import embed
from sameface_train.errors import UnusableData
from sameface_train.samples import Images, Samples, image_paths, read_image
from sameface_train.signers import check_signers, identity_of, is_forged

HEIGHT, WIDTH = 96, 192
DRAWS = 5
ADVICE = "sort the images of each signer into these two folders"


def read_signatures(folder: Path) -> Samples:
    """Read ``<signer>/{genuine,forgery}/<image>``; a signer's forgeries are another identity in the same group.

    Raises:
        UnusableData: there is no signature that can be read, or signatures lie at another level of folders.
    """
    check_exists(folder, SIGNERS, field="data")
    passed_over: list[Skipped] = []
    paths = image_paths(folder, passed_over)
    every = [path.relative_to(folder).as_posix() for path in paths]
    if every:
        check_signers(folder, every)
    images, names = [], []
    skipped: dict[str, list[str]] = {}
    if passed_over:
        skipped["PASSED_OVER"] = [one.path.relative_to(folder).as_posix() for one in passed_over]
    for path, name in zip(paths, every, strict=True):
        drawing = read_image(path, grey=True)
        if drawing is None:
            skipped.setdefault("UNREADABLE", []).append(name)
            continue
        images.append(signature(drawing))
        names.append(name)
    if not images:
        one_kind = folder.name.lower() in KINDS and any(not why_skipped(entry) for entry in entries(folder))
        advice = f"give the folder of all signers, {folder.parent.parent}" if one_kind else ADVICE
        raise UnusableData(
            f"{folder} holds no signatures that can be read; expected {SIGNERS}: {advice}", metadata={"field": "data"}
        )
    identities, labels = np.unique(np.asarray([identity_of(name) for name in names]), return_inverse=True)
    return Samples(
        images=np.stack(images)[:, np.newaxis],
        labels=labels.astype(np.int64),
        identities=tuple(map(str, identities)),
        names=tuple(names),
        groups=(signers := tuple(str(identity).split("/")[0] for identity in identities)),
        made_from=signers,
        strokes="isolated",
        skipped=skipped,
    )


def signature(drawing: NDArray[np.uint8]) -> Images:
    """Return a signature as white strokes on black [96, 192], as the service makes it from a photo."""
    return isolate_strokes(drawing, (HEIGHT, WIDTH))


def judge(trained: Trained, held_out: Samples, *, kind: str = "", templates: int = 5) -> dict[str, float]:
    """Return equal error rates, 0..1, over `DRAWS` random choices of templates: ``skilled`` and ``random``.

    ``kind`` is ``head`` for the verification head of `objectives.Identification`, ``gaussian`` for `gaussian_scores`.
    """
    score = scorer(trained, kind)
    vectors = torch.from_numpy(embed(trained.network, held_out.images, trained.side))
    # As the recipe compares them: Koch's head weighs sigmoids, the others unit vectors.
    siamese = trained.recipe.loss == "siamese"
    compared = (vectors.double().sigmoid() if siamese else functional.normalize(vectors.double())).numpy()
    owners = [held_out.identities[label] for label in held_out.labels]
    signers = [owner.split("/")[0] for owner in owners]
    forged = [is_forged(owner) for owner in owners]

    def compare(probes: NDArray[np.int64], references: NDArray[np.int64]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = score(vectors[probes], vectors[references]).detach().numpy()
        return scores

    rates: dict[str, list[float]] = {"skilled": [], "random": []}
    for seed in range(DRAWS):
        attempts = draw_attempts(signers, forged, templates, seed)

        def scores(claims: Claims) -> NDArray[np.float64]:
            if kind == "gaussian":
                return gaussian_scores(compared, attempts.references, claims)  # noqa: B023
            return claim_scores(attempts, claims, compare, "mean")  # noqa: B023 (used before the next draw)

        measured = measure_forgeries(
            attempts, scores(attempts.genuine), scores(attempts.skilled), scores(attempts.random), replicates=20
        )
        rates["skilled"].append(measured.eer_skilled.value)
        rates["random"].append(measured.eer_random.value)
    return {name: float(np.mean(values)) for name, values in rates.items()}


def gaussian_scores(
    features: NDArray[np.float64], references: NDArray[np.int64], claims: Claims
) -> NDArray[np.float64]:
    """Return the log density of each claim's features under the claimed signer's template: mean and variances.

    Bromley et al. 1993 model a signer's feature vectors by a multivariate normal density with a threshold. Here only
    variances are used, each signer's averaged with those of all signers, because five samples are too few.

    Args:
        features: [samples, D].
        references: positions of the samples that enrol, [signers, K].
        claims: the probes, and the signers that they claim to be.
    """
    enrolled = features[references]
    means, own = enrolled.mean(axis=1), enrolled.var(axis=1, ddof=1)
    variances = 0.5 * (own + own.mean(axis=0)) + 1e-8
    away = (features[claims.probes] - means[claims.claimed]) ** 2 / variances[claims.claimed]
    density: NDArray[np.float64] = -0.5 * (away + np.log(variances[claims.claimed])).mean(axis=1)
    return density
