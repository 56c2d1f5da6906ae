//! Retrieval: does a search by an image find others of its class?
//!
//! Every score here depends only on the ranks of the items that share the query's label, so ranks are what
//! is searched for: among the k nearest where a score looks no further ([`crate::top_k_within`], exact),
//! otherwise by counting, a block of queries at a time. Memory never grows with n². The rules are
//! pytorch-metric-learning's: a query never finds itself; a query whose label nothing else bears is
//! left out; scores at R look as far as the label has other items. Graded relevance is not covered.

mod evaluate;
mod ranks;
mod score;
mod triplet;
mod verification;

pub use evaluate::{Gallery, Retrieval, RetrievalError, retrieval};
pub use score::{ListError, RetrievalScore, score_lists, score_ranks};
pub use triplet::triplet_accuracy;
pub use verification::{
    Verification, VerificationError, equal_error_rate, fnmr_at_fmr, verification,
};
