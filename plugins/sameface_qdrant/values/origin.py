"""The origin of a stored embedding under its contract: a photo that the model saw, or a template map."""

from enum import StrEnum
from typing import Protocol


class EmbeddingOrigin(StrEnum):
    """How a template's embedding came to be under its contract."""

    NATIVE = "NATIVE"
    """The model of the contract made it from a photo, or the caller gave it."""
    MAPPED = "MAPPED"
    """A template map made it from the embedding of another model version."""


class Scored(Protocol):
    """A score with a template of known origin."""

    @property
    def score(self) -> float:
        """Cosine, −1 to 1."""
        ...

    @property
    def embedding_origin(self) -> EmbeddingOrigin:
        """That of the template."""
        ...


def comparable(scored: Scored, shift: float) -> float:
    """Return a score as one with a native template: with ``shift`` added if the template is mapped."""
    return scored.score + shift if scored.embedding_origin is EmbeddingOrigin.MAPPED else scored.score
