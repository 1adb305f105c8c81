"""Template maps: what they compute, their digest, their bytes, and which are refused."""

import dataclasses
import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sameface_qdrant import Contract, OperatingPoint
from sameface_qdrant.errors import InvalidArgument, InvalidEmbedding, MapMismatch
from sameface_qdrant.values.template_map import MAX_BYTES, Hidden, TemplateMap

OLD = Contract("voices", version=1, sha256="a" * 64, dimension=5, preprocessing="none")
NEW = Contract("voices", version=2, sha256="b" * 64, dimension=3, preprocessing="none")
POINTS = (OperatingPoint(1e-3, 0.25), OperatingPoint(1e-4, 0.375))


def made(seed: int = 0, hidden: int = 0) -> TemplateMap:
    rng = np.random.default_rng(seed)
    network = Hidden(*(rng.normal(size=shape).astype(np.float32) for shape in ((hidden, 5), (hidden,), (3, hidden))))
    weight, bias = (rng.normal(size=shape).astype(np.float32) for shape in ((3, 5), (3,)))
    return TemplateMap(OLD, NEW, weight, bias, network if hidden else None, operating_points=POINTS)


@given(st.integers(0, 2**32 - 1), st.integers(0, 4))
@settings(max_examples=20)
def test_each_vector_is_mapped_as_numbers_say(seed: int, hidden: int) -> None:
    found, rng = made(seed, hidden), np.random.default_rng(seed + 1)
    vectors = rng.normal(size=(4, 5)).astype(np.float32)
    mapped = found.applied(vectors)
    assert mapped.shape == (4, 3)
    assert mapped.dtype == np.float32
    for vector, row in zip(vectors, mapped, strict=True):
        x = [float(number) / float(np.linalg.norm(vector.astype(np.float64))) for number in vector]
        expected = []
        for place in range(3):
            total = float(found.bias[place]) + sum(float(found.weight[place, i]) * x[i] for i in range(5))
            if found.hidden is not None:
                for unit in range(hidden):
                    inner = float(found.hidden.inner_bias[unit])
                    inner += sum(float(found.hidden.inner[unit, i]) * x[i] for i in range(5))
                    total += float(found.hidden.out[place, unit]) * max(0.0, inner)
            expected.append(total)
        length = sum(number**2 for number in expected) ** 0.5
        assert row == pytest.approx([number / length for number in expected], abs=1e-6)


def test_no_vectors_give_no_vectors() -> None:
    assert made().applied(np.zeros((0, 5))).shape == (0, 3)


@pytest.mark.parametrize("hidden", [0, 4])
def test_bytes_give_the_same_map_back(hidden: int) -> None:
    found = made(hidden=hidden)
    again = TemplateMap.from_bytes(found.to_bytes())
    assert again == found
    assert again.to_bytes() == found.to_bytes()
    assert (again.old, again.new, again.operating_points) == (OLD, NEW, POINTS)
    for name, array in found.arrays.items():
        assert np.array_equal(again.arrays[name], array)
        assert not again.arrays[name].flags.writeable


def test_the_digest_covers_everything_that_is_computed_or_decided_with() -> None:
    found = made(hidden=2)
    assert found.hidden is not None
    others = [
        dataclasses.replace(found, weight=found.weight + np.eye(3, 5, dtype=np.float32)),
        dataclasses.replace(found, bias=found.bias * 2),
        dataclasses.replace(found, hidden=None),
        dataclasses.replace(found, hidden=dataclasses.replace(found.hidden, out=-found.hidden.out)),
        dataclasses.replace(found, operating_points=POINTS[:1]),
        dataclasses.replace(found, old=dataclasses.replace(OLD, sha256="c" * 64)),
        dataclasses.replace(found, new=dataclasses.replace(NEW, preprocessing="other")),
    ]
    assert len({found.sha256, *(one.sha256 for one in others)}) == len(others) + 1
    # Which weights are equivalent is measured later, and changes no map.
    assert dataclasses.replace(found, old=dataclasses.replace(OLD, equivalent_to=frozenset({"d" * 64}))) == found


