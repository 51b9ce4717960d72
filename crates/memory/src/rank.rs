//! Scoring what the postings say: BM25 of a chunk, of its neighbourhood and of its parent.
//!
//! Pure: rows in, ranking out. `LEX(i) = BM25(own) + 0.8·BM25(±2 neighbours) + 0.4·BM25(parent)`,
//! all three with the inverse document frequency of single chunks. The formula of BM25 is that of
//! Robertson and Zaragoza (2009). Every constant here was measured, see docs/memory.md.

use std::{collections::HashSet, ops::Range, sync::Arc};

use uuid::Uuid;

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

/// The chunks of a home, parents together, each parent's in its order.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    chunks: Vec<Chunk>,
    /// The place of each chunk, in the order of chunks' numbers.
    places: Vec<(i64, usize)>,
    parents: Vec<Parent>,
    /// Terms before each place, and at the end of all.
    terms_before: Vec<u64>,
    /// Terms of the neighbourhoods of all chunks together.
    terms_of_windows: f64,
}

/// A chunk in its place.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    chunk_id: i64,
    memory_id: Uuid,
    /// Which of the parents.
    parent: usize,
}

/// A parent, and the places of its chunks.
#[derive(Debug, Clone)]
struct Parent {
    parent_id: Uuid,
    places: Range<usize>,
}

/// A chunk to place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The chunk.
    pub chunk_id: i64,
    /// Its memory.
    pub memory_id: Uuid,
    /// Its group or, without one, its memory; only compared with the chunk before.
    pub parent_id: Uuid,
    /// The number of its terms.
    pub length: u32,
}

/// Where one term of the question occurs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Postings {
    /// The term.
    pub term: String,
    /// Each chunk that has it, and how often, in the order of chunks' numbers.
    pub found: Vec<(i64, u32)>,
}

impl Postings {
    /// Puts them in order.
    pub fn new(term: String, found: impl IntoIterator<Item = (i64, u32)>) -> Self {
        let mut found: Vec<_> = found.into_iter().collect();
        found.sort_unstable();
        Self { term, found }
    }

    fn has(&self, chunk_id: i64) -> bool {
        self.found.binary_search_by_key(&chunk_id, |(id, _)| *id).is_ok()
    }
}

impl Layout {
    /// The chunks must come parent by parent, in the order within the parent.
    pub fn new(placed: Vec<Placed>) -> Self {
        let mut layout = Self::default();
        let mut terms = 0;
        for (at, chunk) in placed.iter().enumerate() {
            let Placed { chunk_id, memory_id, parent_id, length } = *chunk;
            match layout.parents.last_mut() {
                Some(last) if last.parent_id == parent_id => last.places.end = at + 1,
                _ => layout.parents.push(Parent { parent_id, places: at..at + 1 }),
            }
            layout.chunks.push(Chunk { chunk_id, memory_id, parent: layout.parents.len() - 1 });
            layout.places.push((chunk_id, at));
            layout.terms_before.push(terms);
            terms += u64::from(length);
        }
        layout.terms_before.push(terms);
        layout.places.sort_unstable();
        let windows = (0..layout.chunks.len()).map(|at| layout.terms_in(&layout.window(at)));
        layout.terms_of_windows = windows.sum();
        layout
    }

    /// The same layout with some parents as they are now, each of them whole.
    pub fn with(&self, placed: Vec<Placed>) -> Self {
        let renewed: HashSet<Uuid> = placed.iter().map(|chunk| chunk.parent_id).collect();
        let kept = self.parents.iter().filter(|parent| !renewed.contains(&parent.parent_id));
        let kept = kept.flat_map(|parent| {
            let chunks = self.chunks.get(parent.places.clone()).unwrap_or_default();
            parent.places.clone().zip(chunks).map(|(place, chunk)| Placed {
                chunk_id: chunk.chunk_id,
                memory_id: chunk.memory_id,
                parent_id: parent.parent_id,
                length: self.length(place),
            })
        });
        Self::new(kept.chain(placed).collect())
    }

    /// How many chunks there are.
    pub fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    /// The highest number of a chunk.
    pub fn last_chunk_id(&self) -> Option<i64> {
        self.places.last().map(|(chunk_id, _)| *chunk_id)
    }

