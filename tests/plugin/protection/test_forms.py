"""Rotations, sealed fields and stored forms, without a store."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sameface_qdrant.engines.base import Point
from sameface_qdrant.errors import InvalidArgument, StoreCorrupt
from sameface_qdrant.metrics.error_rates import eer
from sameface_qdrant.store.protection.derived import GenerationKeys
from sameface_qdrant.store.protection.points import Form
from sameface_qdrant.store.protection.rotation import Rotation
from sameface_qdrant.store.protection.sealing import Seal, digest
from sameface_qdrant.values.ids import gallery_tag, member_id, tag_of
from sameface_qdrant.values.protection import Generation
from tests.plugin.protection.conftest import FIRST

PEOPLE, DIMENSION = 120, 128
SALT = "5a" * 16
GENERATION = Generation("first", 1, SALT)
UID, OTHER_UID = "p" + "a" * 32, "p" + "b" * 32
NAMES = st.text(max_size=20)


def test_a_rotation_is_orthogonal_and_fixed_by_its_key() -> None:
    rotation = Rotation(b"k" * 32, 64)
    matrix = np.stack([rotation.applied(one) for one in np.eye(64, dtype=np.float32)])
    assert np.abs(matrix @ matrix.T - np.eye(64)).max() < 1e-6
    assert np.array_equal(Rotation(b"k" * 32, 64)._matrix, rotation._matrix)
    assert np.abs(Rotation(b"l" * 32, 64)._matrix - rotation._matrix).max() > 0.1
    # The same on every machine, up to rounding: these numbers are part of the format.
    assert matrix[0, :4] == pytest.approx(GOLDEN, abs=1e-6)


GOLDEN = [0.1597657, -0.0916682, 0.0973738, -0.1774785]


@given(st.integers(0, 2**32 - 1), st.integers(1, 70))
@settings(max_examples=30, deadline=None)
def test_scores_are_kept_and_embeddings_come_back(seed: int, dimension: int) -> None:
    rng = np.random.default_rng(seed)
    rotation = Rotation(rng.bytes(32), dimension)
    vectors = rng.normal(size=(2, dimension))
    one, other = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    assert rotation.applied(one) @ rotation.applied(other) == pytest.approx(float(one @ other), abs=2e-6)
    assert rotation.undone(rotation.applied(one)) == pytest.approx(one, abs=1e-6)


def test_too_many_dimensions_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="at most 4096"):
        Rotation(b"k" * 32, 4097)


def people() -> tuple[np.ndarray, np.ndarray]:
    """Two unit embeddings of each person, alike as two photos of one face are."""
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(PEOPLE, DIMENSION))
    two = [centres + 0.4 * rng.normal(size=centres.shape) for _ in range(2)]
    first, second = ((one / np.linalg.norm(one, axis=1, keepdims=True)).astype(np.float32) for one in two)
    return first, second


def rate(first: np.ndarray, second: np.ndarray) -> float:
    scores, same = first @ second.T, np.eye(len(first), dtype=bool)
    return float(eer(scores[same], scores[~same]))


@pytest.mark.parametrize("changed", ["key", "gallery", "number", "salt"])
def test_templates_of_another_gallery_generation_or_key_cannot_be_linked(changed: str) -> None:
    """ISO/IEC 24745: whoever has two protected galleries does no better than chance (EER at least 45 %).

    The mean of several rotations, as that of one with 120 people has a standard deviation of 4.5 %.
    """
    first, second = people()
    across: list[tuple[float, float]] = []
    for salt in (f"{number:032x}" for number in range(1, 13)):
        generation, uid = Generation("first", 1, salt), "uid a"
        here = Rotation(GenerationKeys.derived(FIRST, generation, uid).rotation, DIMENSION)
        match changed:
            case "key":
                generation = Generation("second", 1, salt)
            case "gallery":
                uid = "uid b"
            case "number":
                generation = Generation("first", 2, salt)
            case _:
                generation = Generation("first", 1, salt[::-1])
        there = Rotation(GenerationKeys.derived(FIRST, generation, uid).rotation, DIMENSION)
        turned = np.stack([here.applied(one) for one in first])
        across.append((rate(turned, np.stack([there.applied(one) for one in second])), rate(turned, second)))
    assert rate(first, second) < 0.01
    assert rate(turned, np.stack([here.applied(one) for one in second])) < 0.01
    assert min(np.mean(across, axis=0)) >= 0.45
    assert max(np.mean(across, axis=0)) <= 0.55


def form(uid: str = UID, number: int = 1, salt: str = SALT) -> Form:
    generation = Generation("first", number, salt)
    keys = GenerationKeys.derived(FIRST, generation, uid)
    return Form(uid, keys, rotation=Rotation(keys.rotation, 8))


def a_point(uid: str = UID, identity: str = "ada l.") -> Point:
    payload = {
        "kind": "template", "gallery": uid, "identity": identity, "note": "from the clinic", "labels": {"team": "x"},
        "source": "photo", "digest": "0f" * 32, "created": 1.0, "quality": {"Sharpness": 3.0}, "added_later": ["Ada."],
    }  # fmt: skip
    vector = np.random.default_rng(1).normal(size=8)
    return Point(member_id("template", uid, identity), payload, (vector / np.linalg.norm(vector)).astype(np.float32))


def test_a_point_comes_back_and_nothing_of_it_that_names_somebody_is_stored() -> None:
    point = a_point()
    kept = form().stored(point)
    back = form().opened(kept)
    assert (back.id, {**back.payload}) == (point.id, {**point.payload, "schema": back.payload["schema"]})
    assert back.vector == pytest.approx(point.vector, abs=1e-6)
    assert kept.id != point.id
    # The names have signs that base64 has not, so that a sealed field cannot hold them by chance.
    for told in ("ada l.", "Ada.", "clinic", "team", "photo", "0f0f", point.id):
        assert told not in repr(kept)
    assert tag_of(point.id) == gallery_tag(UID)


def test_two_forms_of_one_point_have_nothing_in_common() -> None:
    point = a_point()
    for other in (form(number=2), form(salt="a5" * 16), form(OTHER_UID)):
        one, two = form().stored(point), other.stored(point)
        assert one.id != two.id
        assert one.id[:8] != two.id[:8]
        for name in ("identity", "digest", "source", "labels", "note_sealed", "point_sealed"):
            assert one.payload[name] != two.payload[name], name


@given(st.lists(NAMES, min_size=1, max_size=3), st.lists(NAMES, min_size=1, max_size=3))
def test_digests_of_different_values_differ(one: list[str], other: list[str]) -> None:
    assert (digest(b"k", *one) == digest(b"k", *other)) == (one == other)


def test_digests_of_fields_are_kept_apart() -> None:
    here = form()
    alike = here.fields("i", {"identity": "x", "source": "x", "digest": "x", "labels": {"x": "x", "y": "x"}})
    digests = [alike["identity"], alike["source"], alike["digest"], *alike["labels"], *alike["labels"].values()]
    assert len(set(digests)) == len(digests)


def test_a_sealed_value_opens_in_its_own_place_alone() -> None:
    seal = Seal(b"k" * 32, GENERATION)
    text = seal.sealed("point", "note", {"a": "é"})
    assert seal.opened("point", "note", text) == {"a": "é"}
    other_key, next_generation = Seal(b"l" * 32, GENERATION), Seal(b"k" * 32, Generation("first", 2, SALT))
    elsewhere: list[tuple[Seal, str, str, object]] = [
        (seal, "other", "note", text),
        (seal, "point", "name", text),
        (other_key, "point", "note", text),
        (next_generation, "point", "note", text.replace(":1:", ":2:")),
        (seal, "point", "note", text[:-8]),
        *((seal, "point", "note", spoiled) for spoiled in ("", "first:1:", "first:1:é", None, 7)),
    ]
    for where, point, field, given_text in elsewhere:
        with pytest.raises(StoreCorrupt, match="restore a backup"):
            where.opened(point, field, given_text)


@given(st.integers(0, 10_000), st.data())
@settings(max_examples=60)
def test_no_changed_bit_of_a_sealed_value_opens(position: int, data: st.DataObject) -> None:
    import base64

    seal = Seal(b"k" * 32, GENERATION)
    text = seal.sealed("point", "note", "Ada Lovelace")
    prefix, _, encoded = text.rpartition(":")
    content = bytearray(base64.b64decode(encoded))
    content[position % len(content)] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(StoreCorrupt):
        seal.opened("point", "note", f"{prefix}:{base64.b64encode(bytes(content)).decode()}")


def test_sealing_twice_gives_two_texts() -> None:
    seal = Seal(hashlib.sha256(b"k").digest(), GENERATION)
    assert len({seal.sealed("point", "note", "x") for _ in range(50)}) == 50