def test_a_map_of_other_versions_is_refused() -> None:
    found = made()
    found.check_between(OLD, NEW)
    found.check_between(dataclasses.replace(OLD, sha256="e" * 64, equivalent_to=frozenset({OLD.sha256})), NEW)
    for old, new in ((NEW, OLD), (OLD, dataclasses.replace(NEW, sha256="f" * 64)), (OLD, OLD)):
        with pytest.raises(MapMismatch, match="sameface model map"):
            found.check_between(old, new)


def test_a_map_of_another_dimension_is_refused() -> None:
    with pytest.raises(MapMismatch, match=r"weight of the map has shape \[5, 3\]; expected \[3, 5\]"):
        TemplateMap(OLD, NEW, np.ones((5, 3), np.float32), np.zeros(3, np.float32))
    with pytest.raises(MapMismatch, match="inner of the map"):
        TemplateMap(
            OLD, NEW, np.ones((3, 5), np.float32), np.zeros(3, np.float32),
            Hidden(np.ones((2, 4), np.float32), np.ones(2, np.float32), np.ones((3, 2), np.float32)),
        )  # fmt: skip


def test_numbers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="bias of the map"):
        TemplateMap(OLD, NEW, np.ones((3, 5), np.float32), np.array([0, np.nan, 0], np.float32))
    with pytest.raises(InvalidArgument, match=r"operating_points\[0\]"):
        dataclasses.replace(made(), operating_points=(OperatingPoint(2.0, 0.1),))


@pytest.mark.parametrize("vectors", [np.ones(5), np.ones((2, 4)), np.array([[1, 0, 0, 0, 0], [0, 0, np.inf, 0, 0]])])
def test_templates_that_cannot_be_mapped_are_refused(vectors: np.ndarray) -> None:
    with pytest.raises(InvalidEmbedding):
        made().applied(vectors)


def test_a_template_that_maps_to_zero_is_refused_by_its_number() -> None:
    weight = np.zeros((3, 5), np.float32)
    weight[0, 0] = 1
    found = TemplateMap(OLD, NEW, weight, np.zeros(3, np.float32))
    with pytest.raises(InvalidEmbedding, match="template 1 maps to zero") as refused:
        found.applied(np.eye(5)[:2])
    assert refused.value.metadata["number"] == "1"


def test_damaged_bytes_are_refused_wherever_the_damage_is() -> None:
    content, step = made(hidden=1).to_bytes(), 37
    found = made(hidden=1)
    refused = 0
    for place in range(0, len(content), step):
        damaged = bytearray(content)
        damaged[place] ^= 0x41
        try:
            again = TemplateMap.from_bytes(bytes(damaged))
        except (InvalidArgument, MapMismatch):
            refused += 1
        else:
            # A date in the archive, for instance: nothing that the map is made of.
            assert again == found
    assert refused > len(content) // step // 2
    for other in (b"", b"no archive", content[: len(content) // 2]):
        with pytest.raises(InvalidArgument, match="not a template map"):
            TemplateMap.from_bytes(other)


def test_a_map_whose_numbers_are_others_than_its_digest_says_is_refused() -> None:
    found, other = made(), made(seed=1)
    written = io.BytesIO()
    with np.load(io.BytesIO(found.to_bytes())) as one, np.load(io.BytesIO(other.to_bytes())) as two:
        np.savez(written, head=one["head"], weight=two["weight"], bias=one["bias"])
    with pytest.raises(MapMismatch, match="changed or damaged"):
        TemplateMap.from_bytes(written.getvalue())


def test_an_archive_that_unpacks_to_too_much_is_refused_unread() -> None:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("weight.npy", "w") as entry:
        for _ in range(MAX_BYTES // 2**20 + 1):
            entry.write(bytes(2**20))
    with pytest.raises(InvalidArgument, match="expected at most"):
        TemplateMap.from_bytes(written.getvalue())
