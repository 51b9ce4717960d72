//! The weights file `e5-small-q4.bin`: its layout, and reading it. It computes nothing.
//!
//! Little-endian: a header of sizes, the pieces of the tokenizer with their scores, its table of
//! normalised characters, a directory of tensors, the tensors. Matrices are kept in blocks of 32
//! numbers, 18 bytes each: a half-precision scale, then 16 bytes with numbers 0…15 of the block in
//! the low and 16…31 in the high halves, each 8 too big.

use std::{collections::HashMap, path::Path};

/// Numbers of a block.
pub(crate) const BLOCK: usize = 32;
/// Bytes of a block.
pub(crate) const BLOCK_BYTES: usize = 18;

const MAGIC: &[u8] = b"E5S1";
/// Most tensors, pieces or layers that a file may claim to have.
const COUNT_MAX: usize = 1 << 20;

/// The weights cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file cannot be read.
    #[error("cannot read the weights")]
    Unreadable(#[from] std::io::Error),
    /// The file is something else, or broken.
    #[error("this is not a weights file of multilingual-e5-small: {0}")]
    Malformed(&'static str),
}

/// What the file says, before it becomes a tokenizer and an encoder.
pub(crate) struct WeightsFile {
    bytes: Vec<u8>,
    pub(crate) sizes: Sizes,
    pub(crate) pieces: Pieces,
    tensors: HashMap<String, (usize, usize)>,
}

/// The shape of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) width: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) inner: usize,
    pub(crate) positions: usize,
}

/// The vocabulary of the tokenizer.
pub(crate) struct Pieces {
    /// All pieces, one after another.
    pub(crate) text: Vec<u8>,
    /// Where each begins, and the end of the last.
    pub(crate) offsets: Vec<u32>,
    pub(crate) scores: Vec<f32>,
    pub(crate) begin: u32,
    pub(crate) end: u32,
    pub(crate) unknown: u32,
    /// What some characters are replaced by.
    pub(crate) normalised: HashMap<char, String>,
}

impl WeightsFile {
    pub(crate) fn read(path: &Path) -> Result<Self, WeightsError> {
        Self::parse(std::fs::read(path)?)
    }

    fn parse(bytes: Vec<u8>) -> Result<Self, WeightsError> {
        let mut rest = Rest(&bytes);
        if rest.take(MAGIC.len())? != MAGIC {
            return Err(WeightsError::Malformed("it begins differently"));
        }
        let _version = rest.u32()?;
        let width = rest.count()?;
        let layers = rest.count()?;
        let heads = rest.count()?;
        let inner = rest.count()?;
        let _vocabulary = rest.count()?;
        let positions = rest.count()?;
        let _token_types = rest.u32()?;
        let _epsilon = rest.f32()?;
        let block = rest.count()?;
        let is_ours = block == BLOCK
            && heads > 0
            && positions > 2
            && [width, inner].iter().all(|size| *size > 0 && size % BLOCK == 0)
            && width % heads == 0;
        if !is_ours {
            return Err(WeightsError::Malformed("the network has another shape"));
        }
        let pieces = Pieces::parse(&mut rest)?;
        let count = rest.count()?;
        let tensors = (0..count).map(|_| directory_entry(&mut rest)).collect::<Result<_, _>>()?;
        let sizes = Sizes { width, layers, heads, inner, positions };
        Ok(Self { sizes, pieces, tensors, bytes })
    }

    /// Numbers that are kept as they are; exactly `count`.
    pub(crate) fn floats(&self, name: &str, count: usize) -> Result<Vec<f32>, WeightsError> {
        let bytes = self.tensor(name, count * size_of::<f32>())?;
        Ok(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    /// The blocks of a matrix with `count` numbers.
    pub(crate) fn blocks(&self, name: &str, count: usize) -> Result<&[u8], WeightsError> {
        self.tensor(name, count / BLOCK * BLOCK_BYTES)
    }

    /// The blocks of a matrix, however many there are.
    pub(crate) fn all_blocks(&self, name: &str) -> Result<&[u8], WeightsError> {
        let (_, length) = self.place(name)?;
        self.tensor(name, length)
    }

    fn tensor(&self, name: &str, length: usize) -> Result<&[u8], WeightsError> {
        let (start, real) = self.place(name)?;
        if real != length {
            return Err(WeightsError::Malformed("a tensor has another size"));
        }
        start.checked_add(length).and_then(|end| self.bytes.get(start..end)).ok_or(CUT_OFF)
    }

    fn place(&self, name: &str) -> Result<(usize, usize), WeightsError> {
        self.tensors.get(name).copied().ok_or(WeightsError::Malformed("a tensor is missing"))
    }
}

fn directory_entry(rest: &mut Rest<'_>) -> Result<(String, (usize, usize)), WeightsError> {
    let length = usize::from(u16::from_le_bytes(rest.array()?));
    let name = String::from_utf8_lossy(rest.take(length)?).into_owned();
    let _kind = rest.take(1)?;
    let _numbers = rest.u32()?;
    Ok((name, (rest.long()?, rest.long()?)))
}

impl Pieces {
    fn parse(rest: &mut Rest<'_>) -> Result<Self, WeightsError> {
        let count = rest.count()?;
        let (begin, end, _padding, unknown) = (rest.u32()?, rest.u32()?, rest.u32()?, rest.u32()?);
        let length = rest.long()?;
        let offsets = (0..=count).map(|_| rest.u32()).collect::<Result<Vec<_>, _>>()?;
        let scores = (0..count).map(|_| rest.f32()).collect::<Result<_, _>>()?;
        let text = rest.take(length)?.to_vec();
        let in_order =
            offsets.is_sorted() && offsets.last().is_some_and(|end| *end as usize == length);
        if !in_order || begin as usize >= count || end as usize >= count {
            return Err(WeightsError::Malformed("the vocabulary is out of order"));
        }
        let count = rest.count()?;
        let _bytes = rest.u32()?;
        let character = |rest: &mut Rest<'_>| {
            char::from_u32(rest.u32()?).ok_or(WeightsError::Malformed("a character is invalid"))
        };
        let mut normalised = HashMap::new();
        for _ in 0..count {
            let from = character(rest)?;
            let [length] = rest.array()?;
            let to = (0..length).map(|_| character(rest)).collect::<Result<_, _>>()?;
            normalised.insert(from, to);
        }
        Ok(Self { text, offsets, scores, begin, end, unknown, normalised })
    }
}

const CUT_OFF: WeightsError = WeightsError::Malformed("it is cut off");

/// What of the file is not yet read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], WeightsError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(CUT_OFF)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WeightsError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(CUT_OFF)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32, WeightsError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn f32(&mut self) -> Result<f32, WeightsError> {
        Ok(f32::from_le_bytes(self.array()?))
    }

    fn count(&mut self) -> Result<usize, WeightsError> {
        let count = self.u32()? as usize;
        if count <= COUNT_MAX {
            Ok(count)
        } else {
            Err(WeightsError::Malformed("a size is out of range"))
        }
    }

    fn long(&mut self) -> Result<usize, WeightsError> {
        usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| CUT_OFF)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_weights_file_is_refused() {
        let refused = |bytes: &[u8]| WeightsFile::parse(bytes.to_vec()).is_err();
        assert!(refused(b""));
        assert!(refused(b"GGUF and more"));
        assert!(refused(b"E5S1"));
        assert!(refused(&[b"E5S1".as_slice(), &[0xff; 200]].concat()));
        assert!(refused(&[b"E5S1".as_slice(), &[0; 200]].concat()));
    }
}
