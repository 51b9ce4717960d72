//! Scoring by words: BM25 of a chunk, of its neighbourhood and of its parent.
//!
//! Pure: rows in, scores out. `LEX(i) = BM25(own) + 0.8·BM25(±2 neighbours) + 0.4·BM25(parent)`,
//! all three with the inverse document frequency of single chunks. The formula of BM25 is that of
//! Robertson and Zaragoza (2009). Every constant here was measured, see docs/memory.md.

use std::{collections::HashSet, ops::Range, sync::Arc};

use store::memories::search::{ChunkPlace, Posting, PostingList};
use uuid::Uuid;

/// Saturation of term frequency. Source: measured, see docs/memory.md.
const K1: f64 = 0.9;
/// How much length counts. Source: measured, see docs/memory.md.
const B: f64 = 0.4;
/// How many neighbours on either side make up the window around a chunk. Source: measured, see
/// docs/memory.md.
const WINDOW_RADIUS: usize = 2;
/// Weight of the window. Source: measured, see docs/memory.md.
const WINDOW_WEIGHT: f64 = 0.8;
/// Weight of the parent. Source: measured, see docs/memory.md.
const PARENT_WEIGHT: f64 = 0.4;

/// The chunks of a home, parents together, each parent's in its order.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    slots: Vec<Slot>,
    /// The slot of each chunk, by ascending chunk id.
    slot_by_id: Vec<(i64, usize)>,
    parents: Vec<Parent>,
    /// How many terms stand before each slot, and last how many there are.
    terms_before: Vec<u64>,
    /// Sum of the lengths of all windows.
    window_term_count: f64,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    chunk_id: i64,
    memory_id: Uuid,
    /// The parent of the chunk, as an index into `parents`.
    parent: usize,
}

/// A parent, and the slots of its chunks.
#[derive(Debug, Clone)]
struct Parent {
    parent_id: Uuid,
    slots: Range<usize>,
}

impl Layout {
    /// The chunks must come parent by parent, in the order within the parent.
    pub fn new(chunks: Vec<ChunkPlace>) -> Self {
        let mut layout = Self::default();
        let mut terms = 0;
        for (at, chunk) in chunks.iter().enumerate() {
            let ChunkPlace { chunk_id, memory_id, parent_id, length } = *chunk;
            match layout.parents.last_mut() {
                Some(last) if last.parent_id == parent_id => last.slots.end = at + 1,
                _ => layout.parents.push(Parent { parent_id, slots: at..at + 1 }),
            }
            layout.slots.push(Slot { chunk_id, memory_id, parent: layout.parents.len() - 1 });
            layout.slot_by_id.push((chunk_id, at));
            layout.terms_before.push(terms);
            terms += u64::from(length);
        }
        layout.terms_before.push(terms);
        layout.slot_by_id.sort_unstable();
        let windows = (0..layout.slots.len()).map(|at| layout.terms_in(&layout.window(at)));
        layout.window_term_count = windows.sum();
        layout
    }

    /// The same layout with some parents as they are now, each of them whole.
    pub fn with(&self, chunks: Vec<ChunkPlace>) -> Self {
        let renewed: HashSet<Uuid> = chunks.iter().map(|chunk| chunk.parent_id).collect();
        let kept = self.parents.iter().filter(|parent| !renewed.contains(&parent.parent_id));
        let kept = kept.flat_map(|parent| {
            let slots = self.slots.get(parent.slots.clone()).unwrap_or_default();
            parent.slots.clone().zip(slots).map(|(at, slot)| ChunkPlace {
                chunk_id: slot.chunk_id,
                memory_id: slot.memory_id,
                parent_id: parent.parent_id,
                length: self.length(at),
            })
        });
        Self::new(kept.chain(chunks).collect())
    }

    pub fn chunk_count(&self) -> usize {
        self.slots.len()
    }

    pub fn last_chunk_id(&self) -> Option<i64> {
        self.slot_by_id.last().map(|(chunk_id, _)| *chunk_id)
    }

