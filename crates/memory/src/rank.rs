//! Scoring what the postings say: BM25 of a chunk, of its neighbourhood and of its parent.
//!
//! Pure: rows in, ranking out. `LEX(i) = BM25(own) + 0.8·BM25(±2 neighbours) + 0.4·BM25(parent)`,
//! all three with the inverse document frequency of single chunks. The formula of BM25 is that of
//! Robertson and Zaragoza (2009). Every constant here was measured, see docs/memory.md.

use std::{collections::HashMap, ops::Range};

/// Saturation of term frequency. Source: measured, see docs/memory.md.
const K1: f64 = 0.9;
/// How much length counts. Source: measured, see docs/memory.md.
const B: f64 = 0.4;
/// How far the neighbourhood of a chunk reaches on either side. Source: measured, see docs/memory.md.
const REACH: usize = 2;
/// Weight of the neighbourhood. Source: measured, see docs/memory.md.
const NEIGHBOURS_WEIGHT: f64 = 0.8;
/// Weight of the parent. Source: measured, see docs/memory.md.
const PARENT_WEIGHT: f64 = 0.4;

/// The chunks of a scope, parents together, each parent's in its order.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    chunks: Vec<Placed>,
    place_of: HashMap<i64, usize>,
    /// The places of each parent's chunks, by place of any of them.
    parents: Vec<Range<usize>>,
    parent_of: Vec<usize>,
    /// Terms before each place, and at the end of all.
    terms_before: Vec<u64>,
}

/// A chunk in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The chunk.
    pub chunk_id: i64,
    /// Its group or, without one, its memory; only compared with the chunk before.
    pub parent: u128,
    /// The number of its terms.
    pub length: u32,
}

/// Where one term of the question occurs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Postings {
    /// The term.
    pub term: String,
    /// Each chunk that has it, and how often.
    pub found: Vec<(i64, u32)>,
}

impl Layout {
    /// The chunks must come parent by parent, in the order within the parent.
    pub fn new(chunks: Vec<Placed>) -> Self {
        let place_of = chunks.iter().enumerate().map(|(at, chunk)| (chunk.chunk_id, at)).collect();
        let mut parents: Vec<Range<usize>> = Vec::new();
        let mut parent_of = Vec::with_capacity(chunks.len());
        let mut terms_before = Vec::with_capacity(chunks.len() + 1);
        let (mut last, mut terms) = (None, 0);
        for (at, chunk) in chunks.iter().enumerate() {
            match parents.last_mut() {
                Some(range) if last == Some(chunk.parent) => range.end = at + 1,
                _ => parents.push(at..at + 1),
            }
            parent_of.push(parents.len() - 1);
            terms_before.push(terms);
            terms += u64::from(chunk.length);
            last = Some(chunk.parent);
        }
        terms_before.push(terms);
        Self { chunks, place_of, parents, parent_of, terms_before }
    }

    /// The chunk at a place.
    pub fn chunk_id(&self, place: usize) -> Option<i64> {
        self.chunks.get(place).map(|chunk| chunk.chunk_id)
    }

    /// The place of a chunk.
    pub fn place(&self, chunk_id: i64) -> Option<usize> {
        self.place_of.get(&chunk_id).copied()
    }

    fn parent(&self, place: usize) -> Range<usize> {
        self.parent_of
            .get(place)
            .and_then(|parent| self.parents.get(*parent))
            .cloned()
            .unwrap_or(place..place)
    }

    /// The chunk and its neighbours in the same parent.
    fn window(&self, place: usize) -> Range<usize> {
        let parent = self.parent(place);
        parent.start.max(place.saturating_sub(REACH))..parent.end.min(place + REACH + 1)
    }

    /// The chunks directly before and after it in the same parent.
    pub fn adjacent(&self, place: usize) -> impl Iterator<Item = i64> {
        let parent = self.parent(place);
        [place.checked_sub(1), place.checked_add(1)]
            .into_iter()
            .flatten()
            .filter(move |at| parent.contains(at))
            .filter_map(|at| self.chunk_id(at))
    }

    fn terms_in(&self, range: &Range<usize>) -> f64 {
        let before = |at: usize| self.terms_before.get(at).copied().unwrap_or(0);
        (before(range.end) - before(range.start)) as f64
    }

    fn mean(&self, ranges: impl Iterator<Item = Range<usize>>) -> f64 {
        let (sum, n) =
            ranges.fold((0.0, 0), |(sum, n), range| (sum + self.terms_in(&range), n + 1));
        if n == 0 { 1.0 } else { (sum / f64::from(n)).max(1.0) }
    }
}

/// LEX of every place of the layout: zero where neither the chunk nor a neighbour has a term.
///
/// `chunks` and `terms` count the whole scope, of which the layout may be a part.
pub fn lexical(layout: &Layout, postings: &[Postings], chunks: u64, terms: u64) -> Vec<f64> {
    let places = 0..layout.chunks.len();
    let mean_own = (terms as f64 / chunks.max(1) as f64).max(1.0);
    let mean_window = layout.mean(places.map(|at| layout.window(at)));
    let mean_parent = layout.mean(layout.parents.iter().cloned());
    let mut scores = vec![0.0; layout.chunks.len()];
    let mut parent_scores = vec![0.0; layout.parents.len()];
    let mut near = Tally::new(layout.chunks.len());
    let mut inside = Tally::new(layout.parents.len());
    for posting in postings {
        let idf = inverse_document_frequency(chunks as f64, posting.found.len() as f64);
        for &(chunk_id, count) in &posting.found {
            let Some(place) = layout.place(chunk_id) else { continue };
            let own = layout.terms_in(&(place..place + 1));
            add(&mut scores, place, idf * saturated(count, own, mean_own));
            layout.window(place).for_each(|neighbour| near.add(neighbour, count));
            layout.parent_of.get(place).into_iter().for_each(|parent| inside.add(*parent, count));
        }
        near.drain(|place, count| {
            let value = saturated(count, layout.terms_in(&layout.window(place)), mean_window);
            add(&mut scores, place, NEIGHBOURS_WEIGHT * idf * value);
        });
        inside.drain(|parent, count| {
            let terms = layout.parents.get(parent).map_or(0.0, |range| layout.terms_in(range));
            add(&mut parent_scores, parent, idf * saturated(count, terms, mean_parent));
        });
    }
    for (score, parent) in scores.iter_mut().zip(&layout.parent_of) {
        if *score > 0.0 {
            *score += PARENT_WEIGHT * parent_scores.get(*parent).copied().unwrap_or(0.0);
        }
    }
    scores
}

