"""Template maps: from embeddings under one contract to embeddings under another, without a photo.

A map is affine, y = weight · x + bias, and may have a small network beside it: + out · max(0, inner · x + inner_bias).
What it gives is scaled to unit norm.
"""

import dataclasses
import hashlib
import io
import json
import struct
import zipfile
from dataclasses import InitVar, asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sameface_qdrant.errors import InvalidArgument, InvalidEmbedding, MapMismatch
from sameface_qdrant.values.contract import Contract, check_contract
from sameface_qdrant.values.display import brief
from sameface_qdrant.values.gallery import OperatingPoint
from sameface_qdrant.values.vectors import is_usable, numbers

Numbers = NDArray[np.float32]
FORMAT = 1
"""Of the bytes of a map."""
MAX_BYTES = 64 * 2**20
"""Most bytes of a map, unpacked too. One with 128 numbers on both sides has 66 KB."""
LEAST_NORM = 1e-6
"""A mapped vector that is shorter has no direction but that of rounding."""
_CONTRACT_FIELDS = ("model", "version", "sha256", "dimension", "preprocessing")


@dataclass(frozen=True, slots=True)
class Hidden:
    """The hidden layer of a map with a small network: adds ``out · max(0, inner · x + inner_bias)``."""

    __repr__ = brief

    inner: Numbers
    """Shape [H, old dimension]."""
    inner_bias: Numbers
    """Shape [H]."""
    out: Numbers
    """Shape [new dimension, H]."""


