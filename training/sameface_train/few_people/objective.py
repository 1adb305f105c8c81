"""The loss on a photo and its mirror image: triplets and teacher for their average, the teacher for each alone."""

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from sameface_train.fine_tune import FineTune, towards_identity

ALONE = 0.5
"""Weight of the teacher's term of a photo or a mirror image alone, beside that of their average."""


class Centres(nn.Module):
    """The means that are subtracted: of unit embeddings of one image, and of averages of an image and its mirror."""

    def __init__(self, single: Tensor, averaged: Tensor) -> None:
        """Keep both means, [D]."""
        super().__init__()
        self.single: Tensor
        self.averaged: Tensor
        self.register_buffer("single", single)
        self.register_buffer("averaged", averaged)

    def alone(self, output: Tensor) -> Tensor:
        """Return the centred unit embedding [N, D] of each image, from the network's output [N, D]."""
        return functional.normalize(functional.normalize(output) - self.single)

    def together(self, output: Tensor) -> Tensor:
        """Return the centred unit embedding [N, D] of each pair of an image and its mirror, from output [N, 2, D]."""
        return functional.normalize(mirror_averaged(output) - self.averaged)


def mirror_averaged(output: Tensor) -> Tensor:
    """Return the unit mean [N, D] of the unit vectors of an image and its mirror image, from output [N, 2, D]."""
    return functional.normalize(functional.normalize(output, dim=2).sum(dim=1))


def centres_of(output: Tensor) -> Centres:
    """Return the means over the photos that the network gives ``output`` [N, 2, D] for.

    The single one is the mean of the photos alone, without their mirror images, as the served version 4 has it.
    """
    return Centres(functional.normalize(output[:, 0]).mean(dim=0), mirror_averaged(output).mean(dim=0))


class TwoViews(nn.Module):
    """`fine_tune.FineTune` on averages of photo and mirror image; the teacher also for each image alone."""

    def __init__(
        self, output: Tensor, labels: Tensor, *, weight: float, margin: float, share: float, hold_mixtures: float = 1.0
    ) -> None:
        """Take the pretrained network's ``output`` [N, 2, D] for every training photo as it is, and ``labels`` [N].

        ``share`` moves the teacher's embedding towards the mean of its identity (`fine_tune.towards_identity`).
        """
        super().__init__()
        self.centres = centres_of(output)
        teacher = towards_identity(self.centres.together(output), labels, share)
        self.triplets = FineTune(teacher, labels, weight=weight, margin=margin)
        self.hold_mixtures = hold_mixtures

    def forward(
        self, output: Tensor, labels: Tensor, places: Tensor, mixed: Tensor, mixed_teacher: Tensor
    ) -> tuple[Tensor, float]:
        """Return the loss, and the share of triplets that violate the margin.

        Args:
            output: the network's output for changed copies, [B, 2, D].
            labels: their identities, [B].
            places: their photos, [B].
            mixed: the output for changed copies of mixtures, [M, 2, D].
            mixed_teacher: the pretrained network's output for the mixtures as they are, [M, 2, D].
        """
        outcome = self.triplets(self.centres.together(output), labels, places)
        loss = outcome.loss + ALONE * self._apart(output, self.triplets.teacher[places])
        if len(mixed):
            wanted = self.centres.together(mixed_teacher)
            together = (self.centres.together(mixed) - wanted).square().sum(dim=1).mean()
            loss = loss + self.hold_mixtures * (together + ALONE * self._apart(mixed, wanted))
        return loss, outcome.active

    def _apart(self, output: Tensor, wanted: Tensor) -> Tensor:
        """Return the mean squared distance of each image alone to the wanted embedding [B, D] of its pair."""
        alone = self.centres.alone(output.flatten(0, 1)).reshape(output.shape)
        return torch.mean((alone - wanted[:, None]).square().sum(dim=2))
