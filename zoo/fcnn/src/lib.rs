//! fcnn
