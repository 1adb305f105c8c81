"""Losses and miners on points whose answer is worked out by hand."""

import doctest
import math
from types import ModuleType

import pytest
import torch
from torch import tensor

from sameface_train import monitor, recipes
from sameface_train.arcface import ArcFace
from sameface_train.fine_tune import FineTune, agreeing, centred, towards_identity
from sameface_train.objectives import Head, Identification, Joint, Matching, Siamese, Triplet, contrastive

NOWHERE = tensor([0])


def on_circle(*degrees: float) -> torch.Tensor:
    angles = torch.deg2rad(tensor(degrees))
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def triplets(mining: str, margin: float | None, degrees: tuple[float, ...], labels: list[int]) -> set[tuple[int, ...]]:
    return as_set(Triplet(mining, margin).triplets(on_circle(*degrees), tensor(labels)))  # type: ignore[arg-type]


def as_set(mined: tuple[torch.Tensor, ...]) -> set[tuple[int, ...]]:
    return set(zip(*(part.tolist() for part in mined), strict=True))


# Two of identity 0 at 0° and 20°, two of identity 1 at 50° and 120°.
DEGREES, LABELS = (0.0, 20.0, 50.0, 120.0), [0, 0, 1, 1]


def test_batch_all_takes_every_valid_triplet() -> None:
    assert triplets("batch-all", 0.2, DEGREES, LABELS) == {
        (0, 1, 2), (0, 1, 3), (1, 0, 2), (1, 0, 3), (2, 3, 0), (2, 3, 1), (3, 2, 0), (3, 2, 1),
    }  # fmt: skip


def test_batch_hard_takes_the_farthest_positive_and_the_nearest_negative_of_each() -> None:
    assert triplets("batch-hard", None, DEGREES, LABELS) == {(0, 1, 2), (1, 0, 2), (2, 3, 1), (3, 2, 1)}


def test_semi_hard_takes_negatives_farther_than_the_positive_but_within_the_margin() -> None:
    # Squared chords 2 − 2 cos: 20° 0.121, 30° 0.268, 50° 0.714, 70° 1.316, 100° 2.347, 120° 3.
    # (1, 0): negatives 2 at 0.268 (0.147 farther). (0, 1): 2 at 0.714, 0.594 farther: outside. (2, 3): both nearer.
    # (3, 2), 1.316: 1 at 2.347 is 1.031 farther.
    assert triplets("semi-hard", 0.2, DEGREES, LABELS) == {(1, 0, 2)}
    assert triplets("semi-hard", 0.6, DEGREES, LABELS) == {(1, 0, 2), (0, 1, 2)}


def test_the_triplet_loss_is_the_mean_violation_of_those_that_violate() -> None:
    outcome = Triplet("batch-all", 0.2)(on_circle(*DEGREES), tensor(LABELS), NOWHERE)

    def chord(degrees: float) -> float:
        return 2 * math.sin(math.radians(degrees / 2))

    distances = [(20, 50), (20, 120), (20, 30), (20, 100), (70, 50), (70, 30), (70, 120), (70, 100)]
    violations = [chord(positive) - chord(negative) + 0.2 for positive, negative in distances]
    active = [violation for violation in violations if violation > 0]
    assert float(outcome.loss) == pytest.approx(sum(active) / len(active), rel=1e-5)
    assert outcome.active == pytest.approx(len(active) / len(violations))


def test_the_active_share_of_semi_hard_triplets_is_of_all_triplets() -> None:
    for margin, chosen in ((0.2, 1), (0.6, 2)):
        outcome = Triplet("semi-hard", margin)(on_circle(*DEGREES), tensor(LABELS), NOWHERE)
        assert outcome.active == pytest.approx(chosen / 8)


