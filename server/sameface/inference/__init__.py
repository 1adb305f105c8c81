"""Running models: the protocol `Inference`, model cards, in-process ONNX Runtime, Triton, and the local Triton."""
