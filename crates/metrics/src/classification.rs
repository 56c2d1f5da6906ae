//! Classification: what labels and scores say about a classifier.
//!
//! Counts come from a confusion matrix, curves from sorted scores, calibration from probabilities. Classes
//! without images have no accuracy and are left out of means, which is said with each function; nothing
//! divides by 0 silently. [`crate::top_k_accuracy`] and the votes of neighbours stand beside this module.

mod average_precision;
mod confusion;
mod curve;
mod error;
mod neighbours;
mod probabilities;

pub(crate) use average_precision::interpolated;
pub use average_precision::{Truth, VocRule, mean_voc_average_precision, voc_average_precision};
pub(crate) use confusion::Sums;
pub use confusion::{
    Averaging, PrecisionRecall, accuracy, balanced_accuracy, confusion_matrix, per_class_accuracy,
    per_class_precision_recall, precision_recall,
};
pub use curve::{OverClasses, average_precision, roc_auc, roc_auc_one_vs_rest};
pub use error::ClassificationError;
pub use neighbours::{knn_leave_one_out, knn_leave_one_out_accuracy, knn_scores_by};
pub(crate) use probabilities::check_probabilities;
pub use probabilities::{brier, expected_calibration_error, log_loss};
