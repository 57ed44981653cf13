"""netdsl: neural networks as short as the table in their paper, compiled to ONNX."""
