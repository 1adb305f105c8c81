"""The mirror average and the centre around a trunk, against their definition in numpy; and the centre itself."""

import hashlib
import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from PIL import Image

from sameface.errors import ModelCheckFailed, ModelNotFound
from sameface.inference.cards import Centre, ModelCard, read_card, read_cards
from sameface.inference.golden_set import read_golden_faces
from sameface.models.build import build_trunk, build_version
from sameface.models.centre import mean_embedding, write_centre
from sameface.models.contract import check_tensor_contract
from sameface.models.quantise import quantise
from sameface.models.seal import seal
from sameface.models.source import SFACE
from sameface.models.views import with_views
from sameface.models.weights import build_from_weights, write_weights
from sameface.settings import cache_folder, model_repository_source
from sameface_qdrant.errors import InvalidArgument
from tests.cli.conftest import Run
from tests.models.test_weights import SMALL, images, other_backbone, run

REPOSITORY = model_repository_source()
COMMITTED = write_weights(SMALL)
TRUNKS = {
    "fast form": build_from_weights(COMMITTED),
    "another backbone": build_from_weights(other_backbone()),
    "whole numbers": quantise(SMALL, images()),
}
CENTRED = [card for card in read_cards(REPOSITORY) if card.centre is not None]

Array = np.ndarray[Any, Any]


def normalised(vectors: Array) -> Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def by_definition(trunk: bytes, given_images: Array, *, mirror_averaged: bool, vector: Array) -> Array:
    """The definition, from embeddings of single images by the trunk alone."""

    def one_by_one(some: Array) -> Array:
        return np.concatenate([run(trunk, np.ascontiguousarray(image[np.newaxis])) for image in some]).astype(float)

    found = one_by_one(given_images)
    if mirror_averaged:
        found = normalised(found + one_by_one(given_images[:, :, :, ::-1]))
    return normalised(found - vector)


@cache
def trunk_of(model: str, version: int) -> bytes:
    return build_trunk(REPOSITORY, model, version, cache_folder())


def centre_of(vector: Array) -> Centre:
    return Centre(vector=tuple(vector.tolist()), photos=1, measured_on="tests")


@pytest.mark.parametrize("trunk", TRUNKS.values(), ids=TRUNKS.keys())
@pytest.mark.parametrize("mirror_averaged", [True, False])
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), length=st.floats(0, 0.9), count=st.integers(1, 3))
def test_the_graph_gives_what_the_definition_says(
    trunk: bytes, mirror_averaged: bool, seed: int, length: float, count: int
) -> None:
    rng = np.random.default_rng(seed)
    some = rng.integers(0, 256, (count, 3, 112, 112), np.uint8)
    vector = (normalised(rng.normal(size=(1, 128)))[0] * length).astype(np.float32)
    served = with_views(trunk, mirror_averaged=mirror_averaged, centre=centre_of(vector))
    expected = by_definition(trunk, some, mirror_averaged=mirror_averaged, vector=vector)
    np.testing.assert_allclose(run(served, some), expected, atol=2e-5)


@pytest.mark.parametrize("trunk", TRUNKS.values(), ids=TRUNKS.keys())
@pytest.mark.parametrize("vector", [None, np.full(128, 0.05, np.float32)], ids=["no centre", "centre"])
def test_a_mirror_averaged_graph_keeps_the_contract_and_gives_a_mirror_image_the_same(
    trunk: bytes, vector: Array | None
) -> None:
    centre = None if vector is None else centre_of(vector)
    served = with_views(trunk, mirror_averaged=True, centre=centre)
    check_tensor_contract(served)
    assert with_views(trunk, mirror_averaged=True, centre=centre) == served
    mirrored = np.ascontiguousarray(images()[..., ::-1])
    np.testing.assert_allclose(run(served, mirrored), run(served), atol=1e-5)
    assert np.abs(run(trunk, mirrored) - run(trunk)).max() > 0.01


def test_a_trunk_alone_stays_as_it_is() -> None:
    assert with_views(TRUNKS["fast form"], mirror_averaged=False, centre=None) is TRUNKS["fast form"]


@pytest.mark.parametrize("card", CENTRED, ids=lambda card: f"{card.model}-{card.version}")
def test_each_version_is_its_trunk_with_what_the_card_says(card: ModelCard) -> None:
    faces = read_golden_faces(REPOSITORY / "face_embedder" / "golden_set.npz").images[:2]
    trunk = trunk_of(card.model, card.trunk_of or card.version)
    assert card.centre is not None
    vector = np.array(card.centre.vector)
    expected = by_definition(trunk, faces, mirror_averaged=card.mirror_averaged, vector=vector)
    served = (REPOSITORY / card.model / str(card.version) / "model.onnx").read_bytes()
    found = run(served, faces)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    mirrored = run(served, np.ascontiguousarray(faces[..., ::-1]))
    same = np.sum(found * mirrored, axis=1)
    assert (same.min() > 1 - 1e-6) == card.mirror_averaged


def test_a_trunk_that_cannot_be_wrapped_is_refused() -> None:
    served = with_views(TRUNKS["fast form"], mirror_averaged=True, centre=None)
    with pytest.raises(ModelCheckFailed, match="Give the trunk alone"):
        with_views(served, mirror_averaged=True, centre=None)
    model = onnx.load_from_string(TRUNKS["fast form"])
    branch = helper.make_graph([helper.make_node("Identity", ["dense"], ["out"])], "branch", [], [])
    model.graph.node.append(helper.make_node("If", ["yes"], ["spare"], then_branch=branch, else_branch=branch))
    with pytest.raises(ModelCheckFailed, match="the operators If, which have sub-graphs"):
        with_views(model.SerializeToString(), mirror_averaged=True, centre=None)


