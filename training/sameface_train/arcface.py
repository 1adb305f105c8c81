"""An angular margin on a softmax over the training identities: ArcFace."""

import math

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from sameface_train.objectives import Objective, Outcome

LENGTH = 0.1
"""Length of a direction at first. Only its angle counts, but a short one turns faster under Adam."""


class ArcFace(Objective):
    """Softmax over the training identities by angles: the own angle must win by ``margin`` (Deng et al. 2019, eq. 3).

    Every identity has a direction, the weights of a classifier without bias on the unit sphere. The logit of an
    identity is ``scale`` · cos θ; that of the own one is ``scale`` · cos(θ + margin). The directions are dropped after
    training.

    A direction begins at the mean of the first images of its identity (weight imprinting: Qi, Brown and Lowe 2018,
    section 3.2), not at random: with thousands of identities each one is seen a few times only, too seldom to turn a
    random direction.

    Beyond θ = π − margin, cos(θ + margin) would rise again. There cos θ − margin · sin(margin) is used, which keeps
    falling, as the authors' code does.
    """

    def __init__(self, dimension: int, identities: int, margin: float, scale: float) -> None:
        """Take a ``margin`` in radians, 0 to π, and a ``scale`` above 0."""
        super().__init__()
        self.margin, self.scale = margin, scale
        self.directions = nn.Parameter(functional.normalize(torch.randn(identities, dimension)) * LENGTH)
        self.begun: Tensor
        self.register_buffer("begun", torch.zeros(identities, dtype=torch.bool))

    def logits(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the logits [B, identities], with the margin at the own identity."""
        cosines = functional.normalize(features) @ functional.normalize(self.directions).T
        own = cosines.gather(1, labels[:, None])
        # The gradient of the arc cosine is infinite at ±1.
        angles = own.clamp(-1.0 + 1e-6, 1.0 - 1e-6).arccos()
        harder = torch.where(
            angles <= math.pi - self.margin,
            (angles + self.margin).cos(),
            own - self.margin * math.sin(self.margin),
        )
        return self.scale * cosines.scatter(1, labels[:, None], harder)

    @torch.no_grad()
    def begin(self, features: Tensor, labels: Tensor) -> None:
        """Set the directions of identities that are seen for the first time."""
        for new in torch.unique(labels[~self.begun[labels]]):
            mean = functional.normalize(features[labels == new]).mean(dim=0)
            self.directions[new] = LENGTH * functional.normalize(mean, dim=0)
            self.begun[new] = True

    def forward(self, features: Tensor, labels: Tensor, places: Tensor) -> Outcome:
        """Return the cross entropy; active are samples whose own identity does not win by the margin."""
        self.begin(features, labels)
        logits = self.logits(features, labels)
        wrong = (logits.argmax(dim=1) != labels).float().mean()
        return Outcome(functional.cross_entropy(logits, labels), float(wrong))
