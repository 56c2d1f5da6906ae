//! What a layout is asked for, and why it may be refused.

use thiserror::Error;

/// What the positions must satisfy while the average distortion is minimised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Constraint {
    /// The mean is 0; the scale is free.
    #[default]
    Centred,
    /// The mean is 0 and (1/n) XᵀX is the identity.
    Standardised,
}

/// How a graph is laid out. The defaults are those of PyMDE's `preserve_neighbors`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MapConfig {
    /// Columns of the positions, 2 or 3.
    pub dimensions: usize,
    /// What holds for the positions.
    pub constraint: Constraint,
    /// Repelled pairs for each attracted one, finite and at least 0; `None` stands for 1 where the
    /// constraint is [`Constraint::Centred`] and ½ where it is [`Constraint::Standardised`].
    pub repulsive_fraction: Option<f64>,
    /// The most steps of the optimiser.
    pub max_iterations: usize,
    /// The optimiser stops once the norm of the average distortion's gradient is at most this.
    pub tolerance: f64,
    /// Pairs of vectors from which the optimiser models the curvature, at least 1.
    pub memory: usize,
    /// Decides which pairs are repelled and how the start is jittered.
    pub seed: u64,
}

impl Default for MapConfig {
    fn default() -> Self {
        Self {
            dimensions: 2,
            constraint: Constraint::Centred,
            repulsive_fraction: None,
            max_iterations: 300,
            tolerance: 1e-5,
            memory: 10,
            seed: 0,
        }
    }
}

/// Why a graph has no map.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Error)]
pub enum MapError {
    /// A map has 2 or 3 dimensions.
    #[error("dimensions: expected 2 or 3, found {found}")]
    Dimensions {
        /// The number given.
        found: usize,
    },
    /// Nodes are numbered in 32 bits.
    #[error("nodes: expected at most {}, found {found}", u32::MAX)]
    TooManyNodes {
        /// Number of nodes.
        found: usize,
    },
    /// As many columns as points or more cannot be uncorrelated.
    #[error("a standardised map: expected more than {dimensions} nodes, found {found}")]
    TooFewNodes {
        /// Columns of the positions.
        dimensions: usize,
        /// Number of nodes.
        found: usize,
    },
    /// An end of an edge is not a node.
    #[error("edge {edge}: expected nodes below {nodes}, found {found}")]
    Node {
        /// The first such edge.
        edge: usize,
        /// Number of nodes.
        nodes: usize,
        /// The end.
        found: usize,
    },
    /// A weight is negative, infinite or not a number.
    #[error("edge {edge}: expected a finite weight of at least 0, found {found}")]
    Weight {
        /// The first such edge.
        edge: usize,
        /// The weight.
        found: f32,
    },
    /// The share of repelled pairs is negative, infinite or not a number.
    #[error("repulsive fraction: expected a finite number of at least 0, found {found}")]
    RepulsiveFraction {
        /// The number given.
        found: f64,
    },
    /// The tolerance is negative or not a number.
    #[error("tolerance: expected a number of at least 0, found {found}")]
    Tolerance {
        /// The number given.
        found: f64,
    },
    /// The optimiser has no memory.
    #[error("memory: expected at least 1, found 0")]
    Memory,
}

impl MapConfig {
    /// Checks everything that does not depend on the edges.
    pub(super) fn check(&self, nodes: usize) -> Result<(), MapError> {
        let &Self { dimensions, tolerance, .. } = self;
        if !(2..=3).contains(&dimensions) {
            return Err(MapError::Dimensions { found: dimensions });
        }
        if u32::try_from(nodes).is_err() {
            return Err(MapError::TooManyNodes { found: nodes });
        }
        if self.constraint == Constraint::Standardised && nodes <= dimensions {
            return Err(MapError::TooFewNodes { dimensions, found: nodes });
        }
        let fraction = self.repulsive_fraction();
        if !(fraction.is_finite() && fraction >= 0.0) {
            return Err(MapError::RepulsiveFraction { found: fraction });
        }
        if tolerance.is_nan() || tolerance < 0.0 {
            return Err(MapError::Tolerance { found: tolerance });
        }
        if self.memory == 0 {
            return Err(MapError::Memory);
        }
        Ok(())
    }

    /// Repelled pairs for each attracted one.
    pub(super) fn repulsive_fraction(&self) -> f64 {
        self.repulsive_fraction.unwrap_or(match self.constraint {
            Constraint::Centred => 1.0,
            Constraint::Standardised => 0.5,
        })
    }
}
