"""What may be an embedding contract; its key names collections and folders."""

import re

from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.values import Contract

MAX_DIMENSION = 65_535
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9\-_.]{0,62}[A-Za-z0-9])?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_contract(contract: Contract) -> Contract:
    """Return a contract after checking every field.

    Raises:
        InvalidArgument: a field is malformed; ``metadata["field"]`` names it.
    """
    rules = (
        ("model", bool(_NAME.fullmatch(contract.model)), "1 to 64 letters, digits, '-', '_' or '.'"),
        ("version", 1 <= contract.version < 2**31, "1 or greater"),
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
    return contract