@dataclass(frozen=True, slots=True, eq=False)
class TemplateMap:
    """A function from unit vectors under an old contract to unit vectors under a new one.

    Maps with the same ``sha256`` are equal. The arrays are copied and cannot be changed.

    Raises:
        MapMismatch: an array has not the shape that the contracts ask for.
        InvalidArgument: an array has a number that is not finite, or a contract or an operating point is malformed.
    """

    __repr__ = brief

    old: Contract
    new: Contract
    weight: Numbers
    """Shape [new dimension, old dimension]."""
    bias: Numbers
    """Shape [new dimension]."""
    hidden: Hidden | None = None
    operating_points: tuple[OperatingPoint, ...] = ()
    """Thresholds of probes under the new contract against mapped templates. Those of the new model's card do not hold
    for them: mapped templates have another distribution of scores."""
    sha256: str = field(init=False, default="")
    """Digest of the contracts, the arrays and the operating points, 64 hex digits."""
    expected_sha256: InitVar[str] = ""

    def __post_init__(self, expected_sha256: str) -> None:
        given = object.__setattr__
        for name in ("old", "new"):
            given(self, name, check_contract(getattr(self, name)))
        sizes = {"weight": (self.new.dimension, self.old.dimension), "bias": (self.new.dimension,)}
        for name, shape in sizes.items():
            given(self, name, _checked(getattr(self, name), name, shape))
        if self.hidden is not None:
            given(self, "hidden", _checked_hidden(self.hidden, self.old, self.new))
        given(self, "operating_points", _checked_points(self.operating_points))
        given(self, "sha256", _digest(self))
        if expected_sha256 and expected_sha256 != self.sha256:
            raise MapMismatch(
                f"the map from {self.old.key[:80]} to {self.new.key[:80]} has the digest {self.sha256}; expected "
                f"{expected_sha256[:64]}; the map was changed or damaged: fit it again, or take it from a backup",
                metadata={"given": self.sha256, "expected": expected_sha256[:64]},
            )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TemplateMap) and other.sha256 == self.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    @property
    def arrays(self) -> dict[str, Numbers]:
        """The numbers of the map by name, float32 and read-only."""
        found = {"weight": self.weight, "bias": self.bias}
        if self.hidden is not None:
            found |= {name: getattr(self.hidden, name) for name in ("inner", "inner_bias", "out")}
        return found

    def check_between(self, old: Contract, new: Contract) -> None:
        """Check that the map fits templates under ``old`` and probes under ``new``.

        Raises:
            MapMismatch: it was fitted for other versions, and their contracts are not equivalent.
        """
        for which, fitted, given in (("from", self.old, old), ("to", self.new, new)):
            if not fitted.accepts(given):
                raise MapMismatch(
                    f"the map was fitted {which} {fitted.key[:80]} ({fitted.dimension} numbers, "
                    f"{fitted.preprocessing[:40]}); expected {which} {given.key[:80]} ({given.dimension} numbers, "
                    f"{given.preprocessing[:40]}); take the map of these two versions, or fit one with "
                    "`sameface model map`",
                    metadata={"given": fitted.key[:80], "expected": given.key[:80]},
                )

    def applied(self, vectors: ArrayLike) -> Numbers:
        """Return mapped templates, float32 [n, new dimension], each of unit norm; computed in double precision.

        Args:
            vectors: Templates under the old contract, shape [n, old dimension]. Each is scaled to unit norm first.

        Raises:
            InvalidEmbedding: the shape is another, a number is not finite, or a vector is zero or maps to zero;
                ``metadata["number"]`` says which one.
        """
        given = numbers(vectors)
        if given.ndim != 2 or given.shape[1] != self.old.dimension:
            raise InvalidEmbedding(
                f"the templates have shape {list(given.shape)}; expected [n, {self.old.dimension}], as the map from "
                f"{self.old.key[:80]} takes",
                metadata={"field": "vectors", "given": list(given.shape), "expected": self.old.dimension},
            )
        _check_rows(is_usable(given), "is zero or not finite; expected a template with a direction")
        inputs = _unit_rows(given)
        mapped = inputs @ self.weight.T.astype(np.float64) + self.bias
        if self.hidden is not None:
            inner = inputs @ self.hidden.inner.T.astype(np.float64) + self.hidden.inner_bias
            mapped += np.maximum(inner, 0.0) @ self.hidden.out.T.astype(np.float64)
        _check_rows(
            np.linalg.norm(mapped, axis=1) >= LEAST_NORM,
            "maps to zero, so that it has no counterpart under the new contract; enrol a photo of it again",
        )
        return _unit_rows(mapped).astype(np.float32)

    def to_bytes(self) -> bytes:
        """Return the map as bytes: an .npz archive of its arrays and one text. Equal maps give equal bytes."""
        head = {
            "format": FORMAT,
            "old": contract_record(self.old),
            "new": contract_record(self.new),
            "operating_points": [asdict(point) for point in self.operating_points],
            "sha256": self.sha256,
        }
        # The byte order is named, so that the bytes are the same on every machine.
        arrays: dict[str, Any] = {name: array.astype("<f4") for name, array in self.arrays.items()}
        written = io.BytesIO()
        np.savez(written, head=np.frombuffer(json.dumps(head, sort_keys=True).encode(), dtype=np.uint8), **arrays)
        return written.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "TemplateMap":
        """Read a map from the bytes of `to_bytes`. They hold no code.

        Raises:
            MapMismatch: the digest in them is not that of the numbers, or an array has another shape than the contracts
                ask for.
            InvalidArgument: these are no bytes of a map, a newer release wrote them, or a number is not finite.
        """
        try:
            return _read(content)
        except (InvalidArgument, MapMismatch):
            raise
        except Exception as error:  # Whatever numpy, zipfile or json raise for bytes that are not theirs.
            raise InvalidArgument(
                f"{len(content):,} bytes are not a template map: {type(error).__name__}: {str(error)[:120]}; expected "
                "those of the file map.npz that `sameface model map` writes",
                metadata={"field": "map"},
            ) from error


