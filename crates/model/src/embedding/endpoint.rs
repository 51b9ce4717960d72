//! Embeddings of an OpenAI-compatible endpoint: batched, bounded, checked.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    embedding::{Embedder, EmbeddingSettings, ProjectionMode, Purpose, normalised},
    error::ModelError,
    http::{send, with_key},
    limits::EMBEDDING_RESPONSE_MAX_BYTES,
    retry,
    settings::Provider,
};

/// Most texts of one request.
const BATCH_MAX: usize = 64;
/// Longest text that is sent, in characters; the rest of a longer one is not embedded.
const EMBEDDED_TEXT_MAX_CHARS: usize = 8_000;

pub(super) struct Endpoint {
    client: reqwest::Client,
    provider: Arc<Provider>,
    model: String,
    id: String,
    dimensions: usize,
    projection: ProjectionMode,
    prefixes: (String, String),
}

impl Endpoint {
    pub(super) fn new(
        client: reqwest::Client,
        provider: Arc<Provider>,
        model: &str,
        name: &str,
        settings: &EmbeddingSettings,
    ) -> Self {
        let dimensions = settings.dimensions;
        let projection = match settings.projection {
            ProjectionMode::Server | ProjectionMode::None => "",
            ProjectionMode::Random => "+random1",
        };
        let is_e5 = model.to_ascii_lowercase().contains("e5-");
        let prefix = |own: &Option<String>, usual: &str| {
            own.clone().unwrap_or_else(|| if is_e5 { usual.to_owned() } else { String::new() })
        };
        Self {
            client,
            provider,
            model: model.to_owned(),
            id: format!("{name}@{dimensions}{projection}"),
            dimensions,
            projection: settings.projection,
            prefixes: (
                prefix(&settings.query_prefix, "query: "),
                prefix(&settings.passage_prefix, "passage: "),
            ),
        }
    }

    async fn embed_batch(
        &self,
        texts: &[String],
        purpose: Purpose,
        deadline: Instant,
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let error = match self.attempt(texts, purpose, deadline).await {
                Ok(vectors) => return Ok(vectors),
                Err(error) => error,
            };
            let wait = retry::wait_after(&error, attempt, self.provider.retry, retry::random());
            match wait.filter(|wait| Instant::now() + *wait < deadline) {
                Some(wait) => sleep(wait).await,
                None => return Err(error),
            }
        }
    }

    async fn attempt(
        &self,
        texts: &[String],
        purpose: Purpose,
        deadline: Instant,
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        let prefix = match purpose {
            Purpose::Query => &self.prefixes.0,
            Purpose::Passage => &self.prefixes.1,
        };
        let input: Vec<String> = texts
            .iter()
            .map(|text| prefix.chars().chain(text.chars().take(EMBEDDED_TEXT_MAX_CHARS)).collect())
            .collect();
        let mut body = json!({"model": self.model, "input": input, "encoding_format": "float"});
        if let (ProjectionMode::Server, Some(body)) = (self.projection, body.as_object_mut()) {
            body.insert("dimensions".into(), self.dimensions.into());
        }
        let post = self.client.post(format!("{}/embeddings", self.provider.base_url)).json(&body);
        let bound = ("EMBEDDING_RESPONSE_MAX_BYTES", EMBEDDING_RESPONSE_MAX_BYTES);
        let post = with_key(post, &self.provider);
        let answer = send(post, &self.provider, deadline, bound).await?.whole().await?;
        let answer: EmbeddingsResponse = serde_json::from_slice(&answer)
            .map_err(|_| ModelError::protocol("the answer is not a list of embeddings"))?;
        self.in_order(answer, texts.len())
    }

    /// Every text has exactly one vector, of the right length and with a direction.
    fn in_order(
        &self,
        answer: EmbeddingsResponse,
        count: usize,
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        let mut vectors: Vec<Option<Vec<f32>>> = vec![None; count];
        for (position, item) in answer.data.into_iter().enumerate() {
            let place = vectors
                .get_mut(item.index.unwrap_or(position))
                .filter(|place| place.is_none())
                .ok_or_else(|| ModelError::protocol("an embedding has no text of its own"))?;
            *place = Some(self.project(item.embedding)?);
        }
        vectors
            .into_iter()
            .collect::<Option<_>>()
            .ok_or_else(|| ModelError::protocol("a text has no embedding"))
    }

    fn project(&self, vector: Vec<f32>) -> Result<Vec<f32>, ModelError> {
        let projected = match self.projection {
            _ if vector.len() == self.dimensions => vector,
            ProjectionMode::Random if vector.len() > self.dimensions => {
                random_projection(&vector, self.dimensions)
            }
            ProjectionMode::Server | ProjectionMode::None | ProjectionMode::Random => {
                // Nothing to retry: the setting is wrong.
                return Err(ModelError::BadRequest {
                    status: 200,
                    message: format!(
                        "its vectors have {} dimensions, not {}: set `embedding.dimensions` and \
                         `embedding.projection`",
                        vector.len(),
                        self.dimensions
                    ),
                });
            }
        };
        normalised(projected)
            .ok_or_else(|| ModelError::protocol("an embedding is zero or not finite"))
    }
}

impl Embedder for Endpoint {
    fn id(&self) -> &str {
        &self.id
    }

    fn dimensions(&self) -> usize {
        self.dimensions
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [String],
        purpose: Purpose,
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, ModelError>> {
        async move {
            let deadline = Instant::now() + self.provider.timeouts.total;
            let mut vectors = Vec::with_capacity(texts.len());
            for batch in texts.chunks(BATCH_MAX) {
                vectors.extend(self.embed_batch(batch, purpose, deadline).await?);
            }
            Ok(vectors)
        }
        .boxed()
    }
}

#[derive(Deserialize)]
struct EmbeddingsResponse {
    data: Vec<EmbeddingItem>,
}

#[derive(Deserialize)]
struct EmbeddingItem {
    index: Option<usize>,
    embedding: Vec<f32>,
}

/// Adds every coordinate to every sum with a fixed random sign: angles are kept on the whole
/// ([Achlioptas 2003](https://doi.org/10.1016/S0022-0000(03)00025-4)).
fn random_projection(vector: &[f32], dimensions: usize) -> Vec<f32> {
    let mut sums = vec![0f32; dimensions];
    for (row, x) in vector.iter().enumerate() {
        for (block, sums) in sums.chunks_mut(64).enumerate() {
            let signs = mixed((row as u64) << 16 | block as u64);
            for (bit, sum) in sums.iter_mut().enumerate() {
                *sum += if signs >> bit & 1 == 1 { *x } else { -*x };
            }
        }
    }
    sums
}

/// The finaliser of SplitMix64: a hash that mixes all bits.
const fn mixed(seed: u64) -> u64 {
    let x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_projection_keeps_angles_roughly() {
        let vector = |seed: u64| -> Vec<f32> {
            (0..1024)
                .map(|i| (mixed(seed << 32 | i) as f64 / u64::MAX as f64 - 0.5) as f32)
                .collect()
        };
        let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let (a, b) = (vector(1), vector(2));
        let near: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + 0.3 * b).collect();
        let project = |v: &[f32]| normalised(random_projection(v, 256)).unwrap();
        assert!(cosine(&project(&a), &project(&b)).abs() < 0.25);
        assert!(cosine(&project(&a), &project(&near)) > 0.9);
    }
}
