"""The samples that callers send: photos and embeddings."""

from dataclasses import dataclass
from typing import TypeAlias

from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.vectors import Vector


@dataclass(frozen=True, slots=True)
class PhotoSample:
    """The bytes of one image file."""

    content: bytes


@dataclass(frozen=True, slots=True)
class EmbeddingSample:
    """An embedding with the contract that the caller states. The store checks both when it uses them."""

    vector: Vector
    contract: Contract


Sample: TypeAlias = PhotoSample | EmbeddingSample
