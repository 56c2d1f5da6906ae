//! Tensors that go from run to run inside the engine: the parameters of a training step.

use std::collections::BTreeMap;

use crate::error::RunError;
use crate::value::{Tensor, TensorView};

/// Named tensors that an engine keeps between runs, so that a step neither copies them in nor out.
///
/// A tensor given by [`State::set`] lies in this process's memory; after the first
/// [`crate::Session::advance`] it lies where the engine computed it, on a GPU in the GPU's memory.
#[derive(Debug, Default)]
pub struct State {
    values: BTreeMap<String, Held>,
}

/// What a run has made of a [`State`]; nothing has changed until it is accepted.
#[derive(Debug)]
#[must_use = "the state stays as it was until this is accepted"]
pub struct NextState {
    values: Vec<(String, Held)>,
}

/// A tensor where an engine keeps it.
#[derive(Debug)]
pub struct Held(pub(crate) HeldValue);

#[derive(Debug)]
pub(crate) enum HeldValue {
    Host(Tensor),
    Ort(ort::value::DynValue),
}

/// What an input is fed: a tensor of the caller, or one that an engine kept.
#[derive(Clone, Debug)]
pub enum Feed<'v, 'h> {
    /// The caller's.
    Given(TensorView<'v>),
    /// Kept from an earlier run.
    Held(&'h Held),
}

/// An input that is fed from the state, and the output that replaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// The input's name, by which the state knows the tensor.
    pub input: String,
    /// The output's name; `None` for what this model only reads.
    pub output: Option<String>,
}

impl State {
    /// No tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a tensor in, in place of an earlier one of this name.
    pub fn set(&mut self, name: impl Into<String>, tensor: impl Into<Tensor>) {
        self.values.insert(name.into(), Held(HeldValue::Host(tensor.into())));
    }

    /// A copy of the tensor of this name.
    ///
    /// # Errors
    /// [`RunError::NotKept`] without one; [`RunError::Engine`] if it cannot be read.
    pub fn tensor(&self, name: &str) -> Result<Tensor, RunError> {
        self.held(name)?.tensor(name)
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Replaces what a run has computed anew.
    pub fn accept(&mut self, next: NextState) {
        self.values.extend(next.values);
    }

    pub(crate) fn held(&self, name: &str) -> Result<&Held, RunError> {
        self.values.get(name).ok_or_else(|| RunError::NotKept {
            name: name.to_owned(),
            known: self.values.keys().cloned().collect(),
        })
    }
}

impl NextState {
    pub(crate) fn new(values: Vec<(String, Held)>) -> Self {
        Self { values }
    }

    /// A copy of what the input of this name would become.
    ///
    /// # Errors
    /// As [`State::tensor`].
    pub fn tensor(&self, name: &str) -> Result<Tensor, RunError> {
        let held = self.values.iter().find(|(known, _)| known == name);
        let unknown = || RunError::NotKept {
            name: name.to_owned(),
            known: self.values.iter().map(|(known, _)| known.clone()).collect(),
        };
        held.ok_or_else(unknown)?.1.tensor(name)
    }
}

impl Held {
    pub(crate) fn tensor(&self, name: &str) -> Result<Tensor, RunError> {
        match &self.0 {
            HeldValue::Host(tensor) => Ok(tensor.clone()),
            HeldValue::Ort(value) => crate::ort_engine::to_host(name, value),
        }
    }
}
