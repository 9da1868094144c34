"""Policies as ONNX files for other runtimes: observation in, action out, and how to move the robot beside it."""
