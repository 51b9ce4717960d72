//! From a text to the pieces that the network knows: SentencePiece's unigram model ([Kudo 2018]).
//!
//! Of all ways to cut a text, the one whose pieces have the greatest sum of scores.
//!
//! [Kudo 2018]: https://arxiv.org/abs/1804.10959

use std::collections::HashMap;

use crate::weights::Pieces;

/// Characters of a text that are looked at; more could not become tokens that the network takes.
const TEXT_MAX_CHARS: usize = 8_192;
/// Stands for a space.
const SPACE: char = '\u{2581}';
/// How much worse than the worst piece a character is that no piece has.
const UNKNOWN_PENALTY: f32 = 10.0;

/// Cuts texts into tokens.
pub struct PieceTokenizer {
    pieces: Pieces,
    /// Each piece's number plus one at the place that its hash names, or the next free one.
    table: Vec<u32>,
    longest: usize,
    unknown_score: f32,
}

/// The best way to a place in the text.
#[derive(Clone, Copy)]
struct Way {
    score: f32,
    token: u32,
    from: usize,
}

impl PieceTokenizer {
    pub(crate) fn new(pieces: Pieces) -> Self {
        let places = (pieces.scores.len() * 2).next_power_of_two();
        let mut table = vec![0; places];
        let mut longest = 0;
        for (number, piece) in (1..).zip(all(&pieces)) {
            longest = longest.max(piece.len());
            let mut place = hash(HASH_START, piece) as usize & (places - 1);
            while table.get(place).is_some_and(|taken| *taken != 0) {
                place = (place + 1) & (places - 1);
            }
            if let (Some(slot), false) = (table.get_mut(place), piece.is_empty()) {
                *slot = number;
            }
        }
        let worst = pieces.scores.iter().copied().fold(0.0, f32::min);
        Self { pieces, table, longest, unknown_score: worst - UNKNOWN_PENALTY }
    }

    /// The tokens of a text between those that say where it begins and ends; at most `limit`,
    /// those two included.
    pub fn tokens(&self, text: &str, limit: usize) -> Vec<u32> {
        let mut tokens = vec![self.pieces.begin];
        tokens.extend(self.content(text).into_iter().take(limit.saturating_sub(2)));
        tokens.push(self.pieces.end);
        tokens
    }

    fn content(&self, text: &str) -> Vec<u32> {
        let text = normalised(text, &self.pieces.normalised);
        let ends: Vec<usize> = text.char_indices().map(|(at, c)| at + c.len_utf8()).collect();
        let unreached = Way { score: f32::NEG_INFINITY, token: self.pieces.unknown, from: 0 };
        // `ways` counts characters: the way at n is to the place behind the nth.
        let mut ways = vec![unreached; ends.len() + 1];
        if let Some(start) = ways.first_mut() {
            start.score = 0.0;
        }
        for (from, (start, c)) in text.char_indices().enumerate() {
            let Some(so_far) = ways.get(from).map(|way| way.score) else { break };
            let mut offer = |to: usize, token: u32, score: f32| {
                if let Some(way) = ways.get_mut(to).filter(|way| score > way.score) {
                    *way = Way { score, token, from };
                }
            };
            let (mut known, mut hashed) = (start, HASH_START);
            for (to, &end) in (from + 1..).zip(ends.iter().skip(from)) {
                let (Some(piece), Some(more)) = (
                    text.as_bytes().get(start..end).filter(|piece| piece.len() <= self.longest),
                    text.as_bytes().get(known..end),
                ) else {
                    break;
                };
                hashed = hash(hashed, more);
                known = end;
                if let Some((token, score)) = self.find(hashed, piece) {
                    offer(to, token, so_far + score);
                }
            }
            debug_assert!(known > start || c.len_utf8() > self.longest);
            offer(from + 1, self.pieces.unknown, so_far + self.unknown_score);
        }
        let mut tokens = Vec::new();
        let mut at = ends.len();
        while let Some(way) = ways.get(at).filter(|_| at > 0) {
            tokens.push(way.token);
            at = way.from;
        }
        tokens.reverse();
        tokens
    }

    /// The piece with these bytes and this hash.
    fn find(&self, hashed: u64, bytes: &[u8]) -> Option<(u32, f32)> {
        let mask = self.table.len() - 1;
        let mut place = hashed as usize & mask;
        loop {
            let number = self.table.get(place)?.checked_sub(1)?;
            if piece(&self.pieces, number as usize) == Some(bytes) {
                let score = self.pieces.scores.get(number as usize)?;
                return (number != self.pieces.unknown).then_some((number, *score));
            }
            place = (place + 1) & mask;
        }
    }
}

/// Characters in the form that the vocabulary has, one space where there were more, and a space
/// before the first word.
fn normalised(text: &str, replaced: &HashMap<char, String>) -> String {
    let mut normal = String::with_capacity(text.len() + SPACE.len_utf8());
    let mut add = |c: char| match c {
        ' ' if normal.ends_with(SPACE) => {}
        ' ' => normal.push(SPACE),
        c => {
            if normal.is_empty() {
                normal.push(SPACE);
            }
            normal.push(c);
        }
    };
    for c in text.chars().take(TEXT_MAX_CHARS) {
        match replaced.get(&c) {
            Some(other) => other.chars().for_each(&mut add),
            None => add(c),
        }
    }
    if normal.is_empty() {
        normal.push(SPACE);
    }
    normal
}

fn all(pieces: &Pieces) -> impl Iterator<Item = &[u8]> {
    (0..pieces.scores.len()).map(|number| piece(pieces, number).unwrap_or_default())
}

fn piece(pieces: &Pieces, number: usize) -> Option<&[u8]> {
    let (start, end) = (pieces.offsets.get(number)?, pieces.offsets.get(number + 1)?);
    pieces.text.get(*start as usize..*end as usize)
}

const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, which goes on where it stopped.
fn hash(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