    /// How much memory it takes.
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>()
            + self.slots.capacity() * size_of::<Slot>()
            + self.slot_by_id.capacity() * size_of::<(i64, usize)>()
            + self.parents.capacity() * size_of::<Parent>()
            + self.terms_before.capacity() * size_of::<u64>()
    }

    /// The ids of the chunk in a slot and of its memory.
    pub fn chunk(&self, slot: usize) -> Option<(i64, Uuid)> {
        self.slots.get(slot).map(|slot| (slot.chunk_id, slot.memory_id))
    }

    pub fn slot_of(&self, chunk_id: i64) -> Option<usize> {
        let at = self.slot_by_id.binary_search_by_key(&chunk_id, |(id, _)| *id).ok()?;
        self.slot_by_id.get(at).map(|(_, slot)| *slot)
    }

    /// The slots of those chunks that are here, with the frequencies. Both lists are in order, so
    /// that each chunk is looked for from where the one before was: in doubling steps, then by
    /// halves.
    fn slots_of<'a>(&'a self, found: &'a [Posting]) -> impl Iterator<Item = (usize, u32)> + 'a {
        let mut rest = self.slot_by_id.as_slice();
        found.iter().filter_map(move |&Posting { chunk_id, frequency }| {
            let mut step = 1;
            while rest.get(step).is_some_and(|(id, _)| *id < chunk_id) {
                step *= 2;
            }
            let near = rest.get(..=step).unwrap_or(rest);
            rest = rest.get(near.partition_point(|(id, _)| *id < chunk_id)..)?;
            rest.first().filter(|(id, _)| *id == chunk_id).map(|(_, slot)| (*slot, frequency))
        })
    }

    fn parent(&self, slot: usize) -> Range<usize> {
        self.slots
            .get(slot)
            .and_then(|slot| self.parents.get(slot.parent))
            .map_or(slot..slot, |parent| parent.slots.clone())
    }

    /// The slots of the chunk and its neighbours in the same parent.
    fn window(&self, slot: usize) -> Range<usize> {
        let parent = self.parent(slot);
        let first = slot.saturating_sub(WINDOW_RADIUS);
        parent.start.max(first)..parent.end.min(slot + WINDOW_RADIUS + 1)
    }

    /// The chunks directly before and after it in the same parent.
    pub fn adjacent(&self, slot: usize) -> impl Iterator<Item = i64> {
        let parent = self.parent(slot);
        [slot.checked_sub(1), slot.checked_add(1)]
            .into_iter()
            .flatten()
            .filter(move |at| parent.contains(at))
            .filter_map(|at| self.chunk(at).map(|(chunk_id, _)| chunk_id))
    }

    fn terms_in(&self, slots: &Range<usize>) -> f64 {
        let before = |at: usize| self.terms_before.get(at).copied().unwrap_or(0);
        (before(slots.end) - before(slots.start)) as f64
    }

    fn length(&self, slot: usize) -> u32 {
        self.terms_in(&(slot..slot + 1)) as u32
    }

    /// LEX of every slot: zero where neither the chunk nor a neighbour has a term.
    fn scores(&self, lists: &[PostingList], chunks: u64, average: &AverageLengths) -> Vec<f64> {
        let mut scores = vec![0.0; self.slots.len()];
        let mut parent_scores = vec![0.0; self.parents.len()];
        let mut in_window = Accumulators::new(self.slots.len());
        let mut in_parent = Accumulators::new(self.parents.len());
        for PostingList { postings, .. } in lists {
            let idf = inverse_document_frequency(chunks as f64, postings.len() as f64);
            for (slot, frequency) in self.slots_of(postings) {
                let length = self.terms_in(&(slot..slot + 1));
                add(&mut scores, slot, idf * saturated(frequency, length, average.chunk));
                self.window(slot).for_each(|neighbour| in_window.add(neighbour, frequency));
                let parent = self.slots.get(slot).map(|slot| slot.parent);
                parent.into_iter().for_each(|parent| in_parent.add(parent, frequency));
            }
            in_window.drain(|slot, frequency| {
                let length = self.terms_in(&self.window(slot));
                let value = saturated(frequency, length, average.window);
                add(&mut scores, slot, WINDOW_WEIGHT * idf * value);
            });
            in_parent.drain(|parent, frequency| {
                let length = self.parents.get(parent).map_or(0.0, |it| self.terms_in(&it.slots));
                add(&mut parent_scores, parent, idf * saturated(frequency, length, average.parent));
            });
        }
        for (score, slot) in scores.iter_mut().zip(&self.slots) {
            if *score > 0.0 {
                *score += PARENT_WEIGHT * parent_scores.get(slot.parent).copied().unwrap_or(0.0);
            }
        }
        scores
    }
}

