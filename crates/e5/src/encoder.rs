//! The network: from tokens to one vector that says what they mean together.

use std::path::Path;

use crate::{
    kernel::{Linear, Quantised, add_and_normalise, attention, dequantised, gelu},
    tokenizer::PieceTokenizer,
    weights::{BLOCK, BLOCK_BYTES, Sizes, WeightsError, WeightsFile},
};

/// The network and its tokenizer, ready to use; about 85 MB.
pub struct Encoder {
    tokenizer: PieceTokenizer,
    sizes: Sizes,
    /// The words' vectors in blocks, as in the file; one text needs few of them.
    words: Vec<u8>,
    /// A vector for each place in the text, the same for all texts.
    positions: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attended: Linear,
    attended_norm: Norm,
    widen: Linear,
    narrow: Linear,
    norm: Norm,
}

struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Encoder {
    /// Reads a weights file. Takes a tenth of a second, so not on a thread that must not wait.
    pub fn load(path: &Path) -> Result<Self, WeightsError> {
        let file = WeightsFile::read(path)?;
        let sizes = file.sizes;
        let Sizes { width, inner, positions, .. } = sizes;
        let norm = |name: &str| -> Result<Norm, WeightsError> {
            let weight = file.floats(&format!("{name}.w"), width)?;
            Ok(Norm { weight, bias: file.floats(&format!("{name}.b"), width)? })
        };
        let linear = |name: &str, inputs: usize, outputs: usize| -> Result<_, WeightsError> {
            let blocks = file.blocks(&format!("{name}.w"), inputs * outputs)?;
            Ok(Linear::new(blocks, inputs, file.floats(&format!("{name}.b"), outputs)?))
        };
        let layers = (0..sizes.layers).map(|layer| {
            let name = |part: &str| format!("l{layer}.{part}");
            Ok(Layer {
                query: linear(&name("q"), width, width)?,
                key: linear(&name("k"), width, width)?,
                value: linear(&name("v"), width, width)?,
                attended: linear(&name("ao"), width, width)?,
                attended_norm: norm(&name("aln"))?,
                widen: linear(&name("fi"), width, inner)?,
                narrow: linear(&name("fo"), inner, width)?,
                norm: norm(&name("oln"))?,
            })
        });
        let layers = layers.collect::<Result<_, WeightsError>>()?;
        // Every text is of token type 0.
        let token_types = file.floats("emb.type", 2 * width)?;
        let mut place_vectors = file.floats("emb.pos", positions * width)?;
        for place in place_vectors.chunks_exact_mut(width) {
            place.iter_mut().zip(&token_types).for_each(|(x, more)| *x += more);
        }
        Ok(Self {
            sizes,
            words: file.all_blocks("emb.word")?.to_vec(),
            positions: place_vectors,
            norm: norm("emb.ln")?,
            layers,
            tokenizer: PieceTokenizer::new(file.pieces),
        })
    }

    /// The length of every vector.
    pub fn width(&self) -> usize {
        self.sizes.width
    }

    /// Most tokens of a text, those for its beginning and end included.
    pub fn tokens_max(&self) -> usize {
        self.sizes.positions
    }

    pub fn tokenizer(&self) -> &PieceTokenizer {
        &self.tokenizer
    }

    /// The vector of a text, of length 1. Of a longer text than `tokens_max` only the beginning
    /// counts; the time it takes grows with the tokens.
    pub fn embed(&self, text: &str, tokens_max: usize) -> Vec<f32> {
        let limit = tokens_max.min(self.tokens_max());
        let mut mean = mean(&self.encode(&self.tokenizer.tokens(text, limit)), self.sizes.width);
        normalise(&mut mean);
        mean
    }

    /// A vector for each token.
    fn encode(&self, tokens: &[u32]) -> Vec<f32> {
        let Sizes { width, heads, .. } = self.sizes;
        let mut states = self.words_of(tokens);
        let places = &self.positions;
        add_and_normalise(&mut states, places, &self.norm.weight, &self.norm.bias);
        for layer in &self.layers {
            let input = Quantised::new(&states, width);
            let [query, key, value] =
                [&layer.query, &layer.key, &layer.value].map(|linear| linear.apply(&input));
            let attended = attention(&query, &key, &value, width, heads);
            let attended = layer.attended.apply(&Quantised::new(&attended, width));
            let Norm { weight, bias } = &layer.attended_norm;
            add_and_normalise(&mut states, &attended, weight, bias);
            let mut inner = layer.widen.apply(&Quantised::new(&states, width));
            gelu(&mut inner);
            let inner = layer.narrow.apply(&Quantised::new(&inner, self.sizes.inner));
            add_and_normalise(&mut states, &inner, &layer.norm.weight, &layer.norm.bias);
        }
        states
    }

    fn words_of(&self, tokens: &[u32]) -> Vec<f32> {
        let width = self.sizes.width;
        let row_bytes = width / BLOCK * BLOCK_BYTES;
        let mut states = vec![0.0; tokens.len() * width];
        for (state, token) in states.chunks_exact_mut(width).zip(tokens) {
            let start = *token as usize * row_bytes;
            dequantised(self.words.get(start..start + row_bytes).unwrap_or_default(), state);
        }
        states
    }
}

fn mean(rows: &[f32], width: usize) -> Vec<f32> {
    let mut mean = vec![0.0; width];
    for row in rows.chunks_exact(width) {
        mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
    mean // Its length is made 1 anyway.
}

/// Makes the length 1; a vector without a direction stays as it is.
pub(crate) fn normalise(vector: &mut [f32]) {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x /= length);
    }
}
