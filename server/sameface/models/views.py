"""What the card of an embedder adds around its trunk: the average over two views of a face, and the centre.

The trunk maps an image x to a unit vector f(x). The served graph is

- without a mirror average: n(f(x) − m);
- with a mirror average: n(n(f(x) + f(mirror(x))) − m).

n divides by the L2 norm, and m is the centre of the card, or 0. The mirror image has its columns in reverse order. Both
views go through the trunk in one call: N images are a batch of 2N.
"""

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import helper, numpy_helper

from sameface.errors import ModelCheckFailed
from sameface.inference.cards import Centre

PREFIX = "views_"
"""Begins the names that are added here."""


def with_views(content: bytes, *, mirror_averaged: bool, centre: Centre | None) -> bytes:
    """Return the served ONNX file of a trunk. Without both properties it is the trunk, unchanged.

    Args:
        content: the trunk: `images` UINT8 [N,3,H,W] → `embedding` FP32 [N,D] of unit norm, opset 13 or above.
        mirror_averaged: whether each embedding is the average over the image and its mirror image.
        centre: what is subtracted, D numbers, or None.

    Raises:
        ModelCheckFailed: the trunk has sub-graphs (If, Loop, Scan), or names that begin as those that are added.
    """
    if not mirror_averaged and centre is None:
        return content
    model = onnx.load_from_string(content)
    graph = model.graph
    _check(graph)
    trunk = list(graph.node)
    _rename(trunk, "embedding", f"{PREFIX}unit")
    before: list[onnx.NodeProto] = []
    after: list[onnx.NodeProto] = []
    constants: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32 | np.int64]]] = {}
    current = f"{PREFIX}unit"
    if mirror_averaged:
        _rename(trunk, "images", f"{PREFIX}both")
        width, size = (entry.type.tensor_type.shape.dim[-1].dim_value for entry in (graph.input[0], graph.output[0]))
        constants["columns"] = np.arange(width - 1, -1, -1, dtype=np.int64)
        constants |= {"pair": np.array([2, -1, size], np.int64), "first": np.array(0), "second": np.array(1)}
        before = [
            _node("Gather", ["images", "columns"], "mirrored", axis=3),
            _node("Concat", ["images", "mirrored"], "both", axis=0),
        ]
        after = [
            _node("Reshape", ["unit", "pair"], "pairs"),
            _node("Gather", ["pairs", "first"], "of_photos", axis=0),
            _node("Gather", ["pairs", "second"], "of_mirrored", axis=0),
            _node("Add", ["of_photos", "of_mirrored"], "sum"),
            _node("LpNormalization", ["sum"], "average", axis=1, p=2),
        ]
        current = "average"
    if centre is not None:
        constants["centre"] = np.array(centre.vector, np.float32)
        after += [
            _node("Sub", [current, "centre"], "centred"),
            _node("LpNormalization", ["centred"], "embedding", axis=1, p=2),
        ]
    else:
        after[-1].output[0] = "embedding"
    del graph.node[:], graph.value_info[:]
    graph.node.extend([*before, *trunk, *after])
    graph.initializer.extend(numpy_helper.from_array(values, f"{PREFIX}{name}") for name, values in constants.items())
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _check(graph: onnx.GraphProto) -> None:
    found = [node.op_type for node in graph.node if any(one.HasField("g") or one.graphs for one in node.attribute)]
    if found:
        raise ModelCheckFailed(
            f"the trunk has the operators {', '.join(sorted(set(found)))}, which have sub-graphs; expected none, "
            "because a mirror average and a centre are added around a plain graph"
        )
    names = {name for node in graph.node for name in node.output} | {tensor.name for tensor in graph.initializer}
    if taken := sorted(name for name in names if name.startswith(PREFIX)):
        raise ModelCheckFailed(
            f"the trunk has the tensor {taken[0]}; expected no name that begins with {PREFIX}. Give the trunk alone: "
            "the mirror average and the centre of the card are added when the version is built"
        )


def _rename(nodes: Iterable[onnx.NodeProto], old: str, new: str) -> None:
    for node in nodes:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new


def _node(operator: str, inputs: list[str], output: str, **attributes: int) -> onnx.NodeProto:
    """Return a node. Names of tensors get the prefix, but for those of the tensor contract. Node names always do."""
    name = f"{PREFIX}{output}"
    kept = ("images", "embedding")
    inputs = [name if name in kept or name.startswith(PREFIX) else f"{PREFIX}{name}" for name in inputs]
    output = output if output in kept else f"{PREFIX}{output}"
    node = helper.make_node(operator, inputs, [output], name=name)
    node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
    return node
