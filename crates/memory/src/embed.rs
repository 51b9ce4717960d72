//! Calls the embedder within a time limit. Where it does not answer, memory works with words alone.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hashlink::LruCache;
use metrics::counter;
use model::embedding::{Embedder, HASHED, Purpose};
use tokio::sync::Semaphore;
use tracing::warn;

use crate::fuse::Weights;

/// Questions that are embedded or wait for it at once. One that comes when there are more could not
/// be answered in time: it goes on without, and at once.
const QUESTIONS_MAX: usize = 64;
/// Vectors of questions that are kept: the steps of a run that say nothing new ask the same again.
const QUESTIONS_KEPT: usize = 512;
/// How often at most the log tells that questions went without a vector.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// How long a write waits for the vectors of its chunks; missing ones are made later.
const PASSAGES_TIMEOUT: Duration = Duration::from_secs(10);
/// Passages in one call of the embedder: the vectors of the calls before the timeout are kept.
const PASSAGES_BATCH: usize = 32;

/// An embedder with time limits, or none at all.
#[derive(Clone)]
pub(crate) struct TimedEmbedder {
    embedder: Option<Arc<dyn Embedder>>,
    places: Arc<Semaphore>,
    questions: Arc<Mutex<Questions>>,
}

/// What is known of the questions that were asked.
struct Questions {
    vectors: LruCache<String, Vec<f32>>,
    /// Those without a vector that the log has not told yet.
    untold: u64,
    told_at: Option<Instant>,
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
        let vectors = LruCache::new(QUESTIONS_KEPT);
        let questions = Questions { vectors, untold: 0, told_at: None };
        Self {
            embedder,
            places: Arc::new(Semaphore::new(QUESTIONS_MAX)),
            questions: Arc::new(Mutex::new(questions)),
        }
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
        let kept = self.questions().vectors.get(text).cloned();
        let vector = match kept {
            Some(vector) => QueryVector::Vector(vector),
            None => self.embedded(&**embedder, text).await,
        };
        let outcome = match &vector {
            QueryVector::Vector(_) => "vector",
            QueryVector::Late => "late",
            QueryVector::Failed | QueryVector::NoEmbedder => "failed",
        };
        counter!("openintern_memory_questions_total", "outcome" => outcome).increment(1);
        if !matches!(vector, QueryVector::Vector(_)) {
            self.questions().went_without(outcome);
        }
        vector
    }

    async fn embedded(&self, embedder: &dyn Embedder, text: &str) -> QueryVector {
        let Ok(_place) = self.places.try_acquire() else { return QueryVector::Late };
        let texts = [text.replace('\0', " ")];
        let asked = embed(embedder, &texts, Purpose::Query);
        match tokio::time::timeout(embedder.question_timeout(), asked).await {
            Ok(vectors) => match vectors.into_iter().next().flatten() {
                Some(vector) => {
                    self.questions().vectors.insert(text.to_owned(), vector.clone());
                    QueryVector::Vector(vector)
                }
                None => QueryVector::Failed,
            },
            Err(_) => QueryVector::Late,
        }
    }

    fn questions(&self) -> MutexGuard<'_, Questions> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
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

impl Questions {
    fn went_without(&mut self, outcome: &'static str) {
        self.untold += 1;
        if self.told_at.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            let questions = std::mem::take(&mut self.untold);
            warn!(questions, outcome, "questions had no vector in time; words alone were searched");
            self.told_at = Some(Instant::now());
        }
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
            tell_failure(purpose, &"the embedder returned the wrong number of vectors");
            vec![None; texts.len()]
        }
        Err(error) => {
            tell_failure(purpose, &error);
            vec![None; texts.len()]
        }
    }
}

/// Failures of questions are counted, and told together.
fn tell_failure(purpose: Purpose, error: &dyn std::fmt::Display) {
    match purpose {
        Purpose::Query => tracing::debug!(%error, "the embedder failed"),
        Purpose::Passage => warn!(%error, "the embedder failed; going on with words alone"),
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
