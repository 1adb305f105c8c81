"""Rewrites for OpenVINO: channels are scaled without a change of the outputs, and whole numbers keep their bounds."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from sameface.errors import ModelCheckFailed
from sameface.models.layers import Convolution, Dense, Layer, PixelStep, Slopes
from sameface.models.openvino import write_for_openvino
from sameface.models.quantise import WEIGHT_STEPS, quantise
from sameface.models.quantised_version import read_faces
from sameface.models.rescaling import moved
from sameface_qdrant.errors import InvalidArgument
from tests.models.test_weights import SMALL, images, run

CALIBRATION = np.random.default_rng(8).integers(0, 256, (6, 3, 112, 112), np.uint8)


def constants(content: bytes) -> dict[str, np.ndarray[Any, Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load_from_string(content).graph.initializer}


@given(st.data())
@settings(max_examples=10)
def test_factors_of_channels_change_no_output(data: st.DataObject) -> None:
    layers: list[Layer] = list(SMALL)
    for index, layer in enumerate(SMALL):
        if isinstance(layer, Slopes):
            before = SMALL[index - 1]
            assert isinstance(before, Convolution)
            some = data.draw(
                st.lists(st.floats(0.01, 100), min_size=len(before.bias), max_size=len(before.bias)), label=layer.name
            )
            layers = moved(layers, index, np.array(some))
    given_images = images()[:2]
    expected = run(write_for_openvino(SMALL, dense_steps=None), given_images)
    np.testing.assert_allclose(run(write_for_openvino(layers, dense_steps=None), given_images), expected, atol=1e-5)


def test_whole_numbers_in_the_dense_layer_move_an_embedding_little() -> None:
    exact, rounded = write_for_openvino(SMALL, dense_steps=None), write_for_openvino(SMALL)
    assert np.sum(run(exact) * run(rounded), axis=1).min() > 0.9999
    kinds = {name: values.dtype for name, values in constants(rounded).items() if values.size > 1000}
    assert kinds == {"dense_weight_numbers": np.int8}


def test_a_quantised_network_is_like_the_original_and_no_product_of_it_overflows() -> None:
    content = quantise(SMALL, CALIBRATION)
    assert np.sum(run(content) * run(write_for_openvino(SMALL, dense_steps=None)), axis=1).min() > 0.99
    whole = [values for name, values in constants(content).items() if name.endswith("_numbers")]
    assert len(whole) == sum(isinstance(layer, Convolution | Dense) for layer in SMALL)
    assert all(np.abs(values.astype(int)).max() == WEIGHT_STEPS for values in whole)
    # Two products of an activation and a weight, as processors without VNNI add them in 16 bits.
    assert 2 * 255 * WEIGHT_STEPS < 2**15


def test_a_network_of_another_form_is_not_quantised() -> None:
    by_channel = [PixelStep("centred", "Sub", np.array([1.0, 2.0, 3.0]).reshape(3, 1, 1)), *SMALL[2:]]
    with pytest.raises(ModelCheckFailed, match="centred has 3 constants"):
        quantise(by_channel, CALIBRATION)


def test_calibration_faces_are_the_centres_of_images_spread_over_a_folder(tmp_path: Path) -> None:
    from PIL import Image

    for shade in range(6):
        pixels = np.zeros((128, 120, 3), np.uint8)
        pixels[8:120, 4:116] = 40 * shade
        stored = io.BytesIO()
        Image.fromarray(pixels).save(stored, "PNG")
        (tmp_path / f"{shade}.png").write_bytes(stored.getvalue())
    faces = read_faces(tmp_path, most=3)
    assert faces.shape == (3, 3, 112, 112)
    assert [face.min() for face in faces] == [face.max() for face in faces] == [0, 80, 160]
    Image.new("RGB", (111, 200)).save(tmp_path / "small.png")
    with pytest.raises(InvalidArgument, match="111×200 pixels; expected an aligned face of at least 112×112"):
        read_faces(tmp_path, most=7)
    with pytest.raises(InvalidArgument, match=r"has no \.jpg, \.jpeg, \.png files"):
        read_faces(tmp_path / "none", most=1)
