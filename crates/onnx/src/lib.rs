//! Typed ONNX graphs: values, nodes, shape inference, protobuf in and out
