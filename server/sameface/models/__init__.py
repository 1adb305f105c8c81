"""Builds the ONNX files of the model repository from their pinned source. Needed at set-up, never while serving."""
