"""Files of embeddings: what is read, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sameface.evaluation.samples import Failure, Samples, read_embeddings, write_embeddings
from sameface_qdrant.errors import InvalidArgument


def test_what_is_written_is_read_again(people: Samples, tmp_path: Path) -> None:
    blurred = replace(people, failures=(*people.failures, Failure("p01/x.jpg", "p01", "IMAGE_UNDECODABLE")))
    write_embeddings(tmp_path / "people.npz", blurred)
    read = read_embeddings(tmp_path / "people.npz")
    np.testing.assert_array_equal(read.vectors, blurred.vectors)
    assert (read.identity, read.sample, read.failures, read.model) == (
        blurred.identity,
        blurred.sample,
        blurred.failures,
        "made up",
    )
    assert [one.sample for one in read.unreadable] == ["p01/x.jpg"]
    assert len(read.not_acquired) == 2


def test_a_file_needs_three_arrays_alone(tmp_path: Path) -> None:
    np.savez(tmp_path / "few.npz", vectors=np.eye(2), identity=["a", "b"], sample=["a/1", "b/1"])
    read = read_embeddings(tmp_path / "few.npz")
    assert read.vectors.dtype == np.float32
    assert (read.identity, read.failures, read.model) == (("a", "b"), (), "")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"vectors": np.eye(2), "identity": ["a", "b"]}, "sample"),
        ({"vectors": np.eye(2), "identity": ["a"], "sample": ["1", "2"]}, "expected"),
        ({"vectors": 2 * np.eye(2), "identity": ["a", "b"], "sample": ["1", "2"]}, "unit norm"),
        ({"vectors": np.full((2, 2), np.nan), "identity": ["a", "b"], "sample": ["1", "2"]}, "unit norm"),
        ({"vectors": np.eye(2), "identity": ["a", "b"], "sample": ["1", "1"]}, "more than once"),
    ],
)
def test_a_file_that_is_no_embeddings_is_refused(tmp_path: Path, arrays: dict[str, object], message: str) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=message):
        read_embeddings(tmp_path / "bad.npz")


def test_bytes_that_are_no_arrays_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(b"no arrays")
    with pytest.raises(InvalidArgument, match="not a file of embeddings"):
        read_embeddings(tmp_path / "bad.npz")
