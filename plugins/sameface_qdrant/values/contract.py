"""The embedding contract: which embeddings can be compared. Its key names collections and folders."""

import re
from dataclasses import dataclass, replace

from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.values.display import brief

MAX_DIMENSION = 65_535
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9\-_.]{0,62}[A-Za-z0-9])?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Contract:
    """What makes two embeddings comparable. A gallery is bound to exactly one contract."""

    __repr__ = brief

    model: str
    version: int
    sha256: str
    """Digest of the weights file, 64 lower-case hex digits."""
    dimension: int
    preprocessing: str
    """Name of the steps from pixels to the model's input, for instance ``arcface-112-v1``."""
    equivalent_to: frozenset[str] = frozenset()
    """Digests of other weights whose embeddings were measured to be interchangeable."""

    def accepts(self, other: "Contract") -> bool:
        """Whether a gallery under this contract accepts an embedding made under ``other``."""
        return (self.dimension, self.preprocessing) == (other.dimension, other.preprocessing) and (
            other.sha256 == self.sha256 or other.sha256 in self.equivalent_to or self.sha256 in other.equivalent_to
        )

    @property
    def key(self) -> str:
        """Short stable name, used for collections: ``<model>-v<version>-<12 hex digits of the digest>``."""
        return f"{self.model}-v{self.version}-{self.sha256[:12]}"


def check_contract(contract: Contract) -> Contract:
    """Return a contract after checking every field, with numbers of Python.

    Raises:
        InvalidArgument: a field is malformed; ``metadata["field"]`` names it.
    """
    rules = (
        ("model", bool(_NAME.fullmatch(contract.model)), "1 to 64 letters, digits, '-', '_' or '.'"),
        ("version", 1 <= contract.version < 2**31, f"1 to {2**31 - 1}"),
        ("sha256", bool(_SHA256.fullmatch(contract.sha256)), "64 lower-case hex digits"),
        ("dimension", 1 <= contract.dimension <= MAX_DIMENSION, f"1 to {MAX_DIMENSION}"),
        ("preprocessing", bool(_NAME.fullmatch(contract.preprocessing)), "1 to 64 letters, digits, '-', '_' or '.'"),
    )
    for name, fits, expected in rules:
        if not fits:
            given = str(getattr(contract, name))[:80]
            raise InvalidArgument(
                f"contract.{name} is {given!r}; expected {expected}", metadata={"field": f"contract.{name}"}
            )
    return replace(contract, version=int(contract.version), dimension=int(contract.dimension))
