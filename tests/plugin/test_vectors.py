"""Which vectors are accepted as embeddings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sameface_qdrant.errors import InvalidEmbedding
from sameface_qdrant.values.vectors import Vector, unit

LARGEST = float(np.finfo(np.float32).max)


@given(arrays.arrays(np.float32, 16, elements=st.floats(-LARGEST, LARGEST, width=32)))
def test_every_finite_direction_becomes_a_unit_vector(vector: Vector) -> None:
    if np.abs(vector).max() < 1e-30:
        with pytest.raises(InvalidEmbedding, match="zero norm"):
            unit(vector, 16)
        return
    scaled = unit(vector, 16)
    assert scaled.dtype == np.float32
    assert np.linalg.norm(scaled.astype(np.float64)) == pytest.approx(1.0, abs=1e-6)
    largest = int(np.abs(vector).argmax())
    assert np.sign(scaled[largest]) == np.sign(vector[largest])


def test_the_message_says_what_was_given_and_expected() -> None:
    with pytest.raises(InvalidEmbedding) as refused:
        unit(np.ones(3, np.float32), 4)
    assert refused.value.metadata == {"field": "embedding", "given": "[3]", "expected": "4"}
    with pytest.raises(InvalidEmbedding, match="position 2"):
        unit(np.array([1, 1, np.nan, np.inf], np.float32), 4)