    /// What it takes of memory.
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>()
            + self.chunks.capacity() * size_of::<Chunk>()
            + self.places.capacity() * size_of::<(i64, usize)>()
            + self.parents.capacity() * size_of::<Parent>()
            + self.terms_before.capacity() * size_of::<u64>()
    }

    /// The chunk at a place, and its memory.
    pub fn chunk(&self, place: usize) -> Option<(i64, Uuid)> {
        self.chunks.get(place).map(|chunk| (chunk.chunk_id, chunk.memory_id))
    }

    /// The place of a chunk.
    pub fn place(&self, chunk_id: i64) -> Option<usize> {
        let at = self.places.binary_search_by_key(&chunk_id, |(id, _)| *id).ok()?;
        self.places.get(at).map(|(_, place)| *place)
    }

    /// The places of those chunks that are here. Both lists are in order, so that each chunk is
    /// looked for from where the one before was: in doubling steps, then by halves.
    fn places_of<'a>(&'a self, found: &'a [(i64, u32)]) -> impl Iterator<Item = (usize, u32)> + 'a {
        let mut rest = self.places.as_slice();
        found.iter().filter_map(move |&(chunk_id, count)| {
            let mut step = 1;
            while rest.get(step).is_some_and(|(id, _)| *id < chunk_id) {
                step *= 2;
            }
            let near = rest.get(..=step).unwrap_or(rest);
            rest = rest.get(near.partition_point(|(id, _)| *id < chunk_id)..)?;
            rest.first().filter(|(id, _)| *id == chunk_id).map(|(_, place)| (*place, count))
        })
    }

    fn parent(&self, place: usize) -> Range<usize> {
        self.chunks
            .get(place)
            .and_then(|chunk| self.parents.get(chunk.parent))
            .map_or(place..place, |parent| parent.places.clone())
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
            .filter_map(|at| self.chunk(at).map(|(chunk_id, _)| chunk_id))
    }

    fn terms_in(&self, range: &Range<usize>) -> f64 {
        let before = |at: usize| self.terms_before.get(at).copied().unwrap_or(0);
        (before(range.end) - before(range.start)) as f64
    }

    fn length(&self, place: usize) -> u32 {
        self.terms_in(&(place..place + 1)) as u32
    }

    /// LEX of every place: zero where neither the chunk nor a neighbour has a term.
    fn scores(&self, postings: &[Postings], chunks: u64, means: &Means) -> Vec<f64> {
        let mut scores = vec![0.0; self.chunks.len()];
        let mut parent_scores = vec![0.0; self.parents.len()];
        let mut near = Tally::new(self.chunks.len());
        let mut inside = Tally::new(self.parents.len());
        for posting in postings {
            let idf = inverse_document_frequency(chunks as f64, posting.found.len() as f64);
            for (place, count) in self.places_of(&posting.found) {
                let own = self.terms_in(&(place..place + 1));
                add(&mut scores, place, idf * saturated(count, own, means.own));
                self.window(place).for_each(|neighbour| near.add(neighbour, count));
                self.chunks.get(place).into_iter().for_each(|each| inside.add(each.parent, count));
            }
            near.drain(|place, count| {
                let value = saturated(count, self.terms_in(&self.window(place)), means.window);
                add(&mut scores, place, NEIGHBOURS_WEIGHT * idf * value);
            });
            inside.drain(|parent, count| {
                let terms = self.parents.get(parent).map_or(0.0, |it| self.terms_in(&it.places));
                add(&mut parent_scores, parent, idf * saturated(count, terms, means.parent));
            });
        }
        for (score, chunk) in scores.iter_mut().zip(&self.chunks) {
            if *score > 0.0 {
                *score += PARENT_WEIGHT * parent_scores.get(chunk.parent).copied().unwrap_or(0.0);
            }
        }
        scores
    }
}

/// How many terms a chunk, a neighbourhood and a parent have, on average.
struct Means {
    own: f64,
    window: f64,
    parent: f64,
}

impl Means {
    fn of(layouts: &[Arc<Layout>], chunks: u64, terms: u64) -> Self {
        let mean = |sum: f64, n: usize| (sum / n.max(1) as f64).max(1.0);
        let chunks_here: usize = layouts.iter().map(|each| each.chunks.len()).sum();
        let parents: usize = layouts.iter().map(|each| each.parents.len()).sum();
        let terms_of_windows = layouts.iter().map(|each| each.terms_of_windows).sum();
        let terms_here = layouts.iter().map(|each| each.terms_in(&(0..each.chunks.len()))).sum();
        Self {
            own: mean(terms as f64, usize::try_from(chunks).unwrap_or(usize::MAX)),
            window: mean(terms_of_windows, chunks_here),
            parent: mean(terms_here, parents),
        }
    }
}

