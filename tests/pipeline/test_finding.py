"""Every face of a photo is found once, whatever its size, and the answer says how many there are."""

import asyncio
import io
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sameface.errors import MultipleFaces
from sameface.inference.base import Tensors
from sameface.inference.onnx import OnnxInference
from sameface.pipeline.detector import DETECTOR, Detector
from sameface.pipeline.photos import FoundFaces, PhotoPipeline
from sameface.settings import model_repository_source
from sameface.vision import (
    Detection,
    FaceSelection,
    ImageLimits,
    Pixels,
    Sighting,
    decode_image,
    detector_input,
    faces_of_tile,
    finer_looks,
    has_room_for_larger,
    merge,
)

SIDE = 640


class CountingInference(OnnxInference):
    """Counts the images that the detector is given, and their pixels."""

    passes = 0
    pixels = 0

    async def run(self, model: str, version: int, inputs: Tensors) -> Tensors:
        if model == DETECTOR:
            self.passes += len(inputs["images"])
            self.pixels += inputs["images"][:, 0].size
        return await super().run(model, version, inputs)


@pytest.fixture
def inference() -> CountingInference:
    return CountingInference(model_repository_source())


@pytest.fixture
def pipeline(inference: CountingInference) -> PhotoPipeline:
    return PhotoPipeline(inference)


@pytest.fixture(scope="module")
def heads(portraits: Path) -> list[tuple[Pixels, Detection]]:
    """A square around the head of each portrait, with its face."""

    async def cut(photos: list[bytes]) -> list[tuple[Pixels, Detection]]:
        pipeline, found = PhotoPipeline(OnnxInference(model_repository_source())), []
        for photo in photos:
            pixels = decode_image(photo, ImageLimits()).pixels
            face = max(await Detector(pipeline.inference).faces_in(pixels, 320), key=lambda face: face.area)
            x, y, width, height = face.box
            reach = round(0.75 * height)
            left, top = max(0, round(x + width / 2) - reach), max(0, round(y + height / 2) - reach)
            found.append((pixels[top : top + 2 * reach, left : left + 2 * reach], face.moved(-left, -top)))
        return found

    return asyncio.run(cut([path.read_bytes() for path in sorted(portraits.glob("*.jpg"))]))


def paste(scene: Pixels, head: tuple[Pixels, Detection], x: int, y: int, eyes: float) -> Detection:
    """Paste a head with its top left corner at x, y, and return where its face is."""
    pixels, face = head
    factor = eyes / float(np.linalg.norm(face.landmarks[1] - face.landmarks[0]))
    size = (round(pixels.shape[1] * factor), round(pixels.shape[0] * factor))
    part = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    scene[y : y + size[1], x : x + size[0]] = part[: scene.shape[0] - y, : scene.shape[1] - x]
    return face.scaled(factor).moved(x, y)


