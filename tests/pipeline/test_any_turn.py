"""A photo at any turn in the picture plane: its face is examined upright."""

import io
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.photos.turns import CountingInference
from sameface.inference.onnx import OnnxInference
from sameface.pipeline.photos import FoundFace, PhotoPipeline
from sameface.settings import model_repository_source
from sameface.vision import FaceSelection, ImageLimits, decode_image, detector_input
from sameface_qdrant.values.vectors import Vector
from tests.conftest import PORTRAITS, default_version

NAMES = sorted(path.name for path in PORTRAITS.glob("*.jpg"))
MOST_PASSES = 24
"""Of the detector, for one face at any turn: up to three in each of four turns, with doubtful faces confirmed, and six
to turn the face upright."""
TAGS = {0: 1, 90: 6, 180: 3, 270: 8}
"""EXIF orientation of a photo that is stored turned left by so many degrees."""


@pytest.fixture(scope="module")
def inference() -> CountingInference:
    return CountingInference(OnnxInference(model_repository_source()))


@pytest.fixture(scope="module")
async def upright(inference: CountingInference) -> dict[str, tuple[FoundFace, Vector]]:
    """What is found in each portrait as it stands."""
    pipeline = PhotoPipeline(inference)
    return {name: await examined(pipeline, photo_of(name, 0)) for name in NAMES}


@cache
def portrait(name: str) -> Image.Image:
    with Image.open(PORTRAITS / name) as image:
        picture = image.convert("RGB")
    picture.thumbnail((500, 500), Image.Resampling.LANCZOS)
    return picture


def photo_of(name: str, turn: float, stored: int = 0, *, cut: bool = False) -> bytes:
    """Return a portrait turned left, stored turned left once more with the EXIF orientation that undoes it."""
    picture = portrait(name).rotate(turn, Image.Resampling.BICUBIC, expand=not cut, fillcolor="grey")
    exif = Image.Exif()
    exif[0x0112] = TAGS[stored]
    buffer = io.BytesIO()
    picture.rotate(stored, expand=True).save(buffer, "JPEG", quality=95, exif=exif)
    return buffer.getvalue()


async def examined(pipeline: PhotoPipeline, photo: bytes) -> tuple[FoundFace, Vector]:
    face = await pipeline.select_face(photo, FaceSelection.LARGEST)
    (vector,) = await pipeline.embed([face.crop], default_version())
    return face, vector


def roll_of(face: FoundFace) -> float:
    return next(part.measurement for part in face.quality if part.name == "HeadPoseRoll")


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(NAMES),
    turn=st.integers(0, 359),
    stored=st.sampled_from([0, 90, 180, 270]),
    cut=st.booleans(),
)
async def test_a_turned_portrait_has_the_embedding_of_the_upright_one(
    inference: CountingInference,
    upright: dict[str, tuple[FoundFace, Vector]],
    name: str,
    turn: int,
    stored: int,
    cut: bool,
) -> None:
    expected_face, expected = upright[name]
    before = inference.detector_passes
    face, vector = await examined(PhotoPipeline(inference), photo_of(name, turn, stored, cut=cut))
    assert inference.detector_passes - before <= MOST_PASSES
    assert float(vector @ expected) > 0.8
    assert abs((roll_of(face) - roll_of(expected_face) + turn + 180) % 360 - 180) < 25


@pytest.mark.parametrize("turn", [90, 165, 180, 270])
async def test_different_people_turned_alike_do_not_match(inference: CountingInference, turn: int) -> None:
    pipeline = PhotoPipeline(inference)
    vectors = np.stack([(await examined(pipeline, photo_of(name, turn)))[1] for name in NAMES])
    people = np.array([name.rsplit("_20", 1)[0].removesuffix(".jpg") for name in NAMES])
    others = people[:, None] != people
    assert (vectors @ vectors.T)[others].max() < 0.3


@pytest.mark.parametrize("name", NAMES)
async def test_an_upright_portrait_costs_at_most_one_pass_more(inference: CountingInference, name: str) -> None:
    content = photo_of(name, 0)
    image = decode_image(content, ImageLimits())
    look, _ = detector_input(image.pixels, 640)
    before = inference.detector_pixels
    await PhotoPipeline(inference).select_face(content, FaceSelection.LARGEST)
    assert inference.detector_pixels - before <= 2 * look[:, 0].size


async def test_a_photo_without_a_face_is_searched_a_bounded_number_of_times(inference: CountingInference) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (400, 300), "grey").save(buffer, "PNG")
    before = inference.detector_passes
    assert (await PhotoPipeline(inference).find_faces(buffer.getvalue(), 1)).faces == ()
    # Eight turns, each at three sizes or four.
    assert inference.detector_passes - before <= 8 * 4
