"""Presentation attack detection (ISO/IEC 30107-1): scores a face with the optional model `face_pad`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sameface.errors import ModelCheckFailed, ModelNotFound, PhotoRequired, PresentationAttackSuspected
from sameface.inference.base import ModelRuns, Tensor
from sameface.inference.cards import PAD, ModelCard
from sameface.pipeline.samples import EmbeddingSample, Sample
from sameface.vision import PAD_PREPROCESSING, Detection, Pixels, pad_crop
from sameface_qdrant.values.gallery import Gallery, PresentationAttackAction


@dataclass(frozen=True, slots=True)
class PadResult:
    """How the model judges one face."""

    score: float
    """Bona fide score, 0 to 1; higher means less like an attack."""
    threshold: float | None
    """Lowest score that the gallery accepts; None without a gallery."""
    model_version: int

    @property
    def suspected(self) -> bool:
        """Whether the face counts as a presentation attack."""
        return self.threshold is not None and self.score < self.threshold

    def refusal(self) -> PresentationAttackSuspected:
        """Return the error for a face that counts as an attack."""
        return PresentationAttackSuspected(
            # Without the score, which not every caller may know.
            f"the photo may be a presentation attack: its bona fide score is below {self.threshold:g}, the lowest that "
            "the gallery accepts; take a new photo of the person",
            metadata={
                "score": f"{self.score:.4f}",
                "threshold": f"{self.threshold:g}",
                "model": PAD,
                "version": self.model_version,
            },
        )


@dataclass(frozen=True, slots=True)
class AttackDetector:
    """One version of the model `face_pad`, and what a gallery asks of it."""

    inference: ModelRuns
    version: int
    threshold: float | None = None
    rejects: bool = False
    """Whether a score below the threshold is an issue of the face."""

    async def examine(self, pixels: Pixels, face: Detection) -> PadResult:
        """Score one face. ``face`` is in pixels of the image ``pixels``, RGB [height, width, 3].

        Raises:
            ModelNotFound, ModelUnavailable: the model is not served, or does not answer at the moment.
            ModelCheckFailed: it returned something else than two finite logits.
        """
        images = _input(pixels, face)
        outputs = await self.inference.run(PAD, self.version, {"images": images})
        return PadResult(self._score(outputs.get("logits")), self.threshold, self.version)

    def _score(self, logits: Tensor | None) -> float:
        if logits is None or logits.shape != (1, 2) or not np.isfinite(logits).all():
            raise ModelCheckFailed(
                f"{PAD} version {self.version} did not return two finite logits; check the model with `sameface model "
                "check`",
                metadata={"model": PAD, "version": self.version},
            )
        bona_fide, attack = (float(logit) for logit in logits[0])
        # The softmax of two numbers. A larger exponent would overflow.
        return 1.0 / (1.0 + math.exp(min(700.0, attack - bona_fide)))


@dataclass(frozen=True, slots=True)
class AttackDetection:
    """What the service can do about presentation attacks with the models that it serves."""

    inference: ModelRuns
    cards: Sequence[ModelCard]

    def check(self, action: PresentationAttackAction | None) -> None:
        """Raise ModelNotFound if a policy asks for the model and it is not served."""
        if action not in (None, PresentationAttackAction.OFF) and self.detector() is None:
            raise _missing()

    def detector(self) -> AttackDetector | None:
        """Return the detector without a threshold; None if the model is not served. The highest version is used.

        Raises:
            ModelCheckFailed: its card names a crop that this release does not make.
        """
        card = max((card for card in self.cards if card.model == PAD), key=lambda card: card.version, default=None)
        if card is None:
            return None
        if card.preprocessing != PAD_PREPROCESSING:
            raise ModelCheckFailed(
                f"the card of {PAD} version {card.version} names the preprocessing {card.preprocessing!r}; this "
                f"release makes {PAD_PREPROCESSING!r}; add the model again with `sameface model add`",
                metadata={"model": PAD, "version": card.version},
            )
        return AttackDetector(self.inference, card.version)

    def detector_for(self, gallery: Gallery, sample: Sample) -> AttackDetector | None:
        """Return the detector that a gallery's policy asks for; None if it asks for none.

        Raises:
            ModelNotFound: it asks for one, and the model is not served.
            PhotoRequired: it rejects attacks, and the sample is an embedding.
        """
        policy = gallery.policy
        if policy.presentation_attack is PresentationAttackAction.OFF:
            return None
        rejects = policy.presentation_attack is PresentationAttackAction.REJECT
        if rejects and isinstance(sample, EmbeddingSample):
            raise PhotoRequired(
                f"the gallery {gallery.id!r} rejects presentation attacks, and an embedding has no photo to examine; "
                "send the photo",
                metadata={"gallery": gallery.id},
            )
        detector = self.detector()
        if detector is None:
            raise _missing()
        return replace(detector, threshold=policy.presentation_attack_threshold, rejects=rejects)


def _missing() -> ModelNotFound:
    return ModelNotFound(
        f"the policy about presentation attacks needs the model {PAD}, and it is not served; add one with `sameface "
        "model add` and restart the service, or set the gallery's presentation_attack to off",
        metadata={"model": PAD},
    )


def _input(pixels: Pixels, face: Detection) -> Pixels:
    """Return the crop as the model's input, uint8 [1, 3, 128, 128]."""
    return np.ascontiguousarray(pad_crop(pixels, face).transpose(2, 0, 1)[np.newaxis])