/// The terms that the chunk at `place` or a neighbour of it has.
pub fn matched_terms(layout: &Layout, postings: &[Postings], place: usize) -> Vec<String> {
    let window: Vec<_> = layout.window(place).filter_map(|at| layout.chunk_id(at)).collect();
    postings
        .iter()
        .filter(|posting| posting.found.iter().any(|(chunk_id, _)| window.contains(chunk_id)))
        .map(|posting| posting.term.clone())
        .collect()
}

/// How much a term says: ln(1 + (N - df + ½) / (df + ½)).
pub fn inverse_document_frequency(chunks: f64, having: f64) -> f64 {
    (1.0 + (chunks - having + 0.5).max(0.0) / (having + 0.5)).ln()
}

fn saturated(count: u32, terms: f64, mean: f64) -> f64 {
    let count = f64::from(count);
    count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * terms / mean))
}

fn add(values: &mut [f64], at: usize, more: f64) {
    if let Some(value) = values.get_mut(at) {
        *value += more;
    }
}

/// Counts by place, emptied in the time that filling it took.
struct Tally {
    counts: Vec<u32>,
    touched: Vec<usize>,
}

impl Tally {
    fn new(places: usize) -> Self {
        Self { counts: vec![0; places], touched: Vec::new() }
    }

    fn add(&mut self, place: usize, count: u32) {
        if let Some(sum) = self.counts.get_mut(place) {
            if *sum == 0 {
                self.touched.push(place);
            }
            *sum = sum.saturating_add(count);
        }
    }

    fn drain(&mut self, mut each: impl FnMut(usize, u32)) {
        for place in self.touched.drain(..) {
            if let Some(sum) = self.counts.get_mut(place) {
                each(place, std::mem::take(sum));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chunks 0, 1, 2, … of ten terms each; `parents` says whose they are.
    fn layout(parents: &[u128]) -> Layout {
        let placed = (0..).zip(parents).map(|(chunk_id, parent)| Placed {
            chunk_id,
            parent: *parent,
            length: 10,
        });
        Layout::new(placed.collect())
    }

    fn scores(parents: &[u128], terms: &[&[(i64, u32)]]) -> Vec<f64> {
        let postings: Vec<_> = terms
            .iter()
            .map(|found| Postings { term: String::new(), found: found.to_vec() })
            .collect();
        let chunks = parents.len() as u64;
        lexical(&layout(parents), &postings, chunks, chunks * 10)
    }

    #[test]
    fn a_lone_chunk_scores_by_hand() {
        // One of four chunks has the term once: idf = ln(1 + 3.5/1.5), saturation 1 of 1.9.
        let idf = (1.0_f64 + 3.5 / 1.5).ln();
        let got = scores(&[1, 2, 3, 4], &[&[(2, 1)]]);
        assert!((got[2] - idf * (1.0 + NEIGHBOURS_WEIGHT + PARENT_WEIGHT)).abs() < 1e-9, "{got:?}");
        assert_eq!((got[0], got[1], got[3]), (0.0, 0.0, 0.0));
    }

    #[test]
    fn neighbours_of_the_same_parent_share_and_others_do_not() {
        let got = scores(&[1, 1, 1, 1, 2, 2], &[&[(3, 1)]]);
        assert_eq!(got[0], 0.0, "out of reach");
        assert!(got[1] > 0.0 && got[2] > 0.0);
        assert!(got[3] > got[2], "the chunk itself comes first");
        assert_eq!((got[4], got[5]), (0.0, 0.0), "another parent");
    }

    #[test]
    fn rare_terms_and_frequent_ones_count_as_they_should() {
        let got = scores(&[1, 2, 3, 4, 5], &[&[(0, 1)], &[(1, 1), (2, 1), (3, 1)], &[(4, 9)]]);
        assert!(got[0] > got[1], "a rare term says more than a common one");
        assert!(got[4] > got[0], "nine times say more than once");
        assert!(got[4] < 2.0 * got[0], "but not nine times as much");
    }

    #[test]
    fn postings_of_chunks_that_are_gone_are_passed_over() {
        assert_eq!(scores(&[1], &[&[(7, 1)]]), [0.0]);
        assert_eq!(scores(&[], &[&[(7, 1)]]), [0.0; 0]);
    }

    #[test]
    fn matched_terms_name_those_of_chunk_and_neighbours() {
        let term = |term: &str, chunk| Postings { term: term.into(), found: vec![(chunk, 1)] };
        let postings = [term("tea", 0), term("milk", 2), term("salt", 3)];
        assert_eq!(matched_terms(&layout(&[1, 1, 1, 2]), &postings, 0), ["tea", "milk"]);
    }
}
