"""Omniglot: trained on the 30 background alphabets, judged on the 20 evaluation alphabets.

Three protocols: 5- and 20-way one-shot among all evaluation characters (Vinyals et al. 2016, section 4.1), 20-way
within one alphabet (Koch et al. 2015, section 4.3), and the 20 official runs (Lake et al. 2015).
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sameface.evaluation.few_shot import Episodes, Run, draw_episodes, episode_accuracy, fused_scores, read_runs
from sameface_train import objectives
from sameface_train.checkpoint import Trained
from sameface_train.data_folder import OFFICIAL_RUNS, check_exists
from sameface_train.embedding import embed
from sameface_train.errors import UnusableData
from sameface_train.samples import Images, Samples, strokes_white

EPISODES = 2000
SIDE = 28

Scorer = Callable[[Tensor, Tensor], Tensor]
"""Features of probes [P, D] and references [R, D] → scores [P, R]."""


def scorer(trained: Trained, kind: str = "") -> Scorer:
    """Return the function that scores a network's features: its own, or with ``head`` its verification head."""
    recipe = trained.recipe
    if recipe.loss == "siamese":
        siamese = objectives.Siamese(recipe.dimension)
        siamese.load_state_dict(trained.head)
        return siamese.score
    if recipe.loss == "contrastive":
        return objectives.Contrastive(recipe.margin or 1.0).score
    if kind == "head":
        identification = objectives.Identification(recipe.dimension, 1)
        identification.load_state_dict(
            {**trained.head, "classifier.weight": torch.zeros(1, recipe.dimension), "classifier.bias": torch.zeros(1)}
        )
        return identification.verify
    return objectives.Objective().score


def read_official(folder: Path) -> tuple[tuple[Run, ...], tuple[str, ...], Images]:
    """Return the official runs, the names of their images, and the images [N, 1, 28, 28], reduced from 105×105.

    Raises:
        UnusableData: the folder or an image is missing or cannot be read.
        InvalidArgument: the folder holds no run, or a run's list has another form.
    """
    check_exists(folder, OFFICIAL_RUNS, field="runs")
    runs = read_runs(folder)
    names = sorted({name for run in runs for name in (*run.tests, *run.training)})
    images = []
    for name in names:
        image = cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE)
        if image is None:
            raise UnusableData(f"{folder / name} is missing or cannot be read; expected the 20 runs as published")
        images.append(reduced(np.asarray(image, np.uint8)))
    return runs, tuple(names), np.stack(images)[:, np.newaxis]


def reduced(drawing: NDArray[np.uint8]) -> Images:
    """Return a drawing as white strokes on black, 28×28."""
    white = strokes_white(drawing)
    small = cv2.resize(white, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def judge(
    trained: Trained,
    evaluation: Samples,
    official: tuple[tuple[Run, ...], tuple[str, ...], Images],
    *,
    kind: str = "",
    seed: int = 0,
    episodes: int = EPISODES,
) -> dict[str, float]:
    """Return the accuracies of a network, 0..1: ``5-way``, ``20-way``, ``within``, and ``official`` (of 400 trials)."""
    score = scorer(trained, kind)
    vectors = torch.from_numpy(embed(trained.network, evaluation.images, trained.side))
    owners = tuple(evaluation.identities[label] for label in evaluation.labels)
    alphabets = tuple(evaluation.groups[label] for label in evaluation.labels)

    def compare(probes: NDArray[np.int64], references: NDArray[np.int64]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = score(vectors[probes], vectors[references]).detach().numpy()
        return scores

    found = {}
    for name, ways, within in (("5-way", 5, None), ("20-way", 20, None), ("within", 20, alphabets)):
        drawn = _episodes(owners, ways, episodes, seed, within)
        found[name] = float(episode_accuracy(fused_scores(drawn, compare), drawn.answers).mean())
    runs, names, images = official
    places = {name: place for place, name in enumerate(names)}
    drawn_vectors = torch.from_numpy(embed(trained.network, images, trained.side))
    shares = []
    for run in runs:
        probes, references = (drawn_vectors[[places[name] for name in part]] for part in (run.tests, run.training))
        shares.append(float(episode_accuracy(score(probes, references).detach().numpy(), run.answers)))
    return {**found, "official": float(np.mean(shares))}


@lru_cache(maxsize=3)
def _episodes(owners: tuple[str, ...], ways: int, episodes: int, seed: int, within: tuple[str, ...] | None) -> Episodes:
    # Every network of a comparison is judged by the same episodes.
    return draw_episodes(owners, ways, 1, episodes, seed, within)