/// LEX of every place of each layout: zero where neither the chunk nor a neighbour has a term.
///
/// `chunks` and `terms` count all that is searched, of which the layouts may be a part.
pub fn lexical(
    layouts: &[Arc<Layout>],
    postings: &[Postings],
    chunks: u64,
    terms: u64,
) -> Vec<Vec<f64>> {
    let means = Means::of(layouts, chunks, terms);
    layouts.iter().map(|layout| layout.scores(postings, chunks, &means)).collect()
}

/// The terms that the chunk at `place` or a neighbour of it has.
pub fn matched_terms(layout: &Layout, postings: &[Postings], place: usize) -> Vec<String> {
    let window: Vec<_> = layout.window(place).filter_map(|at| layout.chunk(at)).collect();
    postings
        .iter()
        .filter(|posting| window.iter().any(|(chunk_id, _)| posting.has(*chunk_id)))
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
            memory_id: Uuid::from_u128(chunk_id as u128),
            parent_id: Uuid::from_u128(*parent),
            length: 10,
        });
        Layout::new(placed.collect())
    }

    fn scores(parents: &[u128], terms: &[&[(i64, u32)]]) -> Vec<f64> {
        let postings: Vec<_> =
            terms.iter().map(|found| Postings::new(String::new(), found.to_vec())).collect();
        let chunks = parents.len() as u64;
        lexical(&[Arc::new(layout(parents))], &postings, chunks, chunks * 10).remove(0)
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
    fn chunks_are_found_whatever_their_numbers() {
        let numbers = [40, 7, 300, 8, 9, 41, 1000];
        let placed = numbers.map(|chunk_id| Placed {
            chunk_id,
            memory_id: Uuid::nil(),
            parent_id: Uuid::from_u128(chunk_id as u128),
            length: 1,
        });
        let layout = Layout::new(placed.to_vec());
        let check = |asked: &[i64], want: &[usize]| {
            let found: Vec<_> = asked.iter().map(|id| (*id, 1)).collect();
            let got: Vec<_> = layout.places_of(&found).map(|(place, _)| place).collect();
            assert_eq!(got, want, "{asked:?}");
        };
        check(&[], &[]);
        check(&[1, 2, 3], &[]);
        check(&[7, 8, 9, 40, 41, 300, 1000], &[1, 3, 4, 0, 5, 2, 6]);
        check(&[0, 7, 10, 39, 41, 999, 1000, 1001], &[1, 5, 6]);
        check(&[2000], &[]);
    }

    #[test]
    fn what_is_added_to_is_as_if_laid_out_anew() {
        let before = layout(&[1, 1, 2, 3, 3]);
        let placed = |chunk_id: i64, parent: u128| Placed {
            chunk_id,
            memory_id: Uuid::from_u128(chunk_id as u128),
            parent_id: Uuid::from_u128(parent),
            length: 10,
        };
        // One comes into the middle of the third parent, and a fourth parent begins.
        let parts = [placed(3, 3), placed(5, 3), placed(4, 3), placed(6, 4)];
        let grown = before.with(parts.to_vec());
        let anew = [&[placed(0, 1), placed(1, 1), placed(2, 2)][..], &parts].concat();
        let anew = Layout::new(anew);
        assert_eq!((grown.chunk_count(), grown.last_chunk_id()), (7, Some(6)));
        let terms = [vec![(4, 1), (6, 2)], vec![(1, 1)], vec![(5, 3)]];
        let postings = terms.map(|found| Postings::new(String::new(), found));
        let scores = |layout| lexical(&[Arc::new(layout)], &postings, 7, 70);
        assert_eq!(scores(grown), scores(anew));
    }

    #[test]
    fn what_lies_in_two_homes_is_scored_alike() {
        let apart = [Arc::new(layout(&[1, 1])), Arc::new(layout(&[]))];
        let postings = [Postings::new(String::new(), [(0, 1)])];
        let both = lexical(&apart, &postings, 2, 20);
        assert_eq!(both, [scores(&[1, 1], &[&[(0, 1)]]), vec![]]);
    }

    #[test]
    fn matched_terms_name_those_of_chunk_and_neighbours() {
        let term = |term: &str, chunk| Postings::new(term.into(), [(chunk, 1)]);
        let postings = [term("tea", 0), term("milk", 2), term("salt", 3)];
        assert_eq!(matched_terms(&layout(&[1, 1, 1, 2]), &postings, 0), ["tea", "milk"]);
    }
}
