"""What a run shows: curves, a map, TensorBoard events and a page."""

import base64
import doctest
import io
import math
import re
import struct
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from PIL import Image

from sameface_train import drawing, image_map, tensorboard, validation
from sameface_train.drawing import LONG_RUN, log_figure, moving_average
from sameface_train.image_map import draw_map, with_room
from sameface_train.monitor import Reading
from sameface_train.report import thumbnail
from sameface_train.tensorboard import FILE_NAME, Events, masked
from sameface_train.validation import Measured


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=30), st.integers(0, 8).map(lambda half: 2 * half + 1))
def test_a_moving_average_is_that_of_the_values_around(values: list[float], window: int) -> None:
    if window > len(values):
        return
    for place, mean in enumerate(moving_average(np.array(values), window)):
        around = values[max(0, place - window // 2) : place + window // 2 + 1]
        assert mean == pytest.approx(math.fsum(around) / len(around), abs=1e-9)


def reading(step: int) -> Reading:
    return Reading(step, 1.0 / step, 0.5, 10.0, 0.9, 1e-3, 0.1, 0.0)


def legend(axes: Axes) -> list[str]:
    found = axes.get_legend()
    return [] if found is None else [text.get_text() for text in found.get_texts()]


def test_a_short_run_shows_its_steps_and_a_long_one_also_their_mean() -> None:
    for steps, smoothed in ((LONG_RUN - 1, False), (LONG_RUN, True)):
        readings = [reading(step + 1) for step in range(steps)]
        loss, *_ = log_figure(readings, [], None, "").axes
        raw, over = (np.asarray(line.get_ydata()) for line in loss.lines)
        np.testing.assert_array_equal(raw, [one.loss for one in readings])
        assert np.array_equal(raw, over) != smoothed
        assert legend(loss) == (["each step", "mean of 9 steps"] if smoothed else [])


def test_the_best_step_is_marked_among_the_held_out_figures() -> None:
    measured = [Measured(10, 1e-3, 0.5, 0.2), Measured(20, 1e-3, 0.5, 0.1), Measured(30, 1e-3, 0.5, 0.3)]
    panel = log_figure([reading(1)], measured, measured[1], "").axes[2]
    every, best = panel.lines
    np.testing.assert_allclose(np.asarray(every.get_ydata()), [20.0, 10.0, 30.0])
    np.testing.assert_allclose(np.asarray(best.get_xydata()), [[20.0, 10.0]])
    assert legend(panel) == ["best: step 20, 10 %"]
    assert panel.get_title(loc="left") == "held-out FNMR at FMR 0.1 %, %"
    none = log_figure([reading(1)], [], None, "").axes[2]
    assert [text.get_text() for text in none.texts] == ["none: see --hold-out"]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5)), min_size=1, max_size=40), st.integers(1, 20))
def test_thumbnails_never_overlap_and_leave_no_room(places: list[tuple[float, float]], most: int) -> None:
    chosen = with_room(np.array(places), np.array([1.0, 0.5]), most)
    assert 1 <= len(chosen) == len(set(chosen)) <= most

    def overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
        return abs(one[0] - other[0]) < 1.0 and abs(one[1] - other[1]) < 0.5

    kept = [places[place] for place in chosen]
    assert not any(overlap(one, other) for number, one in enumerate(kept) for other in kept[:number])
    if len(chosen) < most:
        assert all(any(overlap(place, one) for one in kept) for place in places)


def test_a_map_keeps_the_shape_of_wide_images_and_names_identities() -> None:
    wide = np.zeros((4, 1, 24, 96), np.uint8)
    wide[:, :, 8:16, 4:92] = 255
    places = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]], np.float32)
    buffers = [io.BytesIO(), io.BytesIO()]
    for buffer, names in zip(buffers, ((), ("one", "two")), strict=True):
        draw_map(places, wide, [0, 0, 1, 1], buffer, "four", names)
    pictures = [np.asarray(Image.open(buffer).convert("L")) for buffer in buffers]
    dark = (pictures[0] < 60).astype(np.uint8)
    _, _, found, _ = cv2.connectedComponentsWithStats(dark)
    strokes = [tuple(one[2:4]) for one in found[1:] if 80 < one[2] < 110 and one[3] < 20]
    assert len(strokes) == 4, "four strokes, each 88 by 8 pixels of a thumbnail"
    assert all(width / height == pytest.approx(11, rel=0.4) for width, height in strokes)
    assert (pictures[1][:, -150:] < 60).sum() > (pictures[0][:, -150:] < 60).sum(), "the legend"


def test_a_thumbnail_shows_the_whole_image() -> None:
    wide = np.zeros((1, 20, 80), np.uint8)
    wide[0, :, :2] = wide[0, :, -2:] = 255
    opened = Image.open(io.BytesIO(base64.b64decode(thumbnail(wide).partition(",")[2])))
    pixels = np.asarray(opened.convert("L"))
    assert pixels.shape == (112, 112)
    assert pixels[56, 1] == pixels[56, 110] == 0
    assert pixels[5, 50] == pixels[106, 50] > 200, "the ground above and below"


def test_events_are_records_that_can_be_read_back(tmp_path: Path) -> None:
    first = Events(tmp_path, [], [])
    first.see(reading(1))
    first.close()
    again = Events(tmp_path, [reading(1)], [Measured(1, 1e-3, 0.5, 0.25)])
    again.see(replace(reading(300), loss=0.125))
    again.close()
    content = (tmp_path / FILE_NAME).read_bytes()
    found: list[tuple[int, dict[str, float]]] = []
    while content:
        length = struct.unpack("<Q", content[:8])[0]
        event = content[12 : 12 + length]
        assert struct.unpack("<I", content[8:12])[0] == masked(content[:8])
        assert struct.unpack("<I", content[12 + length : 16 + length])[0] == masked(event)
        content = content[16 + length :]
        # After the time (9 bytes) comes the step, of one or two bytes here.
        step = event[10] if event[10] < 128 else (event[10] & 127) + 128 * event[11]
        values = re.findall(rb"\x0a.([a-z_/-]+)\x15(.{4})", event, re.S)
        found.append((step, {tag.decode(): struct.unpack("<f", value)[0] for tag, value in values}))
    assert [step for step, _ in found] == [0, 1, 1, 300]
    assert found[2][1] == {"held-out/fnmr": 0.25, "held-out/threshold": 0.5}
    assert found[3][1]["training/loss"] == 0.125
    assert found[3][1].keys() == {f"training/{name}" for name in ("loss", "active", "norm", "spread", "learning_rate")}


@pytest.mark.parametrize("module", [drawing, image_map, tensorboard, validation], ids=lambda module: module.__name__)
def test_examples_in_docstrings_hold(module) -> None:  # type: ignore[no-untyped-def]
    done = doctest.testmod(module)
    assert done.attempted > 0
    assert done.failed == 0
