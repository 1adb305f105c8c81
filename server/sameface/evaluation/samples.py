"""Labelled embeddings, which every evaluation works on, and the file that holds them. Pure numpy."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.metrics.comparisons import Vectors
from sameface_qdrant.metrics.error_rates import Indices

Compare = Callable[[Indices, Indices], NDArray[np.floating]]
"""Returns the scores of samples (positions) with other samples, [probes, references]."""

FACE_NOT_FOUND = "FACE_NOT_FOUND"
UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Failure:
    """A sample without an embedding."""

    sample: str
    identity: str
    reason: str
    """``FACE_NOT_FOUND`` is a failure to acquire and counts in the rates. Samples with other reasons are left out."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Embeddings with their identities, and the samples without an embedding."""

    vectors: Vectors
    """Unit L2 norm, float32 [samples, dimension]."""
    identity: tuple[str, ...]
    sample: tuple[str, ...]
    """Unique names: paths relative to the data folder, separated by ``/``."""
    failures: tuple[Failure, ...] = ()
    model: str = ""
    """The model that made the embeddings, as text: name, version, digest."""
    preprocessed: str = ""
    """How the pictures were prepared, as text."""
    refusals: dict[str, int] = field(default_factory=dict)
    """How many samples the service's quality gate would refuse, by reason. These samples count nevertheless."""

    def __post_init__(self) -> None:
        """Check shapes, finite numbers, unit norms and unique names.

        Raises:
            InvalidArgument: a check fails.
        """
        vectors = self.vectors
        if vectors.ndim != 2 or not len(vectors) == len(self.identity) == len(self.sample):
            raise _refused(
                f"vectors have shape {list(vectors.shape)}, with {len(self.identity)} identities and "
                f"{len(self.sample)} sample names; expected [samples, dimension] and one of each for every sample"
            )
        if len(vectors):
            norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
            # With "not ≤" instead of ">", NaN is wrong too.
            wrong = np.flatnonzero(~(np.abs(norms - 1.0) <= UNIT_TOLERANCE))
            if wrong.size:
                raise _refused(
                    f"{wrong.size} vectors do not have unit norm, for instance that of {self.sample[wrong[0]]!r} has "
                    f"{norms[wrong[0]]:.4g}; divide each vector by its L2 norm"
                )
        names = [*self.sample, *(one.sample for one in self.failures)]
        if len(set(names)) != len(names):
            twice = next(name for name in sorted(names) if names.count(name) > 1)
            raise _refused(f"the sample {twice!r} is listed more than once; expected every name once")

    @property
    def not_acquired(self) -> tuple[Failure, ...]:
        """Samples without a face: failures to acquire, which count as errors."""
        return tuple(one for one in self.failures if one.reason == FACE_NOT_FOUND)

    @property
    def unreadable(self) -> tuple[Failure, ...]:
        """Files that could not be read as a photo: left out of all figures."""
        return tuple(one for one in self.failures if one.reason != FACE_NOT_FOUND)


def read_embeddings(path: Path) -> Samples:
    """Read an ``.npz`` of embeddings.

    Arrays: ``vectors`` [n, dimension] of unit norm, ``identity`` [n] and ``sample`` [n] (text). Optional: ``model`` and
    ``preprocessed`` (one text each); for samples without an embedding ``failed_sample``, ``failed_identity`` and
    ``failed_reason`` [m] (text).

    Raises:
        InvalidArgument: the file does not have this form.
        OSError: the file cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        vectors = np.asarray(found["vectors"], dtype=np.float32)
        failed = [_texts(found.get(f"failed_{name}", np.empty(0))) for name in ("sample", "identity", "reason")]
        return Samples(
            vectors,
            _texts(found["identity"]),
            _texts(found["sample"]),
            tuple(Failure(*row) for row in zip(*failed, strict=True)),
            _text(found.get("model")),
            _text(found.get("preprocessed")),
        )
    except (KeyError, ValueError, EOFError, AttributeError) as error:
        raise _refused(
            f"{path} is not a file of embeddings ({error}); expected an .npz with vectors [n, dimension], identity [n] "
            "and sample [n]"
        ) from None
    except InvalidArgument as error:
        raise _refused(f"{path}: {error.message}") from None


def write_embeddings(path: Path, samples: Samples) -> None:
    """Write an ``.npz`` that `read_embeddings` reads. It does not hold ``refusals``."""
    failed = samples.failures
    with path.open("wb") as file:
        np.savez(
            file,
            vectors=samples.vectors.astype(np.float32),
            identity=np.array(samples.identity, dtype=np.str_),
            sample=np.array(samples.sample, dtype=np.str_),
            model=np.array(samples.model),
            preprocessed=np.array(samples.preprocessed),
            failed_sample=np.array([one.sample for one in failed], dtype=np.str_),
            failed_identity=np.array([one.identity for one in failed], dtype=np.str_),
            failed_reason=np.array([one.reason for one in failed], dtype=np.str_),
        )


def _texts(array: NDArray[np.generic]) -> tuple[str, ...]:
    if array.ndim != 1:
        raise ValueError(f"an array of text has shape {list(array.shape)}; expected one dimension")
    return tuple(str(value) for value in array.tolist())


def _text(array: NDArray[np.generic] | None) -> str:
    return "" if array is None else str(array.item())


def _refused(message: str) -> InvalidArgument:
    return InvalidArgument(message, metadata={"field": "embeddings"})
