"""What a caller brings to be enrolled or compared."""

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
    """An embedding with the contract that its maker states for it; checked where it is used."""

    vector: Vector
    contract: Contract


Sample: TypeAlias = PhotoSample | EmbeddingSample
