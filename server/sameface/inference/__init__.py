"""Running models: the seam, the model cards, in-process ONNX Runtime, Triton, and the local Triton."""
