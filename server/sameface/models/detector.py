"""`face_detector` version 1: YuNet (OpenCV Zoo) with free height and width, RGB input and a single output.

YuNet takes BGR. The weights of the first convolution are reordered, so that every model of the repository takes RGB.
"""

import numpy as np
import onnx

from sameface.models.folding import FoldedGraph, attributes
from sameface.models.graph import GraphWriter

STRIDES = (8, 16, 32)
# In the order of OpenCV's FaceDetectorYN; the last dimension of the output is 1 + 1 + 4 + 10.
HEADS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}


def build_detector(graph: FoldedGraph) -> bytes:
    """Return the ONNX file: `images` UINT8 [N,3,H,W] RGB, H and W multiples of 32 → `faces` FP32 [N,A,16].

    A is the number of anchors of strides 8, 16 and 32: HW/64 + HW/256 + HW/1024. They are ordered row by row.
    """
    writer = GraphWriter("face_detector")
    constants = dict(graph.constants)
    writer.node("Cast", ["images"], "pixels", to=onnx.TensorProto.FLOAT)
    first = next(node for node in graph.nodes if node.op_type == "Conv")
    constants[first.input[1]] = constants[first.input[1]][:, ::-1]  # BGR → RGB
    # The source reshapes to a fixed batch of 1: [1, -1, C]. A 0 copies the batch size from the input instead.
    flatten = {
        channels: writer.constant(f"flatten_{channels}", np.array([0, -1, channels], dtype=np.int64))
        for channels in set(HEADS.values())
    }
    used: set[str] = set()
    for node in graph.nodes:
        inputs = ["pixels" if name == first.input[0] else name for name in node.input]
        if node.op_type == "Reshape":
            inputs[1] = flatten[int(constants[node.input[1]][-1])]
        for name in inputs:
            if name in constants and name not in used:
                writer.constant(name, constants[name])
                used.add(name)
        writer.node(node.op_type, inputs, node.output[0], **attributes(node))
    strides = [
        writer.node("Concat", [f"{head}_{stride}" for head in HEADS], f"faces_{stride}", axis=2) for stride in STRIDES
    ]
    writer.node("Concat", strides, "faces", axis=1)
    return writer.model(["N", 3, "H", "W"], "faces", ["N", "A", sum(HEADS.values())])
