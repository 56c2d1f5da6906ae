//! Builder of image architectures as ONNX graphs, and their weights by name
