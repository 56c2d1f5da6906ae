//! linfa-nn's k-d tree and ball tree, made exact about ties and safe on any finite points.
//!
//! Three things are added. Equal points enter the tree once: it never splits them, so a leaf
//! would hold them all. Points enter in a shuffled order: it splits a leaf at the middle of the
//! points *seen so far*, so sorted points would make a list and overflow the stack. And where the
//! k-th place is shared, in an order of the tree's own, a query by radius finds all that share it.

use ndarray::{Array2, ArrayView2};
use nearkin_metrics::{Distance, Neighbours};
use rayon::prelude::*;

use linfa_nn::distance::{L1Dist, L2Dist};
use linfa_nn::{CommonNearestNeighbour, NearestNeighbour, NearestNeighbourIndex};

use crate::NeighbourError;
use crate::neighbours::Engine;

/// More than the rounding of two f64 sums of the same terms in different order.
const TIE: f64 = 1e-9;

/// The `k` nearest of checked points: finite, 0 < k < n, d > 0.
pub(crate) fn nearest(
    points: ArrayView2<'_, f32>,
    k: usize,
    distance: Distance,
    engine: Engine,
) -> Result<Neighbours, NeighbourError> {
    let rows = points.as_standard_layout();
    let rows = rows.view();
    let groups = Groups::of(rows);
    // In f64, so that the tree's own distances are as exact as the ranks.
    let unique = Array2::from_shape_fn((groups.len(), rows.ncols()), |(group, column)| {
        f64::from(rows[[groups.members(group)[0], column]])
    });
    let tree = match engine {
        Engine::BallTree => CommonNearestNeighbour::BallTree,
        _ => CommonNearestNeighbour::KdTree,
    };
    let tree = match distance {
        Distance::Manhattan => tree.from_batch(&unique, L1Dist)?,
        _ => tree.from_batch(&unique, L2Dist)?,
    };
    let search = Search { rows, groups: &groups, unique: &unique, tree: &*tree, k, distance };
    let found: Vec<Vec<Member>> = (0..groups.len())
        .into_par_iter()
        .map(|group| search.around(group))
        .collect::<Result<_, NeighbourError>>()?;
    Ok(search.spread(&found))
}

/// A candidate: its rank and index.
type Member = (f64, usize);

struct Search<'a> {
    rows: ArrayView2<'a, f32>,
    groups: &'a Groups,
    unique: &'a Array2<f64>,
    tree: &'a dyn NearestNeighbourIndex<f64>,
    k: usize,
    distance: Distance,
}

impl Search<'_> {
    /// The k + 1 lowest (rank, index) seen from a group, its own members among them.
    fn around(&self, group: usize) -> Result<Vec<Member>, NeighbourError> {
        let wanted = self.k + 1;
        if self.groups.members(group).len() >= wanted {
            return Ok(self.members(&[(0.0, group)]));
        }
        // Every group has a member: k + 1 groups are enough, one more shows whether the last ties.
        let asked = (wanted + 1).min(self.groups.len());
        let point = self.unique.row(group);
        let mut near = self.ranked(group, self.tree.k_nearest(point, asked)?);
        let limit = self.rank_that_suffices(&near, wanted);
        let beyond = near.last().is_none_or(|&(rank, _)| rank > limit * (1.0 + TIE));
        if asked < self.groups.len() && !beyond {
            let radius = self.distance_in_tree(limit) * (1.0 + TIE);
            near = self.ranked(group, self.tree.within_range(point, radius)?);
        }
        Ok(self.members(&near))
    }

    /// Groups with their exact ranks from `group`, in order.
    fn ranked<P>(&self, group: usize, found: Vec<(P, usize)>) -> Vec<Member> {
        let own = self.representative(group);
        let rank = |other| self.distance.rank(own, self.representative(other));
        let mut near: Vec<Member> = found.into_iter().map(|(_, g)| (rank(g), g)).collect();
        near.sort_unstable_by(by_rank_then_index);
        near
    }

    fn representative(&self, group: usize) -> &[f32] {
        let d = self.rows.ncols();
        let first = self.groups.members(group)[0] * d;
        // Row-major by construction: the slice is there.
        self.rows.as_slice().map_or(&[], |values| &values[first..first + d])
    }

    /// The rank within which groups in order have `wanted` members.
    fn rank_that_suffices(&self, near: &[Member], wanted: usize) -> f64 {
        let mut members = 0;
        let enough = near.iter().find(|&&(_, group)| {
            members += self.groups.members(group).len();
            members >= wanted
        });
        enough.or(near.last()).map_or(0.0, |&(rank, _)| rank)
    }

    /// linfa's radius is a distance; its tree compares squares.
    fn distance_in_tree(&self, rank: f64) -> f64 {
        if self.distance == Distance::Manhattan { rank } else { rank.sqrt() }
    }

    /// The k + 1 lowest members of groups, by rank and index.
    fn members(&self, near: &[Member]) -> Vec<Member> {
        let wanted = self.k + 1;
        let mut all: Vec<Member> = near
            .iter()
            .flat_map(|&(rank, group)| {
                self.groups.members(group).iter().take(wanted).map(move |&i| (rank, i))
            })
            .collect();
        all.sort_unstable_by(by_rank_then_index);
        all.truncate(wanted);
        all
    }

    /// Gives every member of a group the group's candidates, less itself.
    fn spread(&self, found: &[Vec<Member>]) -> Neighbours {
        let shape = (self.rows.nrows(), self.k);
        let (mut indices, mut distances) = (Array2::zeros(shape), Array2::zeros(shape));
        for (group, candidates) in found.iter().enumerate() {
            for &i in self.groups.members(group) {
                let others = candidates.iter().filter(|&&(_, j)| j != i).take(self.k);
                for (column, &(rank, j)) in others.enumerate() {
                    indices[[i, column]] = j;
                    distances[[i, column]] = self.distance.of_rank(rank) as f32;
                }
            }
        }
        Neighbours { indices, distances }
    }
}

fn by_rank_then_index(a: &Member, b: &Member) -> std::cmp::Ordering {
    a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
}

/// Points grouped by equality of all coordinates (0 equals −0), groups in a shuffled order.
struct Groups {
    /// Indices of points, group by group, rising within each.
    order: Vec<usize>,
    /// Where each group begins, and the end.
    starts: Vec<usize>,
}

impl Groups {
    fn of(rows: ArrayView2<'_, f32>) -> Self {
        let compare = |&a: &usize, &b: &usize| {
            let pairs = rows.row(a).into_iter().zip(rows.row(b));
            // Adding 0 turns −0 into 0.
            let order = pairs.map(|(x, y)| (x + 0.0).total_cmp(&(y + 0.0)));
            order.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
        };
        let mut sorted: Vec<usize> = (0..rows.nrows()).collect();
        sorted.sort_by(compare);
        let mut groups: Vec<&[usize]> = sorted.chunk_by(|a, b| compare(a, b).is_eq()).collect();
        groups.sort_unstable_by_key(|members| (hash(members[0]), members[0]));
        let mut starts = vec![0];
        starts.extend(groups.iter().scan(0, |end, members| {
            *end += members.len();
            Some(*end)
        }));
        Self { order: groups.concat(), starts }
    }

    fn len(&self) -> usize {
        self.starts.len() - 1
    }

    fn members(&self, group: usize) -> &[usize] {
        &self.order[self.starts[group]..self.starts[group + 1]]
    }
}

/// SplitMix64's output function: indices in an order unrelated to the data's.
fn hash(index: usize) -> u64 {
    let mut z = (index as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