def _read(content: bytes) -> TemplateMap:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        size = max(len(content), sum(one.file_size for one in archive.infolist()))
    if size > MAX_BYTES:
        raise InvalidArgument(
            f"the map has {size:,} bytes; expected at most {MAX_BYTES:,}; fit a smaller one", metadata={"field": "map"}
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        head = json.loads(bytes(arrays["head"]))
        if head["format"] != FORMAT:
            raise InvalidArgument(
                f"the map has format {str(head['format'])[:20]}; this release reads format {FORMAT}; upgrade sameface",
                metadata={"found": str(head["format"])[:20], "current": FORMAT},
            )
        return TemplateMap(
            old=Contract(**head["old"]),
            new=Contract(**head["new"]),
            weight=arrays["weight"],
            bias=arrays["bias"],
            hidden=Hidden(arrays["inner"], arrays["inner_bias"], arrays["out"]) if "out" in arrays.files else None,
            operating_points=tuple(OperatingPoint(**point) for point in head["operating_points"]),
            expected_sha256=head["sha256"] or "none",
        )


def _checked(array: ArrayLike, name: str, shape: tuple[int, ...]) -> Numbers:
    values = np.array(array, dtype=np.float32)
    if values.shape != shape:
        raise MapMismatch(
            f"{name} of the map has shape {list(values.shape)}; expected {list(shape)}, as the two contracts ask for; "
            "take the map of these two versions",
            metadata={"field": name, "given": list(values.shape), "expected": list(shape)},
        )
    if not np.isfinite(values).all():
        raise InvalidArgument(
            f"{name} of the map has a number that is not finite; expected finite numbers; fit the map again",
            metadata={"field": name},
        )
    values.flags.writeable = False
    return values


def _checked_hidden(hidden: Hidden, old: Contract, new: Contract) -> Hidden:
    size = int(np.shape(hidden.inner_bias)[0]) if np.ndim(hidden.inner_bias) else 0
    shapes = {"inner": (size, old.dimension), "inner_bias": (size,), "out": (new.dimension, size)}
    return Hidden(**{name: _checked(getattr(hidden, name), name, shape) for name, shape in shapes.items()})


def _checked_points(points: tuple[OperatingPoint, ...]) -> tuple[OperatingPoint, ...]:
    plain = tuple(OperatingPoint(float(point.fmr), float(point.threshold)) for point in points)
    for place, point in enumerate(plain):
        if not (0.0 <= point.fmr <= 1.0 and np.isfinite(point.threshold)):
            raise InvalidArgument(
                f"operating_points[{place}] of the map is {point}; expected an fmr of 0 to 1 and a finite threshold",
                metadata={"field": f"operating_points[{place}]"},
            )
    return plain


def _digest(given: TemplateMap) -> str:
    """Return the SHA-256 of a map. Each part has its name and size before it, so that no two maps have one form."""
    digest = hashlib.sha256()
    parts = {name: array.astype("<f4").tobytes() for name, array in sorted(given.arrays.items())}
    head = {"old": contract_record(given.old), "new": contract_record(given.new)}
    parts |= {"contracts": json.dumps(head, sort_keys=True).encode()}
    parts |= {"points": b"".join(struct.pack("<dd", *dataclasses.astuple(one)) for one in given.operating_points)}
    for name, content in parts.items():
        digest.update(struct.pack("<II", len(name), len(content)) + name.encode() + content)
    return digest.hexdigest()


def contract_record(contract: Contract) -> dict[str, Any]:
    """Return what identifies a contract, as plain values. Which weights are equivalent is no part of it."""
    return {name: getattr(contract, name) for name in _CONTRACT_FIELDS}


def _unit_rows(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled = rows / np.abs(rows).max(axis=1, keepdims=True, initial=0.0)
    normed: NDArray[np.float64] = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    return normed


def _check_rows(good: NDArray[np.bool_], told: str) -> None:
    if not good.all():
        number = int(np.flatnonzero(~good)[0])
        raise InvalidEmbedding(f"template {number} {told}", metadata={"field": "vectors", "number": number})
