//! Weights by what the two ends of an edge are known as.

use ndarray::NdFloat;

use super::Edges;
use crate::LossError;
use crate::graded::not_negative;

/// A factor for each kind of edge: α₁, α₂ and α₃ of Neural Graph Machines.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EdgeKindWeights {
    /// Both ends labelled.
    pub labelled: f32,
    /// One end labelled.
    pub mixed: f32,
    /// Neither end labelled.
    pub unlabelled: f32,
}

impl Default for EdgeKindWeights {
    /// All kinds alike.
    fn default() -> Self {
        Self { labelled: 1.0, mixed: 1.0, unlabelled: 1.0 }
    }
}

impl EdgeKindWeights {
    /// The edges' weights times the factors of their kinds.
    ///
    /// - `labelled`: for each row of the batch, whether it has a label.
    /// - returns: `[E]`.
    ///
    /// # Errors
    /// [`LossError`]: an index without a row, a weight or factor that is negative or not finite.
    ///
    /// # Examples
    /// ```
    /// use nearkin_loss::{EdgeKindWeights, Edges};
    /// let kinds = EdgeKindWeights { labelled: 1.0, mixed: 0.5, unlabelled: 0.25 };
    /// let edges = Edges { u: &[0, 0, 2], v: &[1, 2, 3], w: &[4.0_f32, 4.0, 4.0] };
    /// assert_eq!(kinds.weigh(edges, &[true, true, false, false])?, [4.0, 2.0, 1.0]);
    /// # Ok::<(), nearkin_loss::LossError>(())
    /// ```
    pub fn weigh<T: NdFloat>(
        &self,
        edges: Edges<'_, T>,
        labelled: &[bool],
    ) -> Result<Vec<T>, LossError> {
        not_negative("labelled", self.labelled)?;
        not_negative("mixed", self.mixed)?;
        not_negative("unlabelled", self.unlabelled)?;
        let w = edges.checked(labelled.len())?;
        let ends = edges.u.iter().zip(edges.v).map(|(&u, &v)| (labelled[u], labelled[v]));
        let weighed = ends.zip(w).map(|(ends, w)| {
            let factor = match ends {
                (true, true) => self.labelled,
                (false, false) => self.unlabelled,
                _ => self.mixed,
            };
            let weight = w * f64::from(factor);
            T::from(weight)
                .filter(|weight| weight.is_finite())
                .ok_or(LossError::Overflow { found: weight })
        });
        weighed.collect()
    }
}
