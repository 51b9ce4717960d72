//! Calls the embedder within a time limit. Where it does not answer, memory works with words alone.

use std::{sync::Arc, time::Duration};

use model::embedding::{Embedder, HASHED, Purpose};
use tracing::warn;

use crate::fuse::Weights;

/// How long a write waits for the vectors of its chunks; missing ones are made later.
const PASSAGES_TIMEOUT: Duration = Duration::from_secs(10);
/// Passages in one call of the embedder: the vectors of the calls before the timeout are kept.
const PASSAGES_BATCH: usize = 32;

/// An embedder with time limits, or none at all.
#[derive(Clone)]
pub(crate) struct TimedEmbedder {
    embedder: Option<Arc<dyn Embedder>>,
}

/// The vector of a question, or why there is none.
pub(crate) enum QueryVector {
    Vector(Vec<f32>),
    NoEmbedder,
    /// The embedder took too long.
    Late,
    /// The embedder failed, or its vector is of no use.
    Failed,
}

impl TimedEmbedder {
    pub(crate) fn new(embedder: Option<Arc<dyn Embedder>>) -> Self {
        Self { embedder }
    }

    /// The id that vectors are stored under; vectors of different ids are never compared.
    pub(crate) fn id(&self) -> Option<&str> {
        self.embedder.as_ref().map(|embedder| embedder.id())
    }

    /// How much words and vectors count in a search.
    pub(crate) fn weights(&self) -> Weights {
        match self.id() {
            None => Weights::WORDS_ONLY,
            Some(id) if id.starts_with(HASHED) => Weights::HASHED,
            Some(_) => Weights::SEMANTIC,
        }
    }

    pub(crate) async fn query(&self, text: &str) -> QueryVector {
        let Some(embedder) = &self.embedder else { return QueryVector::NoEmbedder };
        let texts = [text.replace('\0', " ")];
        let timeout = embedder.question_timeout();
        match tokio::time::timeout(timeout, embed(&**embedder, &texts, Purpose::Query)).await {
            Ok(vectors) => match vectors.into_iter().next().flatten() {
                Some(vector) => QueryVector::Vector(vector),
                None => QueryVector::Failed,
            },
            Err(_) => {
                warn!(?timeout, "the embedder took too long; searching by words alone");
                QueryVector::Late
            }
        }
    }

    /// The vectors of passages, in their order; none where the embedder does not answer in time.
    pub(crate) async fn passages(&self, texts: &[String]) -> Vec<Option<Vec<f32>>> {
        let mut vectors = Vec::with_capacity(texts.len());
        if let Some(embedder) = &self.embedder {
            let all = async {
                for batch in texts.chunks(PASSAGES_BATCH) {
                    let of_batch = embed(&**embedder, batch, Purpose::Passage).await;
                    let is_away = of_batch.iter().all(Option::is_none);
                    vectors.extend(of_batch);
                    if is_away {
                        break;
                    }
                }
            };
            if tokio::time::timeout(PASSAGES_TIMEOUT, all).await.is_err() {
                warn!("the embedder took too long; the rest is embedded later");
            }
        }
        vectors.resize(texts.len(), None);
        vectors
    }
}

async fn embed(
    embedder: &dyn Embedder,
    texts: &[String],
    purpose: Purpose,
) -> Vec<Option<Vec<f32>>> {
    match embedder.embed(texts, purpose).await {
        Ok(vectors) if vectors.len() == texts.len() => {
            let usable = |vector: &Vec<f32>| is_usable(vector, embedder.dimensions());
            vectors.into_iter().map(|vector| Some(vector).filter(usable)).collect()
        }
        Ok(_) => {
            warn!("the embedder returned the wrong number of vectors; going on with words alone");
            vec![None; texts.len()]
        }
        Err(error) => {
            warn!(%error, "the embedder failed; going on with words alone");
            vec![None; texts.len()]
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
