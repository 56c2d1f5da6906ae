//! Numbers counted in equal bins.

use serde::{Deserialize, Serialize};

/// How numbers are spread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
    /// Their mean.
    pub mean: f64,
    /// How many fall into each of equal bins from `min` to `max`; a bound belongs to the upper bin, `max` to the last.
    pub counts: Vec<usize>,
}

impl Histogram {
    /// Counts finite values in `bins` bins, at least 1; `None` without any.
    pub(crate) fn new(values: &[f32], bins: usize) -> Option<Self> {
        let finite = || values.iter().filter(|v| v.is_finite()).map(|&v| f64::from(v));
        let (min, max) = (finite().reduce(f64::min)?, finite().reduce(f64::max)?);
        let mut counts = vec![0; bins];
        let width = (max - min) / bins as f64;
        for value in finite() {
            let bin = if width > 0.0 { ((value - min) / width) as usize } else { 0 };
            counts[bin.min(bins - 1)] += 1;
        }
        let mean = finite().sum::<f64>() / finite().count() as f64;
        Some(Self { min, max, mean, counts })
    }

    /// The counts as a row of blocks, the highest bin full.
    pub(crate) fn sparkline(&self) -> String {
        const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let most = self.counts.iter().max().copied().unwrap_or(0).max(1);
        // A bin with anything in it shows.
        self.counts.iter().map(|&count| BLOCKS[(8 * count).div_ceil(most)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_numbers_fill_one_bin_and_none_make_no_histogram() {
        assert_eq!(Histogram::new(&[2.0; 5], 3).unwrap().counts, [5, 0, 0]);
        assert_eq!(Histogram::new(&[], 3), None);
        assert_eq!(Histogram::new(&[f32::NAN, f32::INFINITY], 3), None);
    }

    #[test]
    fn bounds_belong_to_the_upper_bin_and_the_maximum_to_the_last() {
        let histogram = Histogram::new(&[0.0, 1.0, 2.0, 3.0, 4.0], 4).unwrap();
        assert_eq!(histogram.counts, [1, 1, 1, 2]);
        assert_eq!(histogram.sparkline(), "▄▄▄█");
    }

    proptest! {
        #[test]
        fn every_finite_number_is_counted_once(
            values in prop::collection::vec(any::<f32>(), 1..50), bins in 1_usize..30,
        ) {
            let finite = values.iter().filter(|v| v.is_finite()).count();
            let counted = Histogram::new(&values, bins).map_or(0, |h| h.counts.iter().sum());
            prop_assert_eq!(counted, finite);
        }
    }
}
