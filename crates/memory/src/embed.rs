//! Asking the embedder, within a time: memory goes on by words when it does not answer.

use std::{sync::Arc, time::Duration};

use model::embedding::{EMBEDDING_DEFAULT, Embedder, Purpose};
use tracing::warn;

use crate::fuse::Weights;

/// How long a search waits for the vector of its question. Source: judgement, see docs/memory.md.
const QUESTION_TIMEOUT: Duration = Duration::from_millis(400);
/// How long a write waits for the vectors of its chunks.
const PASSAGES_TIMEOUT: Duration = Duration::from_secs(10);

/// An embedder with the time it is given, or none at all.
#[derive(Clone)]
pub(crate) struct Embedding {
    embedder: Option<Arc<dyn Embedder>>,
}

impl Embedding {
    pub(crate) fn new(embedder: Option<Arc<dyn Embedder>>) -> Self {
        Self { embedder }
    }

    /// What vectors are kept under; vectors of another id are not compared.
    pub(crate) fn id(&self) -> Option<&str> {
        self.embedder.as_ref().map(|embedder| embedder.id())
    }

    /// How much the vectors count.
    pub(crate) fn weights(&self) -> Weights {
        match self.id() {
            None => Weights::WORDS_ONLY,
            Some(id) if id.starts_with(EMBEDDING_DEFAULT) => Weights::HASHED,
            Some(_) => Weights::SEMANTIC,
        }
    }

    /// The vector of a question.
    pub(crate) async fn question(&self, text: &str) -> Option<Vec<f32>> {
        let texts = [text.replace('\0', " ")];
        self.embed(&texts, Purpose::Query, QUESTION_TIMEOUT).await.into_iter().next().flatten()
    }

    /// The vectors of passages, in order; none of them where the embedder does not answer.
    pub(crate) async fn passages(&self, texts: &[String]) -> Vec<Option<Vec<f32>>> {
        self.embed(texts, Purpose::Passage, PASSAGES_TIMEOUT).await
    }

    async fn embed(
        &self,
        texts: &[String],
        purpose: Purpose,
        timeout: Duration,
    ) -> Vec<Option<Vec<f32>>> {
        let nothing = || vec![None; texts.len()];
        let Some(embedder) = &self.embedder else { return nothing() };
        match tokio::time::timeout(timeout, embedder.embed(texts, purpose)).await {
            Ok(Ok(vectors)) if vectors.len() == texts.len() => {
                let usable = |vector: &Vec<f32>| is_usable(vector, embedder.dimensions());
                vectors.into_iter().map(|vector| Some(vector).filter(usable)).collect()
            }
            Ok(Ok(_)) => {
                warn!("the embedder answered another number of vectors; going on by words");
                nothing()
            }
            Ok(Err(error)) => {
                warn!(%error, "the embedder failed; going on by words");
                nothing()
            }
            Err(_) => {
                warn!(?timeout, "the embedder took too long; going on by words");
                nothing()
            }
        }
    }
}

/// Zero has no direction: its cosine is NaN, which would spoil the order of all others.
fn is_usable(vector: &[f32], dimensions: usize) -> bool {
    let length: f64 = vector.iter().map(|x| f64::from(*x).powi(2)).sum();
    vector.len() == dimensions && length.is_finite() && length > 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_without_a_direction_are_refused() {
        assert!(is_usable(&[0.0, 0.1], 2));
        assert!(!is_usable(&[0.0, 0.0], 2));
        assert!(!is_usable(&[f32::NAN, 0.1], 2));
        assert!(!is_usable(&[f32::INFINITY, 0.1], 2));
        assert!(!is_usable(&[0.1], 2));
    }
}
