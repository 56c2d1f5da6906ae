//! Image data sets in their own formats, as batches for a model
