"""What a caller may give to a calibration: a cohort of people who are not enrolled, or a table of scores."""

import csv
import math
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.metrics.comparisons import Comparisons, labelled_scores
from sameface_qdrant.values.columns import real_numbers
from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.decision import Probe
from sameface_qdrant.values.display import brief, counted
from sameface_qdrant.values.vectors import units_under


@dataclass(frozen=True, slots=True)
class Cohort:
    """Embeddings of people who are not enrolled."""

    __repr__ = brief

    vectors: NDArray[np.float32]
    """[embeddings, dimension]; need not be of unit norm."""
    identities: tuple[str, ...]
    """The identity of each embedding. Two or more of one person give mated comparisons."""
    contract: Contract | None = None
    """The contract of the embeddings. None takes the gallery's; the caller must know that it is the same."""

    def units(self, contract: Contract) -> NDArray[np.float32]:
        """Return the unit vectors, float32 [embeddings, dimension].

        Raises:
            InvalidArgument: there is no vector, or the numbers of vectors and identities differ.
            InvalidEmbedding: a vector does not fit the contract's dimension, is not finite or has zero norm.
            ContractMismatch: the embeddings were made under another contract.
        """
        if isinstance(self.identities, str) or not (_has_length(self.vectors) and _has_length(self.identities)):
            raise InvalidArgument(
                f"the cohort has a {type(self.vectors).__name__} as vectors and a {type(self.identities).__name__} as "
                "identities; expected an array [n, dimension] and a sequence of n labels",
                metadata={"field": "cohort"},
            )
        if len(self.vectors) != len(self.identities) or not self.identities:
            raise InvalidArgument(
                f"the cohort has {counted(len(self.vectors), 'vector')} and "
                f"{counted(len(self.identities), 'identity', 'identities')}; expected as many of each, and at least "
                "one",
                metadata={"field": "cohort"},
            )
        return np.stack(units_under(contract, [Probe(vector, self.contract or contract) for vector in self.vectors]))


def _has_length(value: Any) -> bool:
    # An array without axes has a method for its length, which fails.
    return hasattr(value, "__len__") and getattr(value, "ndim", 1) > 0


def read_cohort(path: Path) -> Cohort:
    """Read an ``.npz`` with ``vectors`` [embeddings, dimension] and ``identities`` [embeddings] (text or numbers).

    Raises:
        InvalidArgument: the file does not have this form, or ``path`` is no path.
        OSError: the file cannot be read.
    """
    if not isinstance(path, str | PathLike):
        raise InvalidArgument(f"path is a {type(path).__name__}; expected a Path", metadata={"field": "path"})
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as arrays:
            vectors, identities = arrays["vectors"], arrays["identities"]
            vectors = real_numbers(vectors, "vectors").reshape(vectors.shape).astype(np.float32)
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, InvalidArgument) as error:
        raise InvalidArgument(
            f"{path} is not a cohort ({error}); expected an .npz with vectors [n, dimension] and identities [n]",
            metadata={"field": "cohort"},
        ) from None
    if vectors.ndim != 2 or identities.shape != (len(vectors),):
        raise InvalidArgument(
            f"{path} holds vectors {list(vectors.shape)} and identities {list(identities.shape)}; expected "
            "[n, dimension] and [n]",
            metadata={"field": "cohort"},
        )
    return Cohort(vectors, tuple(str(identity) for identity in identities.tolist()))


def read_scores(file: TextIO) -> Comparisons:
    """Read a CSV with the columns ``score``, ``first`` and ``second``; a row with equal labels is mated.

    A column ``lead``, if there is one, holds the score minus that of the best other identity; it is empty where there
    was no other identity. With it a runner-up margin can be measured.

    Raises:
        InvalidArgument: a column is missing, a score or a lead is not a number, or ``file`` is no open text file with a
            table.
        NotEnoughData: no row is non-mated.
    """
    if isinstance(file, str) or not isinstance(file, Iterable):
        raise InvalidArgument(
            f"file is a {type(file).__name__}; expected an open text file, such as path.open()",
            metadata={"field": "file"},
        )
    rows = csv.DictReader(file)
    try:
        return _read_rows(rows)
    except csv.Error as error:
        raise InvalidArgument(
            f"the table cannot be read at line {rows.line_num}: {error}; expected a CSV in a file opened as text",
            metadata={"field": "scores"},
        ) from None


def _read_rows(rows: "csv.DictReader[str]") -> Comparisons:
    names = set(rows.fieldnames or ())
    if missing := {"score", "first", "second"} - names:
        raise InvalidArgument(
            f"the table has no column {', '.join(sorted(missing))}; expected the columns score, first and second",
            metadata={"field": "scores"},
        )
    scores, first, second, leads = [], [], [], []
    for row in rows:
        scores.append(_number(row, "score", rows.line_num))
        if "lead" in names:
            leads.append(_number(row, "lead", rows.line_num) if row["lead"] else math.nan)
        first.append(row["first"] or "")
        second.append(row["second"] or "")
    return labelled_scores(scores, first, second, leads if "lead" in names else None)


def _number(row: Mapping[str, str | None], column: str, line: int) -> float:
    try:
        return float(row[column] or "")
    except ValueError:
        raise InvalidArgument(
            f"line {line} has the {column} {str(row[column])[:40]!r}; expected a number",
            metadata={"field": "scores", "line": line},
        ) from None
