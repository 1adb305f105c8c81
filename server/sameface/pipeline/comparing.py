"""Decides whether two embeddings are of one person, without a gallery."""

from collections.abc import Sequence

import numpy as np

from sameface.inference.cards import ModelCard
from sameface.observation.calls import PRESENT
from sameface.pipeline.embedders import Embedders
from sameface_qdrant.errors import ThresholdNotCalibrated
from sameface_qdrant.policy import decide_comparison
from sameface_qdrant.values.decision import Decision, Probe
from sameface_qdrant.values.gallery import Policy
from sameface_qdrant.values.vectors import units_under


def decided_pair(
    pair: Sequence[Probe], card: ModelCard, embedders: Embedders, *, threshold: float | None, target_fmr: float | None
) -> Decision:
    """Return the decision about two embeddings under the contract of a card.

    Raises:
        InvalidEmbedding, ContractMismatch: an embedding does not fit the contract.
        ThresholdNotCalibrated: neither the caller nor the card has a threshold.
    """
    first, second = units_under(card.contract, pair)
    score = float(np.clip(first @ second, -1.0, 1.0))
    policy = Policy() if target_fmr is None else Policy(target_fmr=target_fmr)
    try:
        decision = decide_comparison(score, policy=policy, operating_points=card.points, threshold=threshold)
    except ThresholdNotCalibrated as error:
        raise embedders.explained(error, card.contract) from None
    if (call := PRESENT.get()) is not None:
        call.decided(decision, card.contract)
    return decision
