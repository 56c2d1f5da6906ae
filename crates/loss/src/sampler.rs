//! Batches for metric learning: so many classes, so many rows of each.

use std::collections::BTreeMap;

use crate::LossError;
use crate::random::SplitMix64;

/// Settings of [`per_class_batches`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerClass {
    /// Rows of each class in a batch, at least 1.
    pub rows: usize,
    /// Classes in a batch, at least 1.
    pub classes: usize,
    /// Number of batches.
    pub batches: usize,
    /// Which of all orders.
    pub seed: u64,
}

/// Batches of `classes` × `rows` indices: the labels of a batch are `classes` different ones, each
/// `rows` times.
///
/// Classes are taken in shuffled rounds, so that all come up equally often (to one), and so are the
/// rows of a class. A class with fewer than `rows` rows repeats them within a batch.
///
/// - returns: `batches` lists of `classes · rows` indices into `labels`, those of a class together.
///
/// # Errors
/// [`LossError::Setting`] for 0 rows or classes, or more classes than `labels` has.
///
/// # Examples
/// ```
/// use nearkin_loss::{PerClass, per_class_batches};
/// let labels = [5, 5, 5, 8, 8, 9];
/// let config = PerClass { rows: 2, classes: 2, batches: 3, seed: 1 };
/// let batches = per_class_batches(&labels, &config)?;
/// assert_eq!(batches.len(), 3);
/// for batch in batches {
///     assert_eq!(batch.len(), 4);
///     assert_eq!(labels[batch[0]], labels[batch[1]]);
///     assert_ne!(labels[batch[0]], labels[batch[2]]);
/// }
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
pub fn per_class_batches(
    labels: &[usize],
    config: &PerClass,
) -> Result<Vec<Vec<usize>>, LossError> {
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (row, &label) in labels.iter().enumerate() {
        members.entry(label).or_default().push(row);
    }
    if config.rows == 0 {
        let (expected, found) = ("at least 1", "0".to_owned());
        return Err(LossError::Setting { field: "rows", expected, found });
    }
    if config.classes == 0 || config.classes > members.len() {
        let found = format!("{} of {}", config.classes, members.len());
        let expected = "at least 1 and no more than there are";
        return Err(LossError::Setting { field: "classes", expected, found });
    }
    let mut random = SplitMix64(config.seed);
    let mut classes = Round::new(members.keys().copied().collect());
    let mut rows: BTreeMap<usize, Round> =
        members.into_iter().map(|(label, rows)| (label, Round::new(rows))).collect();
    let mut batches = Vec::with_capacity(config.batches);
    for _ in 0..config.batches {
        let mut batch = Vec::with_capacity(config.classes * config.rows);
        for label in classes.take(config.classes, &mut random) {
            if let Some(rows) = rows.get_mut(&label) {
                batch.extend(rows.take(config.rows, &mut random));
            }
        }
        batches.push(batch);
    }
    Ok(batches)
}

/// Items that are dealt in shuffled rounds.
struct Round {
    items: Vec<usize>,
    /// The first items, up to here, are yet to be dealt in this round.
    left: usize,
}

impl Round {
    fn new(items: Vec<usize>) -> Self {
        Self { items, left: 0 }
    }

    /// `count` items, different ones if there are as many.
    fn take(&mut self, count: usize, random: &mut SplitMix64) -> Vec<usize> {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            if self.left == 0 {
                random.shuffle(&mut self.items);
                self.left = self.items.len();
                // What this batch has already comes last in the new round.
                if taken.len() < self.items.len() {
                    self.items.sort_by_key(|item| !taken.contains(item));
                }
            }
            self.left -= 1;
            taken.push(self.items[self.left]);
        }
        taken
    }
}
