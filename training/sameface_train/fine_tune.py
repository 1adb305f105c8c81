"""Fine-tunes a pretrained network by triplets, and keeps what it has learnt before.

A triplet loss only ranks. If it is pushed hard, scores drift until one global threshold no longer fits. This shows
first at low false match rates. Three things prevent it: a teacher (the pretrained network's embedding, averaged over a
photo and its mirror image, and centred), a term for one threshold on both sides of a triplet, and frozen layers.
"""

import torch
import torch.nn.functional as functional
from torch import Tensor

from sameface_train.objectives import Objective, Outcome

# How sharply a violation counts. At 32, a score 0.1 on the wrong side counts 25 times as much as 0.1 on the right one.
SHARPNESS = 32.0
MARGIN = 0.1


class FineTune(Objective):
    """Batch-hard positives, hardest negatives of all training samples, soft margin (Hermans et al. 2017, section 2).

    Negatives come from a bank of the latest embedding of every sample (Wang et al. 2020, cross-batch memory), because
    among sixteen identities there is seldom a look-alike. Scores are cosines.
    """

    def __init__(
        self,
        teacher: Tensor,
        labels: Tensor,
        *,
        weight: float = 1.0,
        margin: float = MARGIN,
        threshold: float = 0.35,
        negatives: int = 10,
        duplicate_above: float = 0.72,
        mislabelled_below: float = 0.0,
    ) -> None:
        """Keep ``teacher`` [N, D] (unit norm) and ``labels`` [N] of every training sample.

        ``threshold`` is the score that should separate positives and negatives. Negatives above ``duplicate_above`` are
        taken for one person under two names, positives below ``mislabelled_below`` for two people under one name.
        Nothing is learnt from either, because hard mining would pick such label errors first.
        """
        super().__init__()
        self.teacher: Tensor
        self.labels: Tensor
        self.bank: Tensor
        self.register_buffer("teacher", teacher, persistent=False)
        self.register_buffer("labels", labels, persistent=False)
        self.register_buffer("bank", teacher.clone())
        self.weight, self.margin, self.threshold, self.negatives = weight, margin, threshold, negatives
        self.duplicate_above, self.mislabelled_below = duplicate_above, mislabelled_below

    def forward(self, features: Tensor, labels: Tensor, places: Tensor) -> Outcome:
        """Return |e − teacher|² + weight · (triplet + threshold terms); active are triplets that violate the margin."""
        unit = functional.normalize(features)
        to_teacher = (unit - self.teacher[places]).square().sum(dim=1).mean()
        positive, has_positive, negatives = self.mine(unit, labels, places)
        triplet = _soft(negatives[:, 0] - positive + self.margin)
        genuine = _soft(self.threshold + self.margin / 2 - positive)
        impostor = _soft(negatives - self.threshold + self.margin / 2).mean(dim=1)
        counted = has_positive.float()
        pulled = ((triplet + genuine) * counted).sum() / counted.sum().clamp_min(1.0)
        with torch.no_grad():
            self.bank[places] = unit.detach()
            active = ((negatives[:, 0] + self.margin > positive) & has_positive).float().mean()
        return Outcome(to_teacher + self.weight * (pulled + impostor.mean()), float(active))

    def mine(self, unit: Tensor, labels: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the hardest positive's score [B], whether there is one [B], and the hardest negatives' scores [B, K].

        The hardest are chosen among the latest embeddings of all training samples.
        """
        # A copy, because the batch's own rows are written before the gradients are computed.
        scores = unit @ self.bank.clone().T
        same = labels[:, None] == self.labels[None]
        own = torch.zeros_like(same)
        own[torch.arange(len(places), device=places.device), places] = True
        positives = scores.masked_fill(~same | own | (scores < self.mislabelled_below), 2.0)
        hardest = positives.min(dim=1).values
        others = scores.masked_fill(same | (scores > self.duplicate_above), -1.0)
        negatives = others.topk(min(self.negatives, others.shape[1]), dim=1).values
        found = hardest <= 1.0 + 1e-5
        return torch.where(found, hardest, torch.ones_like(hardest)), found, negatives


def centred(embeddings: Tensor) -> Tensor:
    """Return unit embeddings [N, D] minus their common mean, with unit norm again."""
    return functional.normalize(embeddings - embeddings.mean(dim=0))


def agreeing(teacher: Tensor, labels: Tensor, least: float) -> Tensor:
    """Return a flag for each sample: is its cosine to the mean of its identity's other samples ``least`` or more?

    Every collected set has label errors, and a hard miner would pick them first. The only sample of an identity gets
    True.
    """
    sums = torch.zeros(int(labels.max()) + 1, teacher.shape[1], dtype=teacher.dtype).index_add_(0, labels, teacher)
    others = functional.normalize(sums[labels] - teacher)
    alone = torch.bincount(labels)[labels] == 1
    return ((others * teacher).sum(dim=1) >= least) | alone


def towards_identity(teacher: Tensor, labels: Tensor, share: float = 0.5) -> Tensor:
    """Return unit embeddings [N, D] moved towards the mean of their identity: ``share`` of its direction is added.

    With a half, an embedding that is 20° away comes to 13°.

    The mean has lost the effects of pose and light, so a student of this teacher learns to ignore them.
    """
    sums = torch.zeros(int(labels.max()) + 1, teacher.shape[1], dtype=teacher.dtype).index_add_(0, labels, teacher)
    return functional.normalize(teacher + share * functional.normalize(sums)[labels])


def _soft(violation: Tensor) -> Tensor:
    return functional.softplus(SHARPNESS * violation) / SHARPNESS
