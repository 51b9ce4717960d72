//! Vectors by feature hashing: words, parts of words, and CJK character pairs, without any model.
//!
//! Good for typos and near duplicates; it knows nothing of meaning. The hash is part of the id: a
//! change of it needs a new [`VERSION`].

use std::{collections::BTreeMap, future};

use futures::future::{BoxFuture, FutureExt};
use unicode_normalization::UnicodeNormalization;

use crate::{
    embedding::{Embedder, HASHED, Purpose, normalised},
    error::ModelError,
};

/// Of the features and their hash.
const VERSION: u32 = 1;
const WORD_WEIGHT: f32 = 1.0;
const CJK_PAIR_WEIGHT: f32 = 1.0;
const CJK_CHAR_WEIGHT: f32 = 0.5;
const WORD_PART_WEIGHT: f32 = 0.4;
const WORD_PART_CHARS: usize = 3;

#[derive(Debug, Clone)]
pub struct Hashed {
    id: String,
    dimensions: usize,
}

impl Hashed {
    /// With vectors of `dimensions`, at least 1.
    pub fn new(dimensions: usize) -> Self {
        let dimensions = dimensions.max(1);
        Self { id: format!("{HASHED}{VERSION}@{dimensions}"), dimensions }
    }

    /// The vector of a text, of length 1 even when the text is empty.
    pub fn vector(&self, text: &str) -> Vec<f32> {
        let mut counts: BTreeMap<(u64, u32), f32> = BTreeMap::new();
        features(text, |feature, weight| {
            *counts.entry((hash(feature), weight.to_bits())).or_default() += 1.0;
        });
        let mut vector = vec![0f32; self.dimensions];
        for ((hash, weight), count) in counts {
            let bucket = (hash % self.dimensions as u64) as usize;
            let sign = if hash >> 63 == 0 { 1.0 } else { -1.0 };
            if let Some(sum) = vector.get_mut(bucket) {
                *sum += sign * f32::from_bits(weight) * (1.0 + count.ln());
            }
        }
        normalised(vector).unwrap_or_else(|| {
            // Only punctuation, or features that cancel out: a direction made from the whole text.
            let place = (hash(text.trim()) % self.dimensions as u64) as usize;
            (0..self.dimensions).map(|i| if i == place { 1.0 } else { 0.0 }).collect()
        })
    }
}

impl Embedder for Hashed {
    fn id(&self) -> &str {
        &self.id
    }

    fn dimensions(&self) -> usize {
        self.dimensions
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [String],
        _purpose: Purpose,
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, ModelError>> {
        future::ready(Ok(texts.iter().map(|text| self.vector(text)).collect())).boxed()
    }
}

fn features(text: &str, mut add: impl FnMut(&str, f32)) {
    let text: String = text.nfkc().flat_map(char::to_lowercase).collect();
    for run in text.split(|c: char| !c.is_alphanumeric()) {
        let mut rest = run;
        while let Some(first) = rest.chars().next() {
            let in_cjk = is_cjk(first);
            let end = rest.find(|c| is_cjk(c) != in_cjk).unwrap_or(rest.len());
            let Some((part, tail)) = rest.split_at_checked(end) else { break };
            match in_cjk {
                true => {
                    windows(part, 1).for_each(|char| add(char, CJK_CHAR_WEIGHT));
                    windows(part, 2).for_each(|pair| add(pair, CJK_PAIR_WEIGHT));
                }
                false => {
                    add(part, WORD_WEIGHT);
                    let bounded = format!("^{part}$");
                    windows(&bounded, WORD_PART_CHARS).for_each(|p| add(p, WORD_PART_WEIGHT));
                }
            }
            rest = tail;
        }
    }
}

/// Every `size` neighbouring characters.
fn windows(text: &str, size: usize) -> impl Iterator<Item = &str> {
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8()).skip(size - 1);
    text.char_indices().zip(ends).filter_map(|((start, _), end)| text.get(start..end))
}

const fn is_cjk(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// FNV-1a, then mixed so that all bits are of use.
fn hash(text: &str) -> u64 {
    let fnv = text.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (fnv ^ fnv >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosine(a: &str, b: &str) -> f32 {
        let hashed = Hashed::new(256);
        hashed.vector(a).iter().zip(hashed.vector(b)).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn what_is_written_alike_is_near() {
        let near = |a, b| assert!(cosine(a, b) > 0.5, "{a} | {b}: {}", cosine(a, b));
        let far = |a, b| assert!(cosine(a, b) < 0.25, "{a} | {b}: {}", cosine(a, b));
        near("the favourite colour is teal", "favorite colour: teal");
        near("我最喜欢的饮料是绿茶", "我喜欢的饮料是绿茶吗");
        near("ＡＢＣ Ｔｅｓｔ", "abc test");
        far("the favourite colour is teal", "quarterly revenue grew by ten percent");
        far("我最喜欢的饮料是绿茶", "明天上海有雨");
    }

    #[test]
    fn every_text_has_a_direction_and_always_the_same() {
        let hashed = Hashed::new(256);
        assert_eq!(hashed.id(), "local/hashed1@256");
        for text in ["", " ", "!!!", "🙂", "a", "中", "word 中文 混合"] {
            let vector = hashed.vector(text);
            let length: f32 = vector.iter().map(|x| x * x).sum();
            assert!((length - 1.0).abs() < 1e-5, "{text:?}");
            assert_eq!(vector.len(), 256);
        }
        assert_eq!(hashed.vector("word 中文 混合"), hashed.vector("word 中文 混合"));
    }
}
