"""Exports a trained network to ONNX within the tensor contract, and checks it against PyTorch."""

import numpy as np
import onnx
import torch
from torch import nn
from torch.nn.functional import normalize

from sameface.inference.cards import EMBEDDER, golden_input
from sameface.inference.onnx import open_session
from sameface.models.contract import FACE_EMBEDDER, TensorContract, check_tensor_contract
from sameface.models.graph import GraphWriter
from sameface.models.weights import LARGEST_BYTES, build_from_weights
from sameface_train.checkpoint import Trained
from sameface_train.errors import WrongExport
from sameface_train.sface import Scale

# The large weights are rounded to half precision; the embeddings must stay this close.
LEAST_COSINE = 0.9999
HALF_FROM = 4096
"""Constants of this many numbers and more are stored in half precision."""
TEST_IMAGES = 8


def image_shape(trained: Trained) -> tuple[int, int, int]:
    """Return the channels, height and width of the images that a network takes."""
    channels = next(layer.in_channels for layer in trained.network if isinstance(layer, nn.Conv2d))
    return (channels, *trained.side)


def contract_of_run(trained: Trained, model: str = EMBEDDER) -> TensorContract:
    """Return the tensor contract that the network of a run keeps, as a version of ``model``."""
    return TensorContract(model, image_shape(trained), "embedding", trained.recipe.dimension, unit_norm=True)


def write_onnx(trained: Trained, model: str = EMBEDDER) -> bytes:
    """Return ``weights.onnx`` of a network: `images` UINT8 [N,C,H,W] → `embedding` FP32 [N,D] of unit norm.

    Raises:
        WrongExport: the recipe's embeddings are not compared on the unit sphere, or a layer cannot be written.
    """
    if not trained.recipe.by_cosine:
        way = "a learned head" if trained.recipe.loss == "siamese" else "distance"
        raise WrongExport(
            f"{trained.recipe.name} compares by {way}, and the service compares unit vectors by their cosine; export a "
            "recipe that trains on the sphere, for instance triplet",
            metadata={"recipe": trained.recipe.name},
        )
    writer = GraphWriter(model)
    current = writer.node("Cast", ["images"], "pixels", to=onnx.TensorProto.FLOAT)
    for place, layer in enumerate(trained.network):
        current = _write(writer, layer, current, f"layer{place}")
    writer.node("LpNormalization", [current], "embedding", axis=1, p=2)
    return writer.model(["N", *image_shape(trained)], "embedding", ["N", trained.recipe.dimension])


def export(trained: Trained, model: str = EMBEDDER) -> tuple[bytes, float]:
    """Return ``weights.onnx`` for the model repository, and the smallest cosine of its served form to PyTorch.

    As a version of `face_embedder` it must keep the contract of that model; another model has one of its own shape.

    Raises:
        WrongExport: it has other tensors than `face_embedder`, or is too large to be committed as its version; or it
            differs from the trained network.
        ModelCheckFailed: it is outside the tensor contract; the message says what was found and expected.
    """
    contract = FACE_EMBEDDER if model == EMBEDDER else contract_of_run(trained, model)
    content = write_onnx(trained, model)
    if model == EMBEDDER and (own := contract_of_run(trained)) != contract:
        raise WrongExport(
            f"the network takes {own.input_signature} and gives {own.size} numbers; {EMBEDDER} takes "
            f"{contract.input_signature} and gives {contract.size}. For other things than faces, name a model of its "
            "own: --model NAME",
            metadata={"found": own.input_signature, "expected": contract.input_signature},
        )
    check_tensor_contract(content, contract)
    if model == EMBEDDER and len(content) > LARGEST_BYTES:
        raise WrongExport(
            f"the file would have {len(content):,} bytes; at most {LARGEST_BYTES:,} are committed. "
            "Train a smaller network",
            metadata={"bytes": len(content)},
        )
    cosine = equality(trained, build_from_weights(content, contract))
    if cosine < LEAST_COSINE:
        raise WrongExport(
            f"the export has a cosine of {cosine:.6f} to PyTorch; expected at least {LEAST_COSINE}. A weight may be "
            "outside the range of half precision",
            metadata={"cosine": f"{cosine:.6f}"},
        )
    return content, cosine


@torch.no_grad()
def equality(trained: Trained, content: bytes) -> float:
    """Return the smallest cosine between an ONNX file's embeddings and PyTorch's, over fixed and random images."""
    shape = (TEST_IMAGES, *image_shape(trained))
    images = np.concatenate([golden_input((1, *shape[1:])), np.random.default_rng(0).integers(0, 256, shape, np.uint8)])
    expected = normalize(trained.network.cpu().eval()(torch.from_numpy(images).float())).numpy()
    (actual,) = open_session(content, threads=1).run(None, {"images": images})
    return float((expected * actual).sum(axis=1).min())


def _write(writer: GraphWriter, layer: nn.Module, current: str, name: str) -> str:
    match layer:
        case Scale():
            shifted = writer.node(
                "Sub", [current, writer.constant(f"{name}_offset", np.array(layer.offset))], f"{name}_sub"
            )
            return writer.node("Mul", [shifted, writer.constant(f"{name}_factor", np.array(layer.factor))], name)
        case nn.Conv2d():
            pads = [int(side) for side in layer.padding] * 2
            return writer.node(
                "Conv",
                [current, *_weights(writer, layer, name)],
                name,
                kernel_shape=list(layer.kernel_size),
                strides=list(layer.stride),
                pads=pads,
                group=layer.groups,
            )
        case nn.BatchNorm2d():
            running = [layer.weight, layer.bias, layer.running_mean, layer.running_var]
            constants = [
                writer.constant(f"{name}_{part}", values.detach().cpu().numpy())
                for part, values in zip(("scale", "bias", "mean", "var"), running, strict=True)
                if values is not None
            ]
            return writer.node("BatchNormalization", [current, *constants], name, epsilon=layer.eps)
        case nn.PReLU():
            slopes = layer.weight.detach().cpu().numpy().reshape(-1, 1, 1)
            return writer.node("PRelu", [current, writer.constant(f"{name}_slope", slopes)], name)
        case nn.ReLU():
            return writer.node("Relu", [current], name)
        case nn.MaxPool2d() | nn.AvgPool2d():
            operator = "MaxPool" if isinstance(layer, nn.MaxPool2d) else "AveragePool"
            kernel, strides = (_both(value) for value in (layer.kernel_size, layer.stride))
            return writer.node(operator, [current], name, kernel_shape=kernel, strides=strides)
        case nn.Flatten():
            return writer.node("Flatten", [current], name, axis=1)
        case nn.Linear():
            return writer.node("Gemm", [current, *_weights(writer, layer, name)], name, transB=1)
        case _:
            raise WrongExport(
                f"{name} is a {type(layer).__name__}, which export does not write; it writes sequences of convolution, "
                "batch norm, ReLU, PReLU, pooling by maxima or means, flattening and dense layers",
                metadata={"layer": name},
            )


def _both(value: int | tuple[int, ...]) -> list[int]:
    """Return a size for both sides; PyTorch gives one number if they are equal."""
    return [value, value] if isinstance(value, int) else list(value)


def _weights(writer: GraphWriter, layer: nn.Conv2d | nn.Linear, name: str) -> list[str]:
    weights = layer.weight.detach().cpu().numpy()
    add = writer.half_constant if weights.size >= HALF_FROM else writer.constant
    names = [add(f"{name}_weight", weights)]
    if layer.bias is not None:
        names.append(writer.constant(f"{name}_bias", layer.bias.detach().cpu().numpy()))
    return names