def empty(width: int, height: int) -> Pixels:
    """A scene without a face: soft noise."""
    noise = np.random.default_rng(width).integers(60, 190, (height // 50, width // 50, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def saved(pixels: Pixels, kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **({"quality": 90} if kind == "JPEG" else {"compress_level": 1}))
    return file.getvalue()


def assert_found(found: FoundFaces, expected: list[Detection]) -> None:
    """Each expected face was found once, and nothing else."""
    assert found.found == len(found.faces) == len(expected)
    middles = np.array([face.detection.landmarks.mean(axis=0) for face in found.faces])
    for face in expected:
        eyes = np.linalg.norm(face.landmarks[1] - face.landmarks[0])
        assert (np.linalg.norm(middles - face.landmarks.mean(axis=0), axis=1) < eyes / 2).sum() == 1


def face_at(x: float, y: float, width: float, score: float = 0.9) -> Detection:
    """A face whose box has its middle at x, y."""
    box = (x - width / 2, y - 0.67 * width, width, 1.34 * width)
    shape = np.array([[-0.23, -0.15], [0.23, -0.15], [0, 0.1], [-0.2, 0.35], [0.2, 0.35]])
    return Detection(box, (shape * width + [x, y]).astype(np.float32), score)


@given(st.data())
@settings(deadline=None, max_examples=50)
def test_merging_gives_each_face_once_whatever_the_order(data: st.DataObject) -> None:
    places = data.draw(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12, unique=True))
    jitter = st.floats(-0.05, 0.05)
    sightings = []
    for column, row in places:
        width = data.draw(st.floats(20, 300))
        for _ in range(data.draw(st.integers(1, 4))):
            seen = face_at(
                400 * column + width * data.draw(jitter),
                500 * row + width * data.draw(jitter),
                width * (1 + 2 * data.draw(jitter)),
                data.draw(st.floats(0.7, 0.95)),
            )
            sightings.append(Sighting(seen, data.draw(st.sampled_from((0.05, 0.1, 0.5, 1.0)))))
    merged = merge(sightings)
    middles = sorted((round(one.face.box[0] / 400), round(one.face.box[1] / 500)) for one in merged)
    assert len(middles) == len(places)
    again = merge(data.draw(st.permutations(sightings)))
    # By value: two sightings may be equal.
    assert [(one.face.box, one.scale) for one in again] == [(one.face.box, one.scale) for one in merged]


def test_a_part_of_a_face_is_not_a_face_but_a_head_beside_it_is() -> None:
    close_up = Sighting(face_at(1000, 1000, 800), 0.1)
    nose, neighbour = Sighting(face_at(1000, 1050, 100, 0.75), 0.5), Sighting(face_at(1380, 700, 100, 0.75), 0.5)
    assert {id(one) for one in merge([nose, close_up, neighbour])} == {id(close_up), id(neighbour)}
    badge = Sighting(face_at(1000, 1050, 100, 0.95), 0.5)
    assert {id(one) for one in merge([badge, close_up])} == {id(badge), id(close_up)}


@given(width=st.integers(100, 12000), height=st.integers(100, 8000), data=st.data())
@settings(deadline=None, max_examples=50)
def test_every_face_is_whole_in_a_tile_of_a_look_that_sees_its_size(
    width: int, height: int, data: st.DataObject
) -> None:
    looks = finer_looks(width, height, SIDE)
    assert sum(tile.width * tile.height for look in looks for tile in look.tiles) <= 0.6 * width * height
    assert all(max(tile.width, tile.height) <= 1280 for look in looks for tile in look.tiles)
    # 64 px: the box of a face with some 22 px between the eyes.
    size = data.draw(st.floats(min(64.0, 0.9 * height), min(0.9 * height, 1.2 * width)))
    x = data.draw(st.floats(0, width - 0.75 * size))
    y = data.draw(st.floats(0, height - size))
    face = face_at(x + 0.375 * size, y + 0.5 * size, 0.746 * size)
    scale = min(1.0, SIDE / max(width, height))
    seen = size * scale >= 32
    for look in looks:
        for tile in look.tiles:
            inside = face.scaled(look.scale).moved(-tile.x, -tile.y)
            left, top, right, bottom = inside.box[0], inside.box[1], inside.box[2], inside.box[3]
            shown = left > -1 and top > -1 and left + right < tile.width + 1 and top + bottom < tile.height + 1
            seen |= size * look.scale >= 31.9 and shown and bool(faces_of_tile([inside], look, tile))
    assert seen or size < 64


@pytest.mark.parametrize(
    ("faces", "room"),
    [
        ([], True),
        ([face_at(240, 320, 200)], False),
        ([face_at(80, 100, 120)], True),
        ([face_at(80, 100, 140)], False),
        ([face_at(100 + 110 * column, 80 + 120 * row, 60) for column in range(5) for row in range(5)], False),
    ],
)
def test_a_larger_face_is_looked_for_where_it_has_room(faces: list[Detection], room: bool) -> None:
    assert has_room_for_larger(480, 640, faces) is room


async def test_a_sheet_of_three_hundred_heads(pipeline: PhotoPipeline, heads: list[tuple[Pixels, Detection]]) -> None:
    scene = empty(1900, 1600)
    expected = [
        paste(scene, heads[(row * 20 + column) % len(heads)], 10 + 94 * column, 8 + 105 * row, 21)
        for row in range(15)
        for column in range(20)
    ]
    assert_found(await pipeline.find_faces(saved(scene), 1000), expected)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
async def test_a_close_up_with_a_small_head_beside_it(
    pipeline: PhotoPipeline, heads: list[tuple[Pixels, Detection]], kind: str
) -> None:
    scene = empty(1500, 1500)
    expected = [paste(scene, heads[0], 0, -0, 420), paste(scene, heads[1], 1390, 1380, 22)]
    content = saved(scene, kind)
    assert_found(await pipeline.find_faces(content, 1000), expected)
    chosen = await pipeline.select_face(content, FaceSelection.LARGEST)
    assert chosen.detection.box[2] > 500


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
async def test_small_heads_in_a_panorama_are_found_and_cropped_from_the_whole_photo(
    pipeline: PhotoPipeline, heads: list[tuple[Pixels, Detection]], kind: str
) -> None:
    scene = empty(8000, 1500)
    expected = [paste(scene, heads[index], 300 + 2800 * index, 100 + 300 * index, 50) for index in range(3)]
    content = saved(scene, kind)
    found = await pipeline.find_faces(content, 1000)
    assert_found(found, expected)
    assert (found.width, found.height) == (8000, 1500)
    # The crop is as good as that of a photo of the head alone.
    for number, face in enumerate(sorted(found.faces, key=lambda face: face.detection.box[0])):
        alone = empty(400, 400)
        paste(alone, heads[number], 20, 20, 50)
        (single,) = (await pipeline.find_faces(saved(alone, kind), 1)).faces
        vectors = await pipeline.embed([face.crop, single.crop], 1)
        assert float(vectors[0] @ vectors[1]) > 0.9
    largest = await pipeline.select_face(content, FaceSelection.LARGEST)
    middle = largest.detection.landmarks.mean(axis=0)
    assert any(np.linalg.norm(middle - face.landmarks.mean(axis=0)) < 25 for face in expected), middle


async def test_the_cut_comes_after_the_quality_gate(
    pipeline: PhotoPipeline, heads: list[tuple[Pixels, Detection]]
) -> None:
    scene = empty(1200, 900)
    for number in range(3):
        paste(scene, heads[number], 20 + 400 * number, 20, 80)
    scene[:450] = cv2.GaussianBlur(scene[:450], (0, 0), 12)
    sharp = [paste(scene, heads[number], 20 + 300 * number, 600, 40) for number in range(4)]
    every = await pipeline.find_faces(saved(scene), 1000)
    assert every.found == 7
    assert [bool(face.issues) for face in every.faces] == [True] * 3 + [False] * 4
    four = await pipeline.find_faces(saved(scene), 4)
    assert_found(replace(four, found=4), sharp)
    assert four.found == 7
    five = await pipeline.find_faces(saved(scene), 5)
    assert [bool(face.issues) for face in five.faces] == [True] + [False] * 4


@pytest.mark.parametrize(("width", "height"), [(250, 250), (2000, 1500)])
async def test_one_clear_face_takes_one_pass_and_a_glance_at_turned_faces_beside_it(
    pipeline: PhotoPipeline,
    inference: CountingInference,
    heads: list[tuple[Pixels, Detection]],
    width: int,
    height: int,
) -> None:
    pixels = empty(width, height)
    # The head of the last portrait is upright.
    paste(pixels, heads[-1], round(0.25 * width), round(0.1 * height), 0.16 * height)
    await pipeline.select_face(saved(pixels), FaceSelection.LARGEST)
    look, _ = detector_input(pixels, SIDE)
    assert inference.pixels <= look[:, 0].size + 320 * 320


@pytest.mark.parametrize("turn", [1, 2, 3])
@pytest.mark.parametrize("eyes", [60, 120])
async def test_a_turned_face_beside_an_upright_one_is_found(
    pipeline: PhotoPipeline, heads: list[tuple[Pixels, Detection]], turn: int, eyes: int
) -> None:
    scene = empty(1600, 1200)
    paste(scene, heads[-1], 1250, 700, 60)
    lying = np.zeros((700, 700, 3), dtype=np.uint8)
    face = paste(lying, heads[0], 0, 0, eyes)
    scene[50:750, 50:750] = np.rot90(lying, turn)
    middle = face.landmarks.mean(axis=0) - 349.5
    for _ in range(turn):
        middle = np.array([middle[1], -middle[0]])
    with pytest.raises(MultipleFaces):
        await pipeline.select_face(saved(scene), FaceSelection.ERROR)
    found = (await pipeline.find_faces(saved(scene), 10)).faces
    assert len(found) == 2
    assert min(np.hypot(*(one.detection.landmarks.mean(axis=0) - 399.5 - middle)) for one in found) < eyes / 2
    if eyes > 60:
        largest = await pipeline.select_face(saved(scene), FaceSelection.LARGEST)
        assert largest.detection.landmarks[:, 0].max() < 800


async def test_what_is_no_face_at_any_turn_passes_no_gate(pipeline: PhotoPipeline, shared_data: Path) -> None:
    # In these photos something is taken for a turned face once the faces are painted over.
    names = ("Angelo_Reyes_0002", "Bill_Carmody_0001", "Jean_Carnahan_0001", "Justine_Henin_0001", "Muhammad_Ali_0010")
    for name in names:
        pixels = decode_image(
            (shared_data / "lfw_devtest" / name[:-5] / f"{name}.jpg").read_bytes(), ImageLimits()
        ).pixels
        mask = np.zeros(pixels.shape[:2], dtype=np.uint8)
        for face in await Detector(pipeline.inference).faces_in(pixels, SIDE):
            x, y, width, height = face.box
            middle, axes = (int(x + width / 2), int(y + height / 2)), (int(0.62 * width), int(0.62 * height))
            cv2.ellipse(mask, middle, axes, 0, 0, 360, 255, -1)
        painted = cv2.inpaint(pixels, mask, 5, cv2.INPAINT_TELEA).astype(np.uint8, copy=False)
        found = await pipeline.find_faces(saved(painted), 10)
        assert found.faces
        assert all(face.issues for face in found.faces)


@pytest.mark.parametrize("turn", [1, 2, 3])
async def test_every_face_of_a_sheet_is_found_whatever_its_turn(
    pipeline: PhotoPipeline, heads: list[tuple[Pixels, Detection]], turn: int
) -> None:
    sheet = empty(1600, 1200)
    for number in range(12):
        paste(sheet, heads[number % len(heads)], 20 + 390 * (number % 4), 20 + 390 * (number // 4), 60)
    assert (await pipeline.find_faces(saved(sheet), 100)).found == 12
    assert (await pipeline.find_faces(saved(np.rot90(sheet, turn).copy()), 100)).found == 12


async def test_a_photo_without_a_face_takes_bounded_work(pipeline: PhotoPipeline, inference: CountingInference) -> None:
    for width, height in ((250, 250), (3000, 2000)):
        inference.passes = inference.pixels = 0
        found = await pipeline.find_faces(saved(empty(width, height)), 1000)
        assert (found.faces, found.found) == ((), 0)
        # Up to four looks in each of eight turns, and four tiles in each quarter turn.
        assert inference.passes <= 8 * 4 + 4 * 4
        assert inference.pixels <= 4 * 0.6 * width * height + 8 * 1.5 * SIDE * SIDE
