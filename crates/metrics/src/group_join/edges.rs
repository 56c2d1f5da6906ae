//! Edges between rows and their neighbours, followed both ways.

use rayon::prelude::*;

use crate::near_lists::NearLists;

/// What rows were neighbours of which when a round began.
pub(super) struct Edges {
    reach: usize,
    /// `[n, reach]`: twice the place, and 1 if it is new; `u64::MAX` where there is none.
    forward: Vec<u64>,
    /// Where each row's part of `backward` begins, and the end of the last.
    starts: Vec<u32>,
    backward: Vec<u64>,
}

/// Rows whose edges are turned round together.
const TURNED: usize = 1 << 12;

impl Edges {
    pub(super) fn of(lists: &NearLists, reach: usize, half: impl Fn(u32) -> f32 + Sync) -> Self {
        let n = lists.len();
        let mut forward = vec![u64::MAX; n * reach];
        // Of some rows, by blocks of their neighbours: (neighbour, score, row and whether it is new).
        type Turned = Vec<Vec<(u32, f32, u64)>>;
        let blocks = n.div_ceil(TURNED);
        let turned: Vec<Turned> = forward
            .par_chunks_mut(TURNED * reach)
            .enumerate()
            .map(|(chunk, forward)| {
                let mut turned: Turned = vec![Vec::new(); blocks];
                for (at, forward) in forward.chunks_exact_mut(reach).enumerate() {
                    let place = (chunk * TURNED + at) as u32;
                    for (to, entry) in forward.iter_mut().zip(lists.entries(place as usize)) {
                        let (other, is_new) = (entry.place(), u64::from(entry.is_new()));
                        *to = u64::from(other) << 1 | is_new;
                        // As the neighbour would score the row.
                        let score = entry.score() + half(other) - half(place);
                        turned[other as usize / TURNED].push((
                            other,
                            score,
                            u64::from(place) << 1 | is_new,
                        ));
                    }
                }
                turned
            })
            .collect();
        let parts: Vec<(Vec<u32>, Vec<u64>)> = (0..blocks)
            .into_par_iter()
            .map(|block| {
                let rows = TURNED.min(n - block * TURNED);
                let all = || turned.iter().flat_map(|turned| &turned[block]);
                let within = |place: u32| place as usize - block * TURNED;
                let mut ends = vec![0_u32; rows + 1];
                all().for_each(|&(place, ..)| ends[within(place) + 1] += 1);
                (0..rows).for_each(|row| ends[row + 1] += ends[row]);
                let mut sorted = vec![(0.0, 0); ends[rows] as usize];
                let mut counts = vec![0_u32; rows];
                for &(place, score, row) in all() {
                    let (end, count) = (ends[within(place)], &mut counts[within(place)]);
                    sorted[(end + *count) as usize] = (score, row);
                    *count += 1;
                }
                let mut kept = Vec::with_capacity(sorted.len());
                for (row, count) in counts.iter_mut().enumerate() {
                    let edges = &mut sorted[ends[row] as usize..ends[row + 1] as usize];
                    if edges.len() > reach {
                        edges.sort_unstable_by(|a: &(f32, u64), b| {
                            b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
                        });
                        *count = reach as u32;
                    }
                    kept.extend(edges.iter().take(reach).map(|&(_, row)| row));
                }
                (counts, kept)
            })
            .collect();
        let mut starts = vec![0];
        let mut end = 0;
        for count in parts.iter().flat_map(|(counts, _)| counts) {
            end += count;
            starts.push(end);
        }
        let backward = parts.into_iter().flat_map(|(_, kept)| kept).collect();
        Self { reach, forward, starts, backward }
    }

    /// The rows at both kinds of edges of a place, each once, new ones apart from old ones.
    pub(super) fn around(&self, place: usize, new: &mut Vec<u32>, old: &mut Vec<u32>) {
        let forward = &self.forward[place * self.reach..(place + 1) * self.reach];
        let backward = self.starts[place] as usize..self.starts[place + 1] as usize;
        let forward = forward.iter().take_while(|&&edge| edge != u64::MAX);
        for &edge in forward {
            (if edge & 1 == 1 { &mut *new } else { &mut *old }).push((edge >> 1) as u32);
        }
        let (news, olds) = (new.len(), old.len());
        for &edge in &self.backward[backward] {
            let other = (edge >> 1) as u32;
            // Counted without an early end: that goes many at a time.
            let among = |of: &[u32]| of.iter().map(|&one| u32::from(one == other)).sum::<u32>() > 0;
            if !among(&new[..news]) && !among(&old[..olds]) {
                (if edge & 1 == 1 { &mut *new } else { &mut *old }).push(other);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_turned_round_and_the_best_of_many_kept() {
        let mut lists = NearLists::new(9, 4);
        for row in 1..9_u32 {
            lists.offer(row as usize, row as f32, 0);
        }
        lists.offer(0, 5.0, 8);
        lists.settle();
        lists.offer(0, 4.0, 3);
        let edges = Edges::of(&lists, 3, |_| 0.0);
        let (mut new, mut old) = (Vec::new(), Vec::new());
        edges.around(0, &mut new, &mut old);
        // 8 points to 0 and back: it counts once.
        assert_eq!((new, old), (vec![3], vec![8, 7, 6]));
        let (mut new, mut old) = (Vec::new(), Vec::new());
        edges.around(3, &mut new, &mut old);
        // The edge back is new, the one forward is not: it was met.
        assert_eq!((new, old), (vec![], vec![0]));
    }
}
