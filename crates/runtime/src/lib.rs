//! Runs any ONNX model on ONNX Runtime or tract, on the device that was asked for
