//! What is done to every row before distances are taken.

use ndarray::{Array1, Array2};

use super::EdgeDistance;
use crate::rows::{log_softmax, log_softmax_back, normalise, normalise_back};

/// What is done to every row before distances are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Space {
    /// Nothing.
    #[default]
    AsIs,
    /// x / max(‖x‖, 1e-12).
    Normalised,
    /// softmax(x): rows are logits, and distances are those of class probabilities.
    Softmax,
}

/// Rows after the map, with what its backward pass needs.
pub(super) struct Mapped {
    pub(super) space: Space,
    pub(super) y: Array2<f64>,
    /// ln y, of probabilities.
    pub(super) log: Option<Array2<f64>>,
    pub(super) norms: Option<Array1<f64>>,
}

impl Mapped {
    pub(super) fn new(space: Space, x: Array2<f64>) -> Self {
        match space {
            Space::AsIs => Self { space, y: x, log: None, norms: None },
            Space::Normalised => {
                let (y, norms) = normalise(&x);
                Self { space, y, log: None, norms: Some(norms) }
            }
            Space::Softmax => {
                let log = log_softmax(&x);
                Self { space, y: log.mapv(f64::exp), log: Some(log), norms: None }
            }
        }
    }

    /// From the gradient of what was mapped (of ln y for a distance of probabilities) to that of
    /// the rows.
    pub(super) fn back(&self, g: Array2<f64>, distance: EdgeDistance) -> Array2<f64> {
        match (&self.log, &self.norms) {
            (Some(log), _) if distance.is_of_probabilities() => log_softmax_back(log, g),
            (Some(log), _) => log_softmax_back(log, g * &self.y),
            (None, Some(norms)) => normalise_back(&self.y, norms, g),
            (None, None) => g,
        }
    }
}
