//! The ranks of relevant items over the whole gallery, by counting, a block of queries at a time.

use ndarray::{ArrayView1, ArrayView2, Axis, s};
use rayon::prelude::*;

use crate::Distance;
use crate::distances::{Measure, MeasureError, Rows, same_width};
use crate::points::Points;

/// Bytes of distances that are held at once.
const BLOCK_BYTES: usize = 1 << 27;

/// How far a rank from the kernels' f32 distances may be from the exact one, relative to itself.
const RELATIVE: f64 = 1.3e-5;
/// The same where terms of both signs are summed, relative to what is summed.
const OF_TERMS: f64 = 6e-6;

/// For each query, the rising ranks of the gallery items that are `relevant` to it, from 1 on; its `own` item does not count.
///
/// An item comes before another if it is nearer in f64, or as near and of lower index. Distances come from the
/// blocked kernels; those too close to a relevant item's to tell are computed again.
pub(super) fn each_query(
    queries: ArrayView2<'_, f32>,
    gallery: ArrayView2<'_, f32>,
    measure: Measure,
    relevant: &(dyn Fn(usize) -> Vec<usize> + Sync),
    own: &(dyn Fn(usize) -> Option<usize> + Sync),
    mut take: impl FnMut(usize, Vec<usize>),
) -> Result<(), MeasureError> {
    let (n, m) = (queries.nrows(), gallery.nrows());
    let rows = (BLOCK_BYTES / 4 / m.max(1)).clamp(1, n.max(1));
    let Measure::Of(distance) = measure else {
        let left = Rows::new(queries, "queries", measure)?;
        let right = Rows::new(gallery, "gallery", measure)?;
        same_width(left.width(), right.width())?;
        for start in (0..n).step_by(rows) {
            let of_query = |query: usize| {
                let mut row = Vec::with_capacity(m);
                left.each(query, &right, |_, distance| row.push(distance));
                let pass = Pass { relevant: &relevant(query), own: own(query), items: m };
                pass.ranks(|item| (row[item], 0.0), |item| row[item])
            };
            let block = start..n.min(start + rows);
            let ranks: Vec<Vec<usize>> = block.into_par_iter().map(of_query).collect();
            ranks.into_iter().enumerate().for_each(|(at, ranks)| take(start + at, ranks));
        }
        return Ok(());
    };
    let left = Points::new(queries, "queries", distance)?;
    let right = Points::new(gallery, "gallery", distance)?;
    let floor = OF_TERMS
        * match distance {
            Distance::InnerProduct => largest_norm(&left) * largest_norm(&right),
            Distance::HistogramIntersection => 1.0,
            _ => 0.0,
        };
    for start in (0..n).step_by(rows) {
        let block = queries.slice(s![start..n.min(start + rows), ..]);
        let distances = crate::pairwise(block, gallery, distance)?;
        let of_row = |(at, row): (usize, ArrayView1<'_, f32>)| {
            let query = start + at;
            let row = row.to_slice().unwrap_or_default(); // a row of a row-major array
            let pass = Pass { relevant: &relevant(query), own: own(query), items: m };
            let near = |item: usize| {
                let value = f64::from(row[item]);
                // Ranks of Euclidean distances are their squares.
                let rank = if distance == Distance::Euclidean { value * value } else { value };
                (rank, floor + RELATIVE * rank.abs())
            };
            pass.ranks(near, |item| distance.rank(left.row(query), right.row(item)))
        };
        let ranks: Vec<Vec<usize>> =
            distances.axis_iter(Axis(0)).into_par_iter().enumerate().map(of_row).collect();
        ranks.into_iter().enumerate().for_each(|(at, ranks)| take(start + at, ranks));
    }
    Ok(())
}

fn largest_norm(points: &Points<'_>) -> f64 {
    let square = |row| points.row(row).iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>();
    (0..points.len()).map(square).fold(0.0, f64::max).sqrt()
}

/// One query's way through the gallery.
struct Pass<'a> {
    relevant: &'a [usize],
    own: Option<usize>,
    items: usize,
}

impl Pass<'_> {
    /// Ranks of the relevant items.
    ///
    /// - `near`: an item's distance, and how far it may be off.
    /// - `exact`: the same without error.
    fn ranks(
        &self,
        near: impl Fn(usize) -> (f64, f64),
        exact: impl Fn(usize) -> f64,
    ) -> Vec<usize> {
        let mut sorted: Vec<(f64, usize)> =
            self.relevant.iter().map(|&item| (exact(item), item)).collect();
        sorted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        // before[i]: items that come before relevant item i, itself included, and after the one before it.
        let mut before = vec![0_usize; sorted.len() + 1];
        for item in (0..self.items).filter(|&item| Some(item) != self.own) {
            let (distance, error) = near(item);
            let low = sorted.partition_point(|relevant| relevant.0 < distance - error);
            let beyond = sorted[low..].first().is_none_or(|next| next.0 > distance + error);
            let at = if beyond {
                low
            } else {
                let distance = exact(item);
                sorted.partition_point(|relevant| {
                    relevant.0.total_cmp(&distance).then(relevant.1.cmp(&item)).is_lt()
                })
            };
            before[at] += 1;
        }
        let mut rank = 0;
        let counted = before[..sorted.len()].iter().map(|count| {
            rank += count;
            rank
        });
        counted.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranks_are_places_in_the_sorted_row(
            row in prop::collection::vec(0_u8..10, 1..40), picks in prop::collection::vec(0_usize..40, 0..10),
            own in 0_usize..40,
        ) {
            let n = row.len();
            let row: Vec<f32> = row.into_iter().map(f32::from).collect();
            let own = (own < n).then_some(own);
            let mut relevant: Vec<usize> = picks.into_iter().filter(|&i| i < n && Some(i) != own).collect();
            relevant.sort_unstable();
            relevant.dedup();
            let mut order: Vec<usize> = (0..n).filter(|&i| Some(i) != own).collect();
            order.sort_by(|&a, &b| row[a].total_cmp(&row[b]));
            let places = (1..).zip(&order).filter(|(_, item)| relevant.contains(item));
            let expected: Vec<usize> = places.map(|(rank, _)| rank).collect();
            let pass = Pass { relevant: &relevant, own, items: n };
            // Distances that are off by up to 0.6 are told apart by the exact ones.
            let near = |item: usize| (f64::from(row[item]) + 0.6 * (f64::from(item as u8) * 2.0).sin(), 0.6);
            prop_assert_eq!(pass.ranks(near, |item| f64::from(row[item])), expected);
        }
    }
}
