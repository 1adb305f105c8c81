"""A template map that is known exactly, for tests of what uses maps."""

import numpy as np

from sameface.inference.cards import ModelCard
from sameface_qdrant.values.template_map import TemplateMap


def exact_map(old: ModelCard, new: ModelCard) -> TemplateMap:
    """Return the map from a version to another one that subtracts a centre from the same embedding, such as 1 and 4."""
    assert new.centre is not None
    weight = np.eye(new.contract.dimension, dtype=np.float32)
    bias = -np.array(new.centre.vector, np.float32)
    return TemplateMap(old.contract, new.contract, weight, bias, operating_points=new.points)
