"""Checks what a model returned, the same for every runtime. Pure."""

from collections.abc import Mapping

import numpy as np

from sameface.errors import ModelCheckFailed
from sameface.inference.base import Tensor, Tensors


def checked_outputs(model: str, version: int, outputs: Mapping[str, Tensor | None]) -> Tensors:
    """Return the outputs of a model.

    Raises:
        ModelCheckFailed: an output has no values, or values that are not finite numbers. The same input gives them
            again, so repeating the call does not help.
    """
    found: dict[str, Tensor] = {}
    for name, values in outputs.items():
        if values is None or not np.isfinite(values).all():
            raise ModelCheckFailed(
                f"{model} version {version} returned values in {name!r} that are not finite numbers; check the model "
                "with `sameface model check`",
                metadata={"model": model, "version": version},
            )
        found[name] = values
    return found