def test_all_triplets_are_learnt_from_before_the_hardest() -> None:
    objective, points = Triplet("batch-hard", None, easy_steps=1), on_circle(*DEGREES)
    every, hardest = (triplets(mining, None, DEGREES, LABELS) for mining in ("batch-all", "batch-hard"))
    assert as_set(objective.triplets(points, tensor(LABELS))) == every
    easy = objective(points, tensor(LABELS), NOWHERE)
    assert easy.loss == Triplet("batch-all", 0.2)(points, tensor(LABELS), NOWHERE).loss
    assert as_set(objective.triplets(points, tensor(LABELS))) == hardest
    hard = objective(points, tensor(LABELS), NOWHERE)
    assert hard.loss == Triplet("batch-hard", None)(points, tensor(LABELS), NOWHERE).loss
    assert hardest < every


def test_the_soft_margin_counts_every_mined_triplet() -> None:
    outcome = Triplet("batch-hard", None)(on_circle(0.0, 0.0, 90.0, 90.0), tensor([0, 0, 1, 1]), NOWHERE)
    assert float(outcome.loss) == pytest.approx(math.log1p(math.exp(-math.sqrt(2))), rel=1e-5)


def test_the_contrastive_loss_by_hand() -> None:
    # One same pair at distance 0.5, two others at 0.3 and 2 (beyond the margin of 1).
    between = tensor([[0.0, 0.5, 0.3], [0.5, 0.0, 2.0], [0.3, 2.0, 0.0]])
    outcome = contrastive(between, tensor([0, 0, 1]), 1.0)
    assert float(outcome.loss) == pytest.approx(0.5 * 0.25 + 0.5 * (0.5 * 0.49 + 0.0))
    assert outcome.active == 0.5


def test_siamese_scores_are_symmetric_and_the_head_is_learnt() -> None:
    objective = Siamese(4)
    features, labels = torch.randn(6, 4, generator=torch.Generator().manual_seed(1)), tensor([0, 0, 1, 1, 2, 2])
    scores = objective.score(features, features)
    assert torch.allclose(scores, scores.T)
    objective(features, labels, NOWHERE).loss.backward()
    assert objective.head.weight.grad is not None
    assert float(objective.head.weight.grad.abs().sum()) > 0


def test_a_head_begins_as_the_plain_l1_distance() -> None:
    first, second = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(1))
    siamese, identification = Siamese(32), Identification(32, 3)
    expected = -torch.cdist(first.sigmoid(), second.sigmoid(), p=1)
    assert torch.allclose(siamese.score(first, second), expected, atol=1e-5)
    unit = torch.nn.functional.normalize
    expected = -torch.cdist(unit(first), unit(second), p=1)
    assert torch.allclose(identification.verify(first, second), expected, atol=1e-5)


def test_a_head_begins_halfway_between_same_and_different_pairs() -> None:
    # Same pairs at L1 distances 1 and 3, the four different ones at 10, 13, 9 and 12: halfway between 2 and 11.
    features, labels = tensor([[0.0], [1.0], [10.0], [13.0]]), tensor([0, 0, 1, 1])
    head = Head(1)
    head.begin(features, labels)
    assert float(head.bias.detach()) == pytest.approx(6.5)
    head.begin(features * 2.0, labels)
    assert float(head.bias.detach()) == pytest.approx(6.5)


def test_the_verification_head_does_not_change_the_features() -> None:
    objective = Identification(4, 3)
    features = torch.randn(6, 4, generator=torch.Generator().manual_seed(1), requires_grad=True)
    labels = tensor([0, 0, 1, 1, 2, 2])
    (alone,) = torch.autograd.grad(
        torch.nn.functional.cross_entropy(objective.classifier(features), labels), features, retain_graph=True
    )
    (together,) = torch.autograd.grad(objective(features, labels, NOWHERE).loss, features)
    assert torch.allclose(alone, together)


