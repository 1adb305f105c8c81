"""Labelled embeddings, which every evaluation works on, and the file that holds them. Pure numpy."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sameface.evaluation.forgery_names import is_forgery, signer
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
    """Embeddings with their identities, and the samples without an embedding.

    Skilled forgeries are apart, in ``forgeries``. So whatever works on ``vectors`` and ``identity`` never mates and
    never enrols one.
    """

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
    forgeries: "Samples | None" = None
    """Skilled forgeries; the identity of each is the one that it imitates. None if there are none."""

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
        names = self._names()
        if self.forgeries is not None:
            names += self.forgeries._names()
            if self.forgeries.vectors.shape[1:] != vectors.shape[1:]:
                raise _refused(
                    f"forgeries have {self.forgeries.vectors.shape[1]} numbers each and the genuine samples "
                    f"{vectors.shape[1]}; expected embeddings of one model"
                )
        if len(set(names)) != len(names):
            twice = next(name for name in sorted(names) if names.count(name) > 1)
            raise _refused(f"the sample {twice!r} is listed more than once; expected every name once")

    def _names(self) -> list[str]:
        return [*self.sample, *(one.sample for one in self.failures)]

    @property
    def not_acquired(self) -> tuple[Failure, ...]:
        """Samples without a face: failures to acquire, which count as errors."""
        return tuple(one for one in self.failures if one.reason == FACE_NOT_FOUND)

    @property
    def unreadable(self) -> tuple[Failure, ...]:
        """Files that could not be read as a photo: left out of all figures."""
        return tuple(one for one in self.failures if one.reason != FACE_NOT_FOUND)


def separate_forgeries(samples: Samples, is_forged: Callable[[str], bool] = is_forgery) -> Samples:
    """Return the samples with the forgeries among them apart.

    ``is_forged`` is given the name of a sample. If there are forgeries, ``ada/genuine`` and ``ada/forgery`` become the
    one identity ``ada``.
    """
    forged = np.array([is_forged(name) for name in samples.sample], np.bool_)
    failed = [is_forged(one.sample) for one in samples.failures]
    if not forged.any() and not any(failed):
        return samples

    def part(kind: bool) -> Samples:
        rows = np.flatnonzero(forged == kind)
        return replace(
            samples,
            vectors=samples.vectors[rows],
            identity=tuple(signer(samples.identity[row]) for row in rows),
            sample=tuple(samples.sample[row] for row in rows),
            failures=tuple(
                replace(one, identity=signer(one.identity))
                for one, is_one in zip(samples.failures, failed, strict=True)
                if is_one == kind
            ),
        )

    return replace(part(False), forgeries=replace(part(True), refusals={}))


def read_embeddings(path: Path, forged: str | None = None) -> Samples:
    """Read an ``.npz`` of embeddings.

    Arrays: ``vectors`` [n, dimension] of unit norm, ``identity`` [n] and ``sample`` [n] (text). Optional: ``model`` and
    ``preprocessed`` (one text each); for samples without an embedding ``failed_sample``, ``failed_identity`` and
    ``failed_reason`` [m] (text); ``forgery`` [n] and ``failed_forgery`` [m] (true for skilled forgeries). Without the
    last two, a sample is a forgery by its name (`sameface.evaluation.forgery_names.is_forgery`).

    Args:
        path: the file.
        forged: a regular expression that the names of forgeries match, and no others; it replaces the arrays.

    Raises:
        InvalidArgument: the file does not have this form, or ``forged`` is not a regular expression.
        OSError: the file cannot be read.
    """
    matches = _matcher(forged)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        vectors = np.asarray(found["vectors"], dtype=np.float32)
        failed = [_texts(found.get(f"failed_{name}", np.empty(0))) for name in ("sample", "identity", "reason")]
        samples = Samples(
            vectors,
            _texts(found["identity"]),
            _texts(found["sample"]),
            tuple(Failure(*row) for row in zip(*failed, strict=True)),
            _text(found.get("model")),
            _text(found.get("preprocessed")),
        )
        labelled = {*_labelled(found, "forgery", samples.sample), *_labelled(found, "failed_forgery", failed[0])}
    except (KeyError, ValueError, EOFError, AttributeError) as error:
        raise _refused(
            f"{path} is not a file of embeddings ({error}); expected an .npz with vectors [n, dimension], identity [n] "
            "and sample [n]"
        ) from None
    except InvalidArgument as error:
        raise _refused(f"{path}: {error.message}") from None
    if matches is not None:
        return separate_forgeries(samples, matches)
    if "forgery" in found or "failed_forgery" in found:
        return separate_forgeries(samples, labelled.__contains__)
    return separate_forgeries(samples)


def write_embeddings(path: Path, samples: Samples) -> None:
    """Write an ``.npz`` that `read_embeddings` reads. It does not hold ``refusals``."""
    parts = [samples] if samples.forgeries is None else [samples, samples.forgeries]
    failed = [one for part in parts for one in part.failures]
    labels: dict[str, Any] = {
        "forgery": np.array([place > 0 for place, part in enumerate(parts) for _ in part.sample], np.bool_),
        "failed_forgery": np.array([place > 0 for place, part in enumerate(parts) for _ in part.failures], np.bool_),
    }
    with path.open("wb") as file:
        np.savez(
            file,
            vectors=np.concatenate([part.vectors for part in parts]).astype(np.float32),
            identity=np.array([name for part in parts for name in part.identity], dtype=np.str_),
            sample=np.array([name for part in parts for name in part.sample], dtype=np.str_),
            model=np.array(samples.model),
            preprocessed=np.array(samples.preprocessed),
            failed_sample=np.array([one.sample for one in failed], dtype=np.str_),
            failed_identity=np.array([one.identity for one in failed], dtype=np.str_),
            failed_reason=np.array([one.reason for one in failed], dtype=np.str_),
            **(labels if len(parts) > 1 else {}),
        )


def _matcher(pattern: str | None) -> Callable[[str], bool] | None:
    """Return a function that tells whether a name matches, anywhere in it; None without a pattern."""
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InvalidArgument(
            f"--forged is {pattern!r}, which is not a regular expression: {error}", metadata={"field": "forged"}
        ) from None
    return lambda name: compiled.search(name) is not None


def _labelled(arrays: Mapping[str, NDArray[np.generic]], label: str, names: Sequence[str]) -> set[str]:
    """Return the names that an array of labels is true for; none if there is no such array."""
    if label not in arrays:
        return set()
    flags = arrays[label]
    if flags.shape != (len(names),) or not np.isin(flags, (0, 1)).all():
        raise ValueError(
            f"{label} has shape {list(flags.shape)} and type {flags.dtype}, expected [{len(names)}] of bool"
        )
    return {name for name, flag in zip(names, flags.tolist(), strict=True) if flag}


def _texts(array: NDArray[np.generic]) -> tuple[str, ...]:
    if array.ndim != 1:
        raise ValueError(f"an array of text has shape {list(array.shape)}; expected one dimension")
    return tuple(str(value) for value in array.tolist())


def _text(array: NDArray[np.generic] | None) -> str:
    return "" if array is None else str(array.item())


def _refused(message: str) -> InvalidArgument:
    return InvalidArgument(message, metadata={"field": "embeddings"})
