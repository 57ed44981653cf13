"""From a graph to ONNX, and to a session of onnxruntime."""