def test_joint_adds_the_weighted_verification_signal() -> None:
    torch.manual_seed(0)
    light = Joint(4, 3, 0.0, 1.0)
    heavy = Joint(4, 3, 2.0, 1.0)
    heavy.load_state_dict(light.state_dict())
    features, labels = torch.randn(6, 4), tensor([0, 0, 1, 1, 2, 2])
    unit = torch.nn.functional.normalize(features)
    signal = contrastive(torch.cdist(unit, unit), labels, 1.0).loss
    difference = heavy(features, labels, NOWHERE).loss - light(features, labels, NOWHERE).loss
    assert float(difference.detach()) == pytest.approx(2.0 * float(signal.detach()), rel=1e-5)


def test_matching_is_the_attention_on_the_right_class() -> None:
    # Images 0 and 1 of one identity at 0°, 2 and 3 of another at 90° and 30°, which is nearer to the first.
    outcome = Matching(scale=1.0)(on_circle(0.0, 0.0, 90.0, 30.0), tensor([0, 0, 1, 1]), NOWHERE)
    at = {degrees: math.exp(math.cos(math.radians(degrees))) for degrees in (0, 30, 60, 90)}
    shares = (
        at[0] / (at[0] + at[90] + at[30]),
        at[0] / (at[0] + at[90] + at[30]),
        at[60] / (2 * at[90] + at[60]),
        at[60] / (2 * at[30] + at[60]),
    )
    assert float(outcome.loss) == pytest.approx(-sum(map(math.log, shares)) / 4, rel=1e-5)
    assert outcome.active == 0.25


def arcface(margin: float, scale: float, *degrees: float) -> ArcFace:
    objective = ArcFace(2, len(degrees), margin, scale)
    objective.directions.data = 3.0 * on_circle(*degrees)
    objective.begun.fill_(True)
    return objective


def test_arcface_asks_that_the_own_angle_wins_by_the_margin() -> None:
    # Directions at 0° and 90°. Images at 30° (of 0°), and at 60° and 70° (of 90°): own angles 30°, 30° and 20°, others
    # 60°, 60° and 70°. With a margin of 40° the own angles count as 70°, 70° and 60°: the first two lose.
    margin = math.radians(40)
    outcome = arcface(margin, 4.0, 0.0, 90.0)(2.0 * on_circle(30.0, 60.0, 70.0), tensor([0, 1, 1]), NOWHERE)

    def cross_entropy(own: float, other: float) -> float:
        return math.log1p(math.exp(4.0 * (math.cos(math.radians(other)) - math.cos(math.radians(own)))))

    expected = (cross_entropy(70, 60) + cross_entropy(70, 60) + cross_entropy(60, 70)) / 3
    assert float(outcome.loss.detach()) == pytest.approx(expected, rel=1e-5)
    assert outcome.active == pytest.approx(2 / 3)
    none = arcface(0.0, 4.0, 0.0, 90.0)(on_circle(30.0, 60.0, 70.0), tensor([0, 1, 1]), NOWHERE)
    assert none.active == 0.0
    assert float(none.loss.detach()) == pytest.approx(
        2 * cross_entropy(30, 60) / 3 + cross_entropy(20, 70) / 3, rel=1e-5
    )


def test_a_direction_of_arcface_begins_at_the_first_images_of_its_identity() -> None:
    objective = ArcFace(2, 3, 0.3, 4.0)
    before = objective.directions.data.clone()
    objective(torch.cat([5.0 * on_circle(10.0), on_circle(30.0, 90.0)]), tensor([0, 0, 2]), NOWHERE)
    unit = torch.nn.functional.normalize(objective.directions.data)
    assert torch.allclose(unit[[0, 2]], on_circle(20.0, 90.0), atol=1e-5)
    assert torch.equal(objective.directions.data[1], before[1])
    objective(on_circle(80.0, 100.0), tensor([0, 1]), NOWHERE)
    unit = torch.nn.functional.normalize(objective.directions.data)
    assert torch.allclose(unit, on_circle(20.0, 100.0, 90.0), atol=1e-5)


