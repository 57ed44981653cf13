"""Weights: initial values, and weight files matched to a net.

- Interface: `file` opens a weight file of any format by its first bytes; all formats are subclasses of `WeightFile`.
- Matching: `match` brings a file under a net's names, using `rename` (rules), `order` (the order of the layers) and
  `tied` (tensors that are one weight); `check` compares names, shapes and types, and checks values when they are read.
- Initial values: `draw`.
- Formats, a prefix for each: `safetensors`, `npz`, `shards` (an index of several files); `pth` with `pickled`, which
  runs no code; `keras`, `keras_graph` and `keras_order` over `h5`; `onnx_model`, `onnx_graph`, `onnx_roles` and
  `onnx_external` over `protobuf`.
- `errors`: all errors of weight files.

Files are untrusted: headers are checked against the file before memory is allocated, and nothing in a file is executed.
"""
