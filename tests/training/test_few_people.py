"""Fine-tuning on few people: the kept copies are the network's, nobody is judged by a network that knows them."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sameface.evaluation.samples import read_embeddings
from sameface.models.contract import FACE_EMBEDDER, check_tensor_contract
from sameface.models.face_changes import Changes, changed
from sameface_qdrant.errors import InvalidArgument
from sameface_train.backbones import BACKBONES, Backbone
from sameface_train.checkpoint import load_trained
from sameface_train.cli import main
from sameface_train.errors import UnusableData
from sameface_train.few_people.copies import Amounts, make_copies, middle, split, through
from sameface_train.few_people.folds import SHARES, HeldOut, choose_share, figures, fold_of_people
from sameface_train.few_people.learning import Settings, between, outputs, train_upper
from sameface_train.few_people.mixtures import LEAST_SHARE, draw_mixtures
from sameface_train.few_people.objective import centres_of, mirror_averaged
from sameface_train.few_people.training import HELD_OUT, Plan, Watch, few_people_recipe, train_few_people
from sameface_train.samples import Samples
from sameface_train.sface import Scale

SIDE = 16


def _tiny(channels: int, side: tuple[int, int], dimension: int) -> nn.Sequential:
    return nn.Sequential(
        Scale(127.5, 1 / 128),
        nn.Conv2d(channels, 4, 3, stride=2, padding=1),
        nn.PReLU(4),
        nn.Conv2d(4, 8, 3, stride=2, padding=1),
        nn.PReLU(8),
        nn.Flatten(),
        nn.Linear(8 * side[0] // 4 * side[1] // 4, dimension),
    )


BACKBONES["tiny-faces"] = Backbone(_tiny, 3, (SIDE, SIDE), "of the tests")
PLAN = Plan(
    few_people_recipe(
        backbone="tiny-faces", dimension=8, frozen=1, steps=2, warm_up=1, identities=3, each=2, learning_rate=1e-2
    ),
    amounts=Amounts(copies=2, mixtures=12),
    settings=Settings(mixtures=3),
    folds=2,
)


@pytest.fixture(scope="module")
def people() -> Samples:
    """Eight people with four photos each, 20×20."""
    rng = np.random.default_rng(5)
    own = rng.integers(40, 216, (8, 1, 3, 20, 20))
    images = (own + rng.integers(-40, 41, (8, 4, 3, 20, 20))).astype(np.uint8).reshape(32, 3, 20, 20)
    names = tuple(f"person{person}/pose{photo}.png" for person in range(8) for photo in range(4))
    return Samples(images, np.repeat(np.arange(8), 4), tuple(f"person{person}" for person in range(8)), names)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_a_changed_copy_depends_on_its_seed_alone(seed: int) -> None:
    photo = np.random.default_rng(1).integers(0, 256, (3, 24, 24), np.uint8)
    first, second = (changed(photo, Changes(), np.random.default_rng(seed), 20) for _ in range(2))
    assert first.shape == (3, 20, 20)
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)


def test_without_changes_a_copy_is_the_middle_of_the_photo() -> None:
    photo = np.random.default_rng(1).integers(0, 256, (3, 24, 24), np.uint8)
    nothing = Changes(**dict.fromkeys(Changes.__dataclass_fields__, 0.0))
    found = changed(photo, nothing, np.random.default_rng(0), 20)
    assert np.abs(found.astype(int) - middle(photo, 20)).max() <= 1


def test_kept_copies_give_what_the_whole_network_gives(people: Samples, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = _tiny(3, (SIDE, SIDE), 8).eval()
    made = make_copies(people, network, 1, SIDE, Changes(), Amounts(2, 5), 7, tmp_path)
    _, upper = split(network, 1)
    photo = changed(people.images[6], Changes(), np.random.default_rng([7, 6, 1]), SIDE)
    both = torch.from_numpy(np.stack([photo, photo[:, :, ::-1].copy()])).float()
    with torch.no_grad():
        expected = network(both)
        found = outputs(upper, made.changed[:, 1], np.array([6]))[0]
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)
    mixed = made.mixtures.images(people)[3]
    plain = through(network, middle(mixed, SIDE)[np.newaxis])[0]
    torch.testing.assert_close(torch.from_numpy(made.mixed_plain[3]), plain)
    before = (tmp_path / "copies.f16").stat().st_mtime_ns
    again = make_copies(people, network, 1, SIDE, Changes(), Amounts(2, 5), 7, tmp_path)
    assert (tmp_path / "copies.f16").stat().st_mtime_ns == before, "kept copies are not made again"
    assert np.array_equal(again.changed, made.changed)
    kept = made.changed.copy()
    others = make_copies(people, network, 1, SIDE, Changes(), Amounts(2, 5), 8, tmp_path)
    assert not np.array_equal(others.changed, kept), "copies of another seed are made anew"


def test_mixtures_are_of_two_people_in_one_pose(people: Samples) -> None:
    mixtures = draw_mixtures(people, 40, 0)
    parents = mixtures.parents_of(people.labels)
    assert (parents[:, 0] != parents[:, 1]).all()
    assert all(
        people.names[one].split("/")[1] == people.names[other].split("/")[1]
        for one, other in zip(mixtures.first, mixtures.second, strict=True)
    )
    assert (np.minimum(mixtures.share, 1 - mixtures.share) >= LEAST_SHARE).all()


def test_a_fold_learns_nothing_from_those_who_are_held_out(people: Samples, tmp_path: Path) -> None:
    """Other photos of the people held out give the same trained weights, to the bit."""
    torch.manual_seed(0)
    network = _tiny(3, (SIDE, SIDE), 8).eval()
    _, upper = split(network, 1)
    is_held_out = people.labels < 3
    others = people.images.copy()
    others[is_held_out] = 255 - others[is_held_out]
    weights = []
    for number, samples in enumerate((people, replace(people, images=others))):
        copies = make_copies(samples, network, 1, SIDE, Changes(), PLAN.amounts, 0, tmp_path / str(number))
        output = outputs(upper, copies.plain, np.arange(len(samples)))
        trained = train_upper(upper, copies, ~is_held_out, people.labels, PLAN.recipe, PLAN.settings, 0, output)
        weights.append(trained.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert any(not torch.equal(weights[0][name], value) for name, value in upper.state_dict().items())


def test_the_average_is_that_of_unit_vectors_and_the_same_for_the_mirror_image() -> None:
    output = torch.from_numpy(np.random.default_rng(3).normal(size=(6, 2, 4))).float()
    first, second = (output[:, side] / output[:, side].norm(dim=1, keepdim=True) for side in (0, 1))
    expected = (first + second) / (first + second).norm(dim=1, keepdim=True)
    torch.testing.assert_close(mirror_averaged(output), expected)
    centres = centres_of(output)
    centred = expected - expected.mean(dim=0)
    torch.testing.assert_close(centres.together(output), centred / centred.norm(dim=1, keepdim=True))
    torch.testing.assert_close(centres.together(output.flip(1)), centres.together(output))


def test_weights_between_two_networks_are_their_weighted_mean() -> None:
    first, second = (_tiny(3, (SIDE, SIDE), 8) for _ in range(2))
    found = between(first, second, 0.25).state_dict()
    for name, value in first.state_dict().items():
        torch.testing.assert_close(found[name], 0.75 * value + 0.25 * second.state_dict()[name])


@given(count=st.integers(2, 70), folds=st.integers(2, 7))
@settings(max_examples=30, deadline=None)
def test_folds_are_of_nearly_equal_size(count: int, folds: int) -> None:
    sizes = np.bincount(fold_of_people(count, folds), minlength=folds)
    assert sizes.sum() == count
    assert sizes.max() - sizes.min() <= 1


def test_figures_compare_within_a_fold_alone() -> None:
    """By hand: two people of two photos in each fold; across folds all vectors are equal, and this does not count."""
    one, other = np.eye(2, dtype=np.float32)
    vectors = np.array([one, one, other, other] * 2, np.float32)
    labels, folds = np.repeat(np.arange(4), 2), np.repeat([0, 1], 4)
    noise = np.random.default_rng(0).normal(0, 0.01, vectors.shape).astype(np.float32)
    found = figures(vectors + noise, vectors + noise, labels, folds)
    assert found.fnmr == (0.0, 0.0)
    assert found.separation > 10
    assert max(figures(vectors + noise, vectors + noise, labels, np.zeros(8, np.int64)).fnmr) > 0


def test_of_equal_shares_the_smallest_is_taken() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(12, 4)).astype(np.float32)
    names = [f"averaged {share:g}{kind}" for share in SHARES for kind in ("", " changed")]
    labels, folds = np.repeat(np.arange(6), 2), np.zeros(12, np.int64)
    same = dict.fromkeys(names, vectors)
    assert choose_share(same, labels, folds)[0] == 0.0
    better = np.repeat(rng.normal(size=(6, 4)), 2, axis=0).astype(np.float32)
    apart = better / np.linalg.norm(better, axis=1, keepdims=True)
    assert choose_share({**same, "averaged 0.5": apart, "averaged 0.5 changed": apart}, labels, folds)[0] == 0.5


def test_a_whole_training_can_be_exported_and_goes_on_after_the_last_fold(people: Samples, tmp_path: Path) -> None:
    steps: list[int | None] = []
    watch = Watch(stepped=lambda fold, step: steps.append(fold))
    share = train_few_people(people, tmp_path, PLAN, watch)
    assert steps == [0, 0, 1, 1, None, None]
    held_out = HeldOut.read(tmp_path / HELD_OUT)
    assert held_out is not None
    assert sorted(held_out.sample) == sorted(people.names), "everybody is held out once"
    for network in ("base", "averaged-1", "single-0.5"):
        one = read_embeddings(tmp_path / "held_out" / f"{network}.npz")
        assert set(zip(one.identity, one.sample, strict=True)) == {
            (name.split("/")[0], name.removesuffix(".png")) for name in people.names
        }
    assert json.loads((tmp_path / "folds.json").read_text())["share"] == share
    trained = load_trained(tmp_path)
    assert trained.identities == people.identities
    before = {path: path.read_bytes() for path in tmp_path.glob("fold?.npz")}
    steps.clear()
    assert train_few_people(people, tmp_path, replace(PLAN, share=1.0), watch) == 1.0
    assert steps == [None, None], "the folds are kept"
    assert before == {path: path.read_bytes() for path in tmp_path.glob("fold?.npz")}
    train_few_people(people, tmp_path, replace(PLAN, seed=1), watch)
    assert steps[2:] == [0, 0, 1, 1, None, None], "folds of another seed are trained anew"


def test_what_cannot_be_trained_is_refused(people: Samples, tmp_path: Path) -> None:
    with pytest.raises(UnusableData, match="there are 8 people, and 4 of them in the training of a fold; expected 5"):
        train_few_people(people, tmp_path, replace(PLAN, recipe=few_people_recipe(backbone="tiny-faces", identities=5)))
    with pytest.raises(InvalidArgument, match="no folds were asked for, and no share was given"):
        train_few_people(people, tmp_path, replace(PLAN, folds=0))
    with pytest.raises(InvalidArgument, match="folds is 1"):
        train_few_people(people, tmp_path, replace(PLAN, folds=1))


def first_of(people: Samples, persons: int, photos: int = 4) -> Samples:
    """The first photos of the first people."""
    chosen = np.flatnonzero((people.labels < persons) & (np.arange(len(people)) % 4 < photos))
    names = tuple(people.names[place] for place in chosen)
    return Samples(people.images[chosen], people.labels[chosen], people.identities[:persons], names)


@pytest.mark.parametrize(
    ("persons", "photos", "folds", "what"),
    [
        (5, 4, 5, "there are 5 people for 5 folds; .*give 10 people or more"),
        (4, 4, 5, "there are 4 people for 5 folds"),
        (8, 4, 8, "there are 8 people for 8 folds"),
        (8, 4, 12, "there are 8 people for 12 folds"),
        (8, 1, 2, "nobody in fold 0 of 2 has two photos"),
    ],
)
def test_folds_that_cannot_be_judged_are_refused_before_anything_is_computed(
    people: Samples, tmp_path: Path, persons: int, photos: int, folds: int, what: str
) -> None:
    with pytest.raises(UnusableData, match=what):
        train_few_people(first_of(people, persons, photos), tmp_path / "run", replace(PLAN, folds=folds))
    assert not (tmp_path / "run").exists()


def test_the_smallest_folds_that_are_allowed_are_judged(people: Samples, tmp_path: Path) -> None:
    """Two people in each fold, of whom one has two photos; the share is then a number."""
    few = first_of(people, 6, 2)
    alone = ~np.isin(np.arange(len(few)), [1, 3, 5])  # the first person of each of three folds has one photo
    names = tuple(name for name, stays in zip(few.names, alone, strict=True) if stays)
    samples = Samples(few.images[alone], few.labels[alone], few.identities, names)
    assert train_few_people(samples, tmp_path, replace(PLAN, folds=3)) in SHARES


def test_the_command_writes_weights_that_are_served_like_the_trained_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real network, from images as `prepare` writes them, in one step."""
    rng = np.random.default_rng(0)
    for name in ("ada/a.jpg.png", "ada/b.jpg.png", "ben/a.jpg.png", "ben/b.jpg.png"):
        (tmp_path / "faces" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "faces" / name), rng.integers(0, 256, (128, 128, 3), np.uint8))
    small = ["--steps", "1", "--copies", "1", "--mixtures", "1", "--change", "identities=2", "--change", "each=2"]
    run = str(tmp_path / "run")
    command = ["sameface-train", "few-people", str(tmp_path / "faces"), "--run", run, "--folds", "0", "--share", "1"]
    monkeypatch.setattr(sys, "argv", [*command, *small, "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    said = json.loads(capsys.readouterr().out)
    assert (said["share"], said["held_out"]) == (1.0, {})
    assert said["cosine"] >= 0.9999
    check_tensor_contract((tmp_path / "run" / "weights.onnx").read_bytes(), FACE_EMBEDDER)
