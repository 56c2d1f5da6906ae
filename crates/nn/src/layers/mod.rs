//! Layers: what a family is written in. Each expands to a fixed set of ONNX operators.

mod basic;
mod conv;
mod linear;
mod math;
mod norm;
mod pool;
mod token;

pub use conv::Conv;
pub use linear::Linear;
pub use pool::Pool;