def _write(repository: Path, version: int, **fields: Any) -> Path:
    """Write the card of version 1 with other fields, as another version."""
    path = repository / "face_embedder" / str(version) / "card.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    card = json.loads((REPOSITORY / "face_embedder" / "1" / "card.json").read_text())
    path.write_text(json.dumps({**card, "version": version, **fields}))
    return path


@pytest.mark.parametrize(
    ("version", "fields", "what"),
    [
        (7, {"centre": {"vector": [0.1] * 127, "photos": 1, "measured_on": "x"}}, "127 numbers; expected 128"),
        (7, {"trunk_of": 7}, "trunk_of is 7; expected a version below 7"),
        (7, {"trunk_of": 0}, "trunk_of is 0; expected a version below 7"),
        (7, {"model": "face_detector", "mirror_averaged": True}, "expected them only in cards of face_embedder"),
    ],
)
def test_a_card_with_impossible_views_is_refused(
    tmp_path: Path, version: int, fields: dict[str, Any], what: str
) -> None:
    with pytest.raises(ModelCheckFailed, match=what):
        read_card(_write(tmp_path, version, **fields))


def test_a_copied_card_beside_other_weights_is_not_sealed(tmp_path: Path) -> None:
    """Its licence and source are those of the version that it was copied from."""
    path = _write(tmp_path, 5)
    (path.parent / "weights.onnx").write_bytes(COMMITTED)
    before = path.read_bytes()
    digest = hashlib.sha256(COMMITTED).hexdigest()
    told = rf"source has sha256 {SFACE.sha256}, and .*weights\.onnx has {digest}; write source and licence"
    with pytest.raises(ModelCheckFailed, match=told):
        seal(path, TRUNKS["fast form"])
    assert path.read_bytes() == before
    # The source of a version without weights is that of its trunk.
    with pytest.raises(ModelCheckFailed, match=told):
        seal(_write(tmp_path, 6, trunk_of=5), TRUNKS["fast form"])


def test_versions_share_a_trunk_and_have_a_centre_from_a_folder_of_faces(tmp_path: Path, sameface: Run) -> None:
    repository, crops = tmp_path / "repository", tmp_path / "crops"
    path = _write(repository, 5, sha256="")
    (path.parent / "weights.onnx").write_bytes(COMMITTED)
    other = _write(repository, 6, sha256="", trunk_of=5, mirror_averaged=True)
    _write(repository, 7, sha256="", trunk_of=6)
    crops.mkdir()
    shades = np.random.default_rng(6).integers(0, 256, (3, 128, 128, 3), np.uint8)
    for number, pixels in enumerate(shades):
        Image.fromarray(pixels).save(crops / f"{number}.png")
    faces = np.ascontiguousarray(shades[:, 8:120, 8:120].transpose(0, 3, 1, 2))
    trunk = TRUNKS["fast form"]
    options = ("--measured-on", "three shades")
    for version in (5, 6):
        result = sameface(
            "model",
            "centre",
            "face_embedder",
            str(version),
            str(crops),
            *options,
            SAMEFACE_MODEL_REPOSITORY=str(repository),
        )
        assert (result.returncode, "the mean over 3 faces" in result.stdout) == (0, True), result.stderr
        card = read_card(path if version == 5 else other)
        centre = card.centre
        assert centre is not None
        assert (centre.photos, centre.measured_on) == (3, "three shades")
        one_by_one = by_definition(trunk, faces, mirror_averaged=card.mirror_averaged, vector=np.zeros(128))
        np.testing.assert_allclose(centre.vector, one_by_one.mean(axis=0), atol=1e-6)
        built = build_version(repository, "face_embedder", version, tmp_path)
        assert built == with_views(trunk, mirror_averaged=card.mirror_averaged, centre=centre)
        # The embeddings of these faces now lie around nothing.
        assert np.linalg.norm(mean_embedding("face_embedder", built, faces)) < 0.1 < np.linalg.norm(centre.vector)
    # The trunk of a trunk, without its centre.
    assert build_version(repository, "face_embedder", 7, tmp_path) == trunk
    shutil.copy(path.parent / "weights.onnx", other.parent)
    with pytest.raises(ModelCheckFailed, match="remove trunk_of from the card, or the file"):
        build_version(repository, "face_embedder", 6, tmp_path)
    # It is sealed, and has the thresholds of version 1.
    in_use = _write(repository, 9)
    (in_use.parent / "weights.onnx").write_bytes(COMMITTED)
    before = in_use.read_bytes()
    for model, version, said, what in (
        ("face_embedder", 9, "three shades", "is sealed and has operating points; galleries may be bound to it"),
        ("face_embedder", 9, " ", "measured_on is blank"),
        ("face_detector", 1, "three shades", "face_detector has no centre; expected face_embedder or"),
        ("drawings", 1, "three shades", "drawings has no centre; expected face_embedder or"),
    ):
        with pytest.raises(InvalidArgument, match=what):
            write_centre(repository, tmp_path, model=model, version=version, faces=crops, most=1, measured_on=said)
    assert in_use.read_bytes() == before
    with pytest.raises(ModelNotFound, match="does not exist; write a card first"):
        write_centre(repository, tmp_path, model="face_embedder", version=8, faces=crops, most=1, measured_on="nothing")