/// Average lengths of a chunk, a window and a parent, in terms.
struct AverageLengths {
    chunk: f64,
    window: f64,
    parent: f64,
}

impl AverageLengths {
    fn of(layouts: &[Arc<Layout>], chunks: u64, terms: u64) -> Self {
        let mean = |sum: f64, n: usize| (sum / n.max(1) as f64).max(1.0);
        let chunks_here: usize = layouts.iter().map(|each| each.slots.len()).sum();
        let parents: usize = layouts.iter().map(|each| each.parents.len()).sum();
        let window_terms = layouts.iter().map(|each| each.window_term_count).sum();
        let terms_here = layouts.iter().map(|each| each.terms_in(&(0..each.slots.len()))).sum();
        Self {
            chunk: mean(terms as f64, usize::try_from(chunks).unwrap_or(usize::MAX)),
            window: mean(window_terms, chunks_here),
            parent: mean(terms_here, parents),
        }
    }
}

/// LEX of every slot of each layout: zero where neither the chunk nor a neighbour has a term.
///
/// `chunks` and `terms` count all that is searched, of which the layouts may be a part.
pub fn lexical(
    layouts: &[Arc<Layout>],
    lists: &[PostingList],
    chunks: u64,
    terms: u64,
) -> Vec<Vec<f64>> {
    let average = AverageLengths::of(layouts, chunks, terms);
    layouts.iter().map(|layout| layout.scores(lists, chunks, &average)).collect()
}

/// The terms that the chunk in `slot` or a neighbour of it has.
pub fn matched_terms(layout: &Layout, lists: &[PostingList], slot: usize) -> Vec<String> {
    let window: Vec<_> = layout.window(slot).filter_map(|at| layout.chunk(at)).collect();
    lists
        .iter()
        .filter(|list| window.iter().any(|(chunk_id, _)| has(list, *chunk_id)))
        .map(|list| list.term.clone())
        .collect()
}

fn has(list: &PostingList, chunk_id: i64) -> bool {
    list.postings.binary_search_by_key(&chunk_id, |posting| posting.chunk_id).is_ok()
}

/// How much a term says: ln(1 + (N - df + ½) / (df + ½)).
pub fn inverse_document_frequency(chunks: f64, having: f64) -> f64 {
    (1.0 + (chunks - having + 0.5).max(0.0) / (having + 0.5)).ln()
}

/// BM25's share of a term's frequency: it grows ever slower, and sooner in a short text.
fn saturated(frequency: u32, length: f64, average_length: f64) -> f64 {
    let frequency = f64::from(frequency);
    frequency * (K1 + 1.0) / (frequency + K1 * (1.0 - B + B * length / average_length))
}

fn add(values: &mut [f64], at: usize, more: f64) {
    if let Some(value) = values.get_mut(at) {
        *value += more;
    }
}

/// Sums of frequencies by index, emptied in the time that filling them took.
struct Accumulators {
    sums: Vec<u32>,
    touched: Vec<usize>,
}

impl Accumulators {
    fn new(len: usize) -> Self {
        Self { sums: vec![0; len], touched: Vec::new() }
    }

    fn add(&mut self, at: usize, frequency: u32) {
        if let Some(sum) = self.sums.get_mut(at) {
            if *sum == 0 {
                self.touched.push(at);
            }
            *sum = sum.saturating_add(frequency);
        }
    }

