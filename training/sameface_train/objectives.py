"""Objectives of training: one class for each way of learning a distance.

Losses and miners of triplets come from pytorch-metric-learning.

Every objective takes features [B, D] with the batch's labels and returns a loss; its `score` says how alike probes
and references are once it is trained. Objectives with parameters of their own (a classifier, a head) train them too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

EASY_MARGIN = 0.2
Mining: TypeAlias = Literal["semi-hard", "batch-hard", "batch-all"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an objective for one batch."""

    loss: Tensor
    active: float
    """Share of the triplets (pairs, samples) that still cause a loss, 0..1."""


class Objective(nn.Module):
    """Base: features are compared on the unit sphere, by cosine."""

    def forward(self, features: Tensor, labels: Tensor, places: Tensor) -> Outcome:
        """Return the loss of a batch: features [B, D], labels [B], places [B] among the training samples."""
        raise NotImplementedError

    def score(self, probes: Tensor, references: Tensor) -> Tensor:
        """Return how alike features are, [P, D] and [R, D] → [P, R]; greater is more alike."""
        return functional.normalize(probes) @ functional.normalize(references).T


class Head(nn.Linear):
    """Weighs |f₁ − f₂| in each dimension, and returns the logit of being the same identity.

    It begins as the plain L1 distance, −Σ|f₁ − f₂|, with the first batch's bias halfway between its same and its
    different pairs. Under random weights half of the dimensions would begin by calling different what is alike, and the
    network would spend its first thousand steps on learning around that.
    """

    def __init__(self, dimension: int) -> None:
        super().__init__(dimension, 1)
        nn.init.constant_(self.weight, -1.0)
        nn.init.zeros_(self.bias)
        self.begun: Tensor
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the logits [P, R] of features [P, D] and [R, D]."""
        logits: Tensor = super().forward((first[:, None] - second[None]).abs()).squeeze(-1)
        return logits

    @torch.no_grad()
    def begin(self, features: Tensor, labels: Tensor) -> None:
        """Set the bias by the first batch; later ones change nothing."""
        if not self.begun:
            logits, (same, different) = self(features, features), _pairs(labels)
            self.bias -= 0.5 * (logits[same].mean() + logits[different].mean())
            self.begun.fill_(True)


class Siamese(Objective):
    """Twin networks under a learned, weighted L1 distance with a sigmoid (Koch et al. 2015, section 3.1).

    The head has a bias, which their formula leaves out.
    """

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.head = Head(dimension)

    def forward(self, features: Tensor, labels: Tensor, places: Tensor) -> Outcome:
        """Return the cross entropy over all pairs, same and different counting the same together."""
        self.head.begin(features.sigmoid(), labels)
        return _pairwise(self.score(features, features), labels)

    def score(self, probes: Tensor, references: Tensor) -> Tensor:
        """Return the logit of being the same."""
        logits: Tensor = self.head(probes.sigmoid(), references.sigmoid())
        return logits


class Contrastive(Objective):
    """Pulls pairs together, pushes others ``margin`` apart (Hadsell, Chopra and LeCun 2006, equation 4)."""

    def __init__(self, margin: float) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, features: Tensor, labels: Tensor, places: Tensor) -> Outcome:
        """Return the loss with same and different pairs counting the same together."""
        return contrastive(torch.cdist(features, features), labels, self.margin)

    def score(self, probes: Tensor, references: Tensor) -> Tensor:
        """Return the negative Euclidean distance."""
        return -torch.cdist(probes, references)


class Identification(Objective):
    """Softmax over the training identities; the classifier is dropped (Taigman et al. 2014, section 3).

    Beside it a verification head learns to weigh |f₁ − f₂| (their section 4.2, the Siamese metric) on features that it
    does not change.
    """

    def __init__(self, dimension: int, identities: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(dimension, identities)
        self.head = Head(dimension)

    def forward(self, features: Tensor, labels: Tensor, places: Tensor) -> Outcome:
        """Return the cross entropy of the classifier and of the head."""
        logits = self.classifier(features)
        wrong = (logits.argmax(dim=1) != labels).float().mean()
        seen = features.detach()
        self.head.begin(functional.normalize(seen), labels)
        head = _pairwise(self.verify(seen, seen), labels)
        return Outcome(functional.cross_entropy(logits, labels) + head.loss, float(wrong))

    def verify(self, probes: Tensor, references: Tensor) -> Tensor:
        """Return the verification head's logits, [P, D] and [R, D] → [P, R]."""
        logits: Tensor = self.head(functional.normalize(probes), functional.normalize(references))
        return logits


class Joint(Objective):
    """Identification and verification signal together (Sun et al. 2014, equations 1 and 2); here on the unit sphere."""

    def __init__(self, dimension: int, identities: int, weight: float, margin: float) -> None:
        super().__init__()
        self.classifier = nn.Linear(dimension, identities)
        self.weight, self.margin = weight, margin

    def forward(self, features: Tensor, labels: Tensor, places: Tensor) -> Outcome:
        """Return cross entropy + weight · contrastive loss."""
        unit = functional.normalize(features)
        verification = contrastive(torch.cdist(unit, unit), labels, self.margin)
        loss = functional.cross_entropy(self.classifier(features), labels) + self.weight * verification.loss
        return Outcome(loss, verification.active)


