//! Edges that come from elsewhere: clicks, duplicates, frames of one film.
//!
//! A file names nodes, a data set numbers them; this module joins the two and keeps count of what it cannot place.
//! It invents no reverse arcs: [`crate::symmetrised`] does.

mod parquet;
mod tsv;

pub use self::parquet::{ParquetColumns, read_parquet_edges};
pub use tsv::{read_tsv_edges, write_tsv_edges};

use std::collections::BTreeMap;

use thiserror::Error;

use crate::graph::{Arc, Graph, GraphError, Repeats, is_weight};

/// Names of nodes, each once: the i-th name is node i's.
#[derive(Clone, Debug)]
pub struct NodeNames<'a> {
    nodes: BTreeMap<&'a str, u32>,
}

/// What to do with an edge whose end is no node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unknown {
    /// Refuse the file, naming the line.
    Refuse,
    /// Leave the edge out and count it.
    Count,
}

/// Edges read, and what was left out or merged.
#[derive(Clone, Debug, PartialEq)]
pub struct OutsideEdges {
    /// Directed; of repeated arcs the largest weight counts, as in NSL.
    pub graph: Graph,
    /// Edges with an end that is no node, under [`Unknown::Count`].
    pub unknown: usize,
    /// Edges from a node to itself, left out.
    pub loops: usize,
    /// Edges merged into an earlier one with the same ends.
    pub repeated: usize,
}

/// Why edges cannot be read. Lines and rows count from 1.
#[derive(Debug, Error)]
pub enum OutsideError {
    /// Two nodes have one name.
    #[error("names of nodes: expected each once, found {name:?} for nodes {first} and {second}")]
    RepeatedName {
        /// The name.
        name: String,
        /// The first node.
        first: usize,
        /// The second.
        second: usize,
    },
    /// A line has not two or three columns.
    #[error(
        "line {line}: expected source, target and perhaps weight, separated by tabs, found {found} columns"
    )]
    Columns {
        /// The line.
        line: usize,
        /// Its columns.
        found: usize,
    },
    /// A line is not text.
    #[error("line {line}: expected UTF-8, found other bytes")]
    NotText {
        /// The line.
        line: usize,
    },
    /// A weight is no finite number of at least 0.
    #[error("line {line}, weight: expected a finite number of at least 0, found {found:?}")]
    Weight {
        /// The line or row.
        line: usize,
        /// The weight as it is written.
        found: String,
    },
    /// An end of an edge is no node.
    #[error("line {line}: expected the name of a node, found {found:?}")]
    Unknown {
        /// The line or row.
        line: usize,
        /// The name.
        found: String,
    },
    /// A column is missing, or holds something else.
    #[error("row {row}, column {column:?}: expected {expected}, found {found}")]
    Column {
        /// The row; 0 for the file's schema.
        row: usize,
        /// The column's name.
        column: String,
        /// What would do.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// The bytes are no Parquet file.
    #[error("Parquet: {0}")]
    Parquet(#[from] ::parquet::errors::ParquetError),
    /// There are more nodes than 32 bits count.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

impl<'a> NodeNames<'a> {
    /// - `names`: `[n]`.
    ///
    /// # Errors
    /// [`OutsideError::RepeatedName`]; [`OutsideError::Graph`] for more names than 32 bits count.
    pub fn new<S: AsRef<str>>(names: &'a [S]) -> Result<Self, OutsideError> {
        if u32::try_from(names.len()).is_err() {
            return Err(GraphError::Nodes { found: names.len() }.into());
        }
        let mut nodes = BTreeMap::new();
        for (name, node) in names.iter().zip(0_u32..) {
            if let Some(first) = nodes.insert(name.as_ref(), node) {
                return Err(OutsideError::RepeatedName {
                    name: name.as_ref().to_owned(),
                    first: first as usize,
                    second: node as usize,
                });
            }
        }
        Ok(Self { nodes })
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}

/// Collects edges by name.
struct Collector<'a> {
    names: &'a NodeNames<'a>,
    unknown_is: Unknown,
    arcs: Vec<Arc>,
    unknown: usize,
    loops: usize,
}

impl<'a> Collector<'a> {
    fn new(names: &'a NodeNames<'a>, unknown_is: Unknown) -> Self {
        Self { names, unknown_is, arcs: Vec::new(), unknown: 0, loops: 0 }
    }

    fn push(&mut self, line: usize, ends: [&str; 2], weight: f32) -> Result<(), OutsideError> {
        let mut nodes = [0; 2];
        for (node, name) in nodes.iter_mut().zip(ends) {
            match self.names.nodes.get(name) {
                Some(&known) => *node = known,
                None if self.unknown_is == Unknown::Count => {
                    self.unknown += 1;
                    return Ok(());
                }
                None => return Err(OutsideError::Unknown { line, found: name.to_owned() }),
            }
        }
        let [source, target] = nodes;
        if source == target {
            self.loops += 1;
        } else {
            self.arcs.push(Arc { source, target, weight });
        }
        Ok(())
    }

    fn finish(self) -> Result<OutsideEdges, OutsideError> {
        let read = self.arcs.len();
        let graph = Graph::from_arcs(self.names.len(), self.arcs, Repeats::Largest)?;
        let repeated = read - graph.view().arc_count();
        Ok(OutsideEdges { graph, unknown: self.unknown, loops: self.loops, repeated })
    }
}

/// A weight as f32, if it is one.
fn checked_weight(weight: f64) -> Option<f32> {
    let weight = weight as f32;
    is_weight(weight).then_some(weight)
}
