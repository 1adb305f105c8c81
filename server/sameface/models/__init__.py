"""Builds the ONNX files of the model repository. Needed for set-up, not for serving."""