class Triplet(Objective):
    """max(0, d(a, p) − d(a, n) + margin) on the unit sphere (Schroff et al. 2015, section 3.1).

    Without a margin the soft margin is used, log(1 + exp(d(a, p) − d(a, n))) (Hermans et al. 2017, section 2).
    Semi-hard mining uses squared Euclidean distances, as FaceNet does. Batch-hard and batch-all use plain ones, which
    Hermans et al. found better. They do not normalise embeddings; on the sphere the soft margin never becomes small.
    """

    def __init__(self, mining: Mining, margin: float | None, easy_steps: int = 0) -> None:
        """Mine by ``mining``, after ``easy_steps`` batches with all triplets and a margin of `EASY_MARGIN`.

        Training on the hardest triplets from random weights collapses.
        """
        # It imports all of scipy.stats. Nothing but training with triplets needs it.
        from pytorch_metric_learning import distances, losses, miners, reducers

        super().__init__()
        self.mining, self.margin, self.easy_steps = mining, margin, easy_steps
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        distance = distances.LpDistance(normalize_embeddings=True, p=2, power=2 if mining == "semi-hard" else 1)
        self.distance = distance
        self.miner: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
        match mining:
            case "semi-hard":
                self.miner = miners.TripletMarginMiner(margin or 0.0, "semihard", distance=distance)
            case "batch-hard":
                self.miner = miners.BatchHardMiner(distance=distance)
            case "batch-all":
                self.miner = _all_triplets
        self.loss = losses.TripletMarginLoss(
            margin=margin or 0.0,
            smooth_loss=margin is None,
            distance=distance,
            reducer=reducers.MeanReducer() if margin is None else reducers.AvgNonZeroReducer(),
        )

        self.easy_loss = losses.TripletMarginLoss(
            margin=EASY_MARGIN, distance=distance, reducer=reducers.AvgNonZeroReducer()
        )

    def triplets(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the mined triplets: indices of anchors, positives and negatives."""
        return (_all_triplets if self.seen < self.easy_steps else self.miner)(features, labels)

    def forward(self, features: Tensor, labels: Tensor, places: Tensor) -> Outcome:
        """Return the loss over the mined triplets; active are those that violate the margin (soft: the order).

        Semi-hard mining chooses only these, so its share is of all triplets of the batch.
        """
        chosen = self.triplets(features, labels)
        easy = bool(self.seen < self.easy_steps)
        self.seen += 1
        loss = (self.easy_loss if easy else self.loss)(features, labels, chosen)
        with torch.no_grad():
            between = self.distance(features, features)
            anchors, positives, negatives = chosen
            margin = EASY_MARGIN if easy else self.margin or 0.0
            violation = between[anchors, positives] - between[anchors, negatives] + margin
            counts = torch.bincount(labels)
            every = int((counts * (counts - 1) * (len(labels) - counts)).sum())
        of = len(anchors) if easy or self.mining != "semi-hard" else every
        return Outcome(loss, float((violation > 0).sum()) / of if of else 0.0)


class Matching(Objective):
    """Each image's attention over a support set must fall on its own identity (Vinyals et al. 2016, equation 1).

    The batch is the episode: every image is a query once, and all others are its support set. With two images of each
    identity, one of them supports the right answer. The paper's full context embeddings are left out. The cosine is
    scaled, because otherwise attention over many identities cannot become sharp.
    """

    def __init__(self, scale: float = 10.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, features: Tensor, labels: Tensor, places: Tensor) -> Outcome:
        """Return the mean −log of the attention on the own identity; active are images nearest to another identity."""
        unit = functional.normalize(features)
        itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
        attention = (self.scale * unit @ unit.T).masked_fill(itself, -torch.inf).log_softmax(dim=1)
        own = (labels[:, None] == labels[None]) & ~itself
        on_own = attention.masked_fill(~own, -torch.inf).logsumexp(dim=1)
        wrong = ~own.gather(1, attention.argmax(dim=1, keepdim=True))
        return Outcome(-on_own.mean(), float(wrong.float().mean()))


def contrastive(between: Tensor, labels: Tensor, margin: float) -> Outcome:
    """Return ½d² over same pairs and ½max(0, margin − d)² over others, from distances [B, B]; each kind averaged."""
    same, different = _pairs(labels)
    # A pair at distance 0 has no direction to be pushed in: its gradient would be undefined.
    distance = between.clamp_min(1e-6)
    pull = 0.5 * distance[same].square()
    push = 0.5 * (margin - distance[different]).clamp_min(0.0).square()
    return Outcome(pull.mean() + push.mean(), float((push > 0).float().mean()))


def _all_triplets(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    from pytorch_metric_learning.utils import loss_and_miner_utils as indices

    every: tuple[Tensor, Tensor, Tensor] = indices.get_all_triplets_indices(labels)
    return every


def _pairwise(logits: Tensor, labels: Tensor) -> Outcome:
    same, different = _pairs(labels)
    loss = 0.5 * (functional.softplus(-logits[same]).mean() + functional.softplus(logits[different]).mean())
    wrong = torch.cat([logits[same] < 0, logits[different] >= 0])
    return Outcome(loss, float(wrong.float().mean()))


def _pairs(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return masks [B, B] of same and of different pairs, each pair once and none with itself."""
    equal = labels[:, None] == labels[None]
    once = torch.ones_like(equal).triu(1)
    return equal & once, ~equal & once