    fn drain(&mut self, mut each: impl FnMut(usize, u32)) {
        for at in self.touched.drain(..) {
            if let Some(sum) = self.sums.get_mut(at) {
                each(at, std::mem::take(sum));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chunks 0, 1, 2, … of ten terms each; `parents` says whose they are.
    fn layout(parents: &[u128]) -> Layout {
        let chunks = (0..).zip(parents).map(|(chunk_id, parent)| ChunkPlace {
            chunk_id,
            memory_id: Uuid::from_u128(chunk_id as u128),
            parent_id: Uuid::from_u128(*parent),
            length: 10,
        });
        Layout::new(chunks.collect())
    }

    fn list(term: &str, found: &[(i64, u32)]) -> PostingList {
        let posting = |&(chunk_id, frequency): &_| Posting { chunk_id, frequency };
        PostingList { term: term.into(), postings: found.iter().map(posting).collect() }
    }

    fn scores(parents: &[u128], terms: &[&[(i64, u32)]]) -> Vec<f64> {
        let lists: Vec<_> = terms.iter().map(|found| list("", found)).collect();
        let chunks = parents.len() as u64;
        lexical(&[Arc::new(layout(parents))], &lists, chunks, chunks * 10).remove(0)
    }

    #[test]
    fn a_lone_chunk_scores_by_hand() {
        // One of four chunks has the term once: idf = ln(1 + 3.5/1.5), saturation 1 of 1.9.
        let idf = (1.0_f64 + 3.5 / 1.5).ln();
        let got = scores(&[1, 2, 3, 4], &[&[(2, 1)]]);
        assert!((got[2] - idf * (1.0 + WINDOW_WEIGHT + PARENT_WEIGHT)).abs() < 1e-9, "{got:?}");
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
    fn chunks_are_found_whatever_their_ids() {
        let chunks = [40, 7, 300, 8, 9, 41, 1000].map(|chunk_id| ChunkPlace {
            chunk_id,
            memory_id: Uuid::nil(),
            parent_id: Uuid::from_u128(chunk_id as u128),
            length: 1,
        });
        let layout = Layout::new(chunks.to_vec());
        let check = |asked: &[i64], want: &[usize]| {
            let found: Vec<_> = asked.iter().map(|id| (*id, 1)).collect();
            let found = list("", &found).postings;
            let got: Vec<_> = layout.slots_of(&found).map(|(slot, _)| slot).collect();
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
        let place = |chunk_id: i64, parent: u128| ChunkPlace {
            chunk_id,
            memory_id: Uuid::from_u128(chunk_id as u128),
            parent_id: Uuid::from_u128(parent),
            length: 10,
        };
        // One comes into the middle of the third parent, and a fourth parent begins.
        let parts = [place(3, 3), place(5, 3), place(4, 3), place(6, 4)];
        let grown = before.with(parts.to_vec());
        let anew = [&[place(0, 1), place(1, 1), place(2, 2)][..], &parts].concat();
        let anew = Layout::new(anew);
        assert_eq!((grown.chunk_count(), grown.last_chunk_id()), (7, Some(6)));
        let lists = [list("", &[(4, 1), (6, 2)]), list("", &[(1, 1)]), list("", &[(5, 3)])];
        let scores = |layout| lexical(&[Arc::new(layout)], &lists, 7, 70);
        assert_eq!(scores(grown), scores(anew));
    }

    #[test]
    fn what_lies_in_two_homes_is_scored_alike() {
        let apart = [Arc::new(layout(&[1, 1])), Arc::new(layout(&[]))];
        let both = lexical(&apart, &[list("", &[(0, 1)])], 2, 20);
        assert_eq!(both, [scores(&[1, 1], &[&[(0, 1)]]), vec![]]);
    }

    #[test]
    fn matched_terms_name_those_of_chunk_and_neighbours() {
        let lists = [list("tea", &[(0, 1)]), list("milk", &[(2, 1)]), list("salt", &[(3, 1)])];
        assert_eq!(matched_terms(&layout(&[1, 1, 1, 2]), &lists, 0), ["tea", "milk"]);
    }
}