def test_arcface_keeps_falling_beyond_the_opposite_of_the_margin() -> None:
    # With a margin of 0.5, cos(θ + margin) would rise from θ = π − 0.5 (151°) on.
    own = [float(arcface(0.5, 1.0, 0.0)(on_circle(one), tensor([0]), NOWHERE).loss.detach()) for one in (0, 90)]
    assert own == [0.0, 0.0], "one identity alone always wins"
    degrees = [float(one) for one in range(0, 180, 5)]
    logits = arcface(0.5, 1.0, 0.0).logits(on_circle(*degrees), tensor([0] * len(degrees)))[:, 0].tolist()
    assert logits == sorted(logits, reverse=True)
    assert logits[-1] == pytest.approx(math.cos(math.radians(175)) - 0.5 * math.sin(0.5), rel=1e-5)


def test_arcface_equals_another_implementation_of_it() -> None:
    from pytorch_metric_learning.losses import ArcFaceLoss

    torch.manual_seed(0)
    features, labels = torch.randn(12, 6, requires_grad=True), torch.randint(0, 5, (12,))
    other = ArcFaceLoss(5, 6, margin=math.degrees(0.3), scale=20.0)
    own = ArcFace(6, 5, 0.3, 20.0)
    own.directions.data = other.W.data.T.clone()
    own.begun.fill_(True)
    losses = own(features, labels, NOWHERE).loss, other(features, labels)
    assert float(losses[0].detach()) == pytest.approx(float(losses[1].detach()), rel=1e-5)
    gradients = [torch.autograd.grad(loss, features, retain_graph=True)[0] for loss in losses]
    assert torch.allclose(*gradients, atol=1e-5)


def test_fine_tuning_passes_over_what_label_noise_looks_like() -> None:
    # Identity 0 at 0°, 30° and 100° (the last mislabelled), identity 1 at 5° (the same person again) and 60°.
    bank = on_circle(0.0, 30.0, 100.0, 5.0, 60.0)
    labels = tensor([0, 0, 0, 1, 1])
    objective = FineTune(bank, labels, negatives=1, duplicate_above=0.9, mislabelled_below=0.0)
    positive, found, negatives = objective.mine(bank[:1], labels[:1], tensor([0]))
    assert float(positive) == pytest.approx(math.cos(math.radians(30)), abs=1e-5)
    assert bool(found)
    assert float(negatives) == pytest.approx(0.5, abs=1e-5)


def test_a_sample_without_another_of_its_identity_is_only_pushed() -> None:
    bank, labels = on_circle(0.0, 60.0, 70.0), tensor([0, 1, 1])
    objective = FineTune(bank, labels)
    _, found, _ = objective.mine(bank[:1], labels[:1], tensor([0]))
    assert not bool(found)
    assert torch.isfinite(objective(bank[:1], labels[:1], tensor([0])).loss)


def test_the_bank_remembers_the_latest_embedding() -> None:
    objective = FineTune(on_circle(0.0, 60.0), tensor([0, 1]))
    features = on_circle(10.0).requires_grad_()
    objective(features, tensor([0]), tensor([0])).loss.backward()
    assert torch.allclose(objective.bank[0], on_circle(10.0)[0])


def test_the_teacher_is_centred_agrees_and_moves_towards_its_identity() -> None:
    assert torch.allclose(centred(on_circle(-30.0, 30.0)), on_circle(-90.0, 90.0), atol=1e-5)
    labels = tensor([0, 0, 0])
    assert agreeing(on_circle(0.0, 10.0, 130.0), labels, 0.25).tolist() == [True, True, False]
    moved = towards_identity(on_circle(-20.0, 20.0), tensor([0, 0]), share=1.0)
    assert torch.allclose(moved, on_circle(-10.0, 10.0), atol=1e-5)


@pytest.mark.parametrize("module", [monitor, recipes], ids=lambda module: module.__name__)
def test_examples_in_docstrings_hold(module: ModuleType) -> None:
    done = doctest.testmod(module)
    assert done.attempted > 0
    assert done.failed == 0
