"""The keyed rotation of embeddings: an orthogonal matrix that keeps every inner product and is drawn from a key."""

import numpy as np
from numpy.typing import NDArray

from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.store.protection.keys import missing_package
from sameface_qdrant.values.vectors import Vector

MOST_DIMENSIONS = 4096
"""A matrix of this size takes 64 MiB. Making it takes seconds."""
_DRAWN_BYTES = 8


class Rotation:
    """An orthogonal matrix, with reflections, uniform over all of them (Haar measure).

    The columns of a matrix of independent normal numbers are made orthonormal, and the sign of each is chosen such that
    the result is unique (Mezzadri, Notices of the AMS 54, 2007). The numbers come from the key stream of ChaCha20 under
    a key of 32 bytes. So the same key gives the same matrix everywhere, except for the rounding of the machine.
    """

    def __init__(self, key: bytes, dimension: int) -> None:
        """Draw the matrix; blocks for about 30 ms at 512 dimensions.

        Raises:
            InvalidArgument: the dimension is above 4096, or cryptography is not installed.
        """
        check_dimension(dimension)
        normal = _normal_numbers(key, dimension * dimension).reshape(dimension, dimension)
        columns, upper = np.linalg.qr(normal)
        self._matrix = np.ascontiguousarray(columns * np.sign(np.diagonal(upper)), dtype=np.float32)

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return self._matrix.nbytes

    def applied(self, vector: Vector) -> Vector:
        """Return the stored form of a unit vector, float32 [dimension], of unit norm."""
        # Not by BLAS: its threads would wait for busy cores, for a product of microseconds.
        return _unit(np.einsum("ij,j->i", self._matrix, vector))

    def undone(self, vector: Vector) -> Vector:
        """Return the unit vector of a stored form."""
        return _unit(np.einsum("i,ij->j", vector, self._matrix))


def check_dimension(dimension: int) -> None:
    """Raise InvalidArgument if embeddings of this dimension cannot be protected."""
    if dimension > MOST_DIMENSIONS:
        raise InvalidArgument(
            f"contract.dimension is {dimension}; a protected gallery holds embeddings of at most {MOST_DIMENSIONS} "
            "numbers",
            metadata={"field": "contract.dimension"},
        )


def _unit(vector: Vector) -> Vector:
    wide = vector.astype(np.float64)
    return (wide / np.linalg.norm(wide)).astype(np.float32)


def _normal_numbers(key: bytes, count: int) -> NDArray[np.float64]:
    """Return independent standard normal numbers (Box and Muller, 1958) from the key's stream."""
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
    except ImportError as error:
        raise missing_package() from error
    pairs = (count + 1) // 2
    stream = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
    drawn = np.frombuffer(stream.update(bytes(2 * pairs * _DRAWN_BYTES)), dtype="<u8").reshape(2, pairs)
    # The upper 53 bits, as a number in (0, 1].
    uniform = ((drawn >> np.uint64(11)).astype(np.float64) + 1.0) * 2.0**-53
    radius, angle = np.sqrt(-2.0 * np.log(uniform[0])), 2.0 * np.pi * uniform[1]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
