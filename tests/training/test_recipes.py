"""Every recipe learns: people it has never seen are told apart better than before."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from sameface_qdrant.errors import InvalidArgument
from sameface_train.checkpoint import Trained, load_trained
from sameface_train.comparison.drawings import scorer
from sameface_train.embedding import embed
from sameface_train.monitor import live_view
from sameface_train.recipes import RECIPES, Recipe, recipe
from sameface_train.samples import Samples
from sameface_train.trainer import Options, Run
from tests.training.glyphs import glyphs

# Training must win at least this share of the area between the ROC curve and a perfect one.
WON = 0.25
SLOW = ("identification", "fine-tune")
"""Recipes that need more steps than the others."""


def quick(name: str, **others: Any) -> Recipe:
    """The recipe on a small network's budget; fine-tuning starts from an untrained network here, so it may move far."""
    changes: dict[str, Any] = {"backbone": "small", "dimension": 32, "steps": 50, "learning_rate": 3e-3, "warm_up": 10}
    if name in SLOW:
        changes["steps"] = 100
    changes |= {
        "averaging": 0.9,
        "identities": 16,
        "each": 4,
        "scale": 0.05,
        "degrees": 5.0,
        "shift": 0.03,
        "shear": 5.0,
    }
    if name == "fine-tune":
        changes |= {"frozen": 0, "weight": 10.0, "mirror": 0.0, "low_resolution": 0.0, "occlusion": 0.0, "light": 0.0}
    return recipe(name, **{**changes, **others})


def trained(name: str, samples: Samples, folder: Path) -> tuple[Run, Trained]:
    run = Run(quick(name), samples, folder, Options(seed=3), lambda text: None)
    with live_view(name, 1, quiet=True) as view:
        run.train(view)
    return run, load_trained(folder)


def separation(network: Trained, samples: Samples) -> float:
    """Area under the ROC curve over all pairs: 0.5 is chance, 1 is apart."""
    vectors = torch.from_numpy(embed(network.network, samples.images, network.side))
    scores = scorer(network)(vectors, vectors).detach().numpy()
    first, second = np.triu_indices(len(samples), 1)
    return float(roc_auc_score(samples.labels[first] == samples.labels[second], scores[first, second]))


@pytest.fixture(scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", RECIPES)
def test_held_out_identities_separate_better_than_before(name: str, tmp_path: Path, one_thread: None) -> None:
    learnt_on, held_out = glyphs(60, 6, seed=1), glyphs(60, 4, seed=2)
    run = Run(quick(name), learnt_on, tmp_path / "before", Options(seed=3), lambda text: None)
    run.keep()
    before = separation(load_trained(tmp_path / "before"), held_out)
    _, after_training = trained(name, learnt_on, tmp_path / "after")
    after = separation(after_training, held_out)
    assert 1.0 - after < (1.0 - WON) * (1.0 - before), f"{before:.3f} before, {after:.3f} after"


def test_every_recipe_names_its_paper_and_survives_being_written_down() -> None:
    for one in RECIPES.values():
        assert any(year.isdigit() for year in one.paper.replace(";", " ").split())
        assert Recipe.from_dict(one.to_dict()) == one


def test_a_field_that_a_recipe_does_not_use_is_not_in_its_record() -> None:
    assert "feature_scale" not in recipe("triplet").to_dict(), "the digest of older recipes stays"
    assert recipe("arcface").to_dict()["feature_scale"] == recipe("arcface").feature_scale


def test_a_recipe_changes_by_its_fields() -> None:
    changed = recipe("triplet", "signatures", steps=7, margin=0.3, degrees=1.0)
    assert (changed.schedule.steps, changed.margin, changed.augmentation.degrees) == (7, 0.3, 1.0)
    assert changed.backbone == "signature"


@pytest.mark.parametrize(
    ("name", "task", "changes", "message"),
    [
        ("tripletts", "", {}, "no recipe 'tripletts'; choose one of siamese"),
        ("triplet", "voices", {}, "no task 'voices'"),
        ("triplet", "", {"colour": 1}, "no field 'colour'"),
        ("triplet", "", {"miner": "hardest"}, "no miner 'hardest'"),
        ("triplet", "", {"weight": 3.0}, "the loss of triplet has no weight"),
        ("triplet", "", {"revision": 1}, "no field 'revision'"),
        ("triplet", "", {"steps": 0}, "steps is 0; expected 1 to"),
        ("triplet", "", {"scale": 1.5}, "scale is 1.5; expected 0.0 to 0.9"),
        ("triplet", "", {"shift": 1.5}, "shift is 1.5; expected 0.0 to 1.0"),
        ("arcface", "", {"margin": 2.0}, "expected a margin in radians, 0 to 1.57"),
        ("arcface", "", {"feature_scale": 0}, "a scale above 0"),
        ("triplet", "", {"feature_scale": 16.0}, "the loss of triplet has no feature_scale"),
        ("triplet", "faces", {"dimension": 64}, "SFace gives 128 numbers"),
    ],
)
def test_what_does_not_exist_is_named(name: str, task: str, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        recipe(name, task, **changes)
