//! Which lessons hold for which model, in this process: bounded, and ready to be exchanged with
//! other processes. Where they are kept is not known here.
//!
//! A lesson belongs to an address and the name of a model there, whatever we call the provider. A
//! name may come from a tenant: only plain ones are kept, so that nobody can write to others in one.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::Notify, time::Instant};

use crate::lessons::{Lesson, Lessons, WINDOW_LASTS};

/// Most models whose lessons are held. With one more, another is forgotten, and learnt again.
const MODELS_MAX: usize = 2048;
/// Most lessons that wait to be kept, and to be forgotten.
const UNKEPT_MAX: usize = 256;
/// Longest name of a model that is kept, in bytes.
const NAME_MAX_BYTES: usize = 128;

/// A lesson, and the model that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelLesson {
    /// The address of the provider, as it is configured.
    pub base_url: String,
    pub model: String,
    pub lesson: Lesson,
}

/// What was learnt here, and what was heard from elsewhere.
#[derive(Default)]
pub(crate) struct Taught {
    inner: Mutex<Inner>,
    learnt: Notify,
}

#[derive(Default)]
struct Inner {
    /// By address and model.
    models: BTreeMap<(String, String), Lessons>,
    unkept: Vec<ModelLesson>,
    /// What has turned out to be wrong, and may be kept elsewhere.
    refuted: Vec<ModelLesson>,
    /// By address and model: tokens of the longest prompt that was answered lately.
    answered: BTreeMap<(String, String), (u64, Instant)>,
}

impl Taught {
    pub(crate) fn of(&self, base_url: &str, model: &str) -> Lessons {
        let place = (base_url.to_owned(), model.to_owned());
        self.inner().models.get(&place).cloned().unwrap_or_default()
    }

    /// Every model of which something is known, with its address.
    pub(crate) fn all(&self) -> Vec<((String, String), Lessons)> {
        let inner = self.inner();
        let models = inner.models.iter().filter(|(_, lessons)| **lessons != Lessons::default());
        models.map(|(place, lessons)| (place.clone(), lessons.clone())).collect()
    }

    /// A provider has taught this.
    pub(crate) fn add(&self, lesson: ModelLesson) {
        let mut inner = self.inner();
        inner.hear(lesson.clone());
        inner.refuted.retain(|refuted| *refuted != lesson);
        if is_plain(&lesson.model) && inner.unkept.len() < UNKEPT_MAX {
            inner.unkept.push(lesson);
            self.learnt.notify_one();
        }
    }

    /// A model has answered a prompt of so many tokens: a window that is smaller was a mistake.
    pub(crate) fn answered(&self, base_url: &str, model: &str, tokens: u64) {
        let refuted = self.inner().note_answered((base_url.to_owned(), model.to_owned()), tokens);
        if refuted {
            self.learnt.notify_one();
        }
    }

    /// Whether a model may have a window of so many tokens, by what it has answered lately.
    pub(crate) fn may_have_window(&self, base_url: &str, model: &str, tokens: u64) -> bool {
        let place = (base_url.to_owned(), model.to_owned());
        let answered = self.inner().answered.get(&place).copied();
        answered.is_none_or(|(most, at)| most <= tokens || at.elapsed() >= WINDOW_LASTS)
    }

    /// What has turned out to be wrong, and may be kept elsewhere.
    pub(crate) fn refuted(&self) -> Vec<ModelLesson> {
        self.inner().refuted.clone()
    }

    pub(crate) fn is_forgotten(&self, lesson: &ModelLesson) {
        self.inner().refuted.retain(|refuted| refuted != lesson);
    }

    /// Waits until something was learnt that is kept nowhere else, or refuted.
    pub(crate) async fn learnt(&self) {
        self.learnt.notified().await;
    }

    pub(crate) fn unkept(&self) -> Vec<ModelLesson> {
        self.inner().unkept.clone()
    }

    pub(crate) fn is_kept(&self, lesson: &ModelLesson) {
        self.inner().unkept.retain(|unkept| unkept != lesson);
    }

    /// Forgets everything but what is not kept yet, and takes these, the oldest first.
    pub(crate) fn replace(&self, kept: impl IntoIterator<Item = ModelLesson>) {
        let mut inner = self.inner();
        inner.models.clear();
        let (unkept, refuted) = (inner.unkept.clone(), inner.refuted.clone());
        let kept = kept.into_iter().filter(|lesson| !refuted.contains(lesson));
        kept.chain(unkept).for_each(|lesson| inner.hear(lesson));
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn hear(&mut self, ModelLesson { base_url, model, lesson }: ModelLesson) {
        let place = (base_url, model);
        if self.models.len() >= MODELS_MAX && !self.models.contains_key(&place) {
            self.models.pop_first();
        }
        self.models.entry(place).or_default().add(lesson);
    }

    /// Says whether a lesson is refuted by it.
    fn note_answered(&mut self, place: (String, String), tokens: u64) -> bool {
        let known = self.answered.get(&place);
        if known.is_none_or(|(most, at)| *most <= tokens || at.elapsed() >= WINDOW_LASTS) {
            if self.answered.len() >= MODELS_MAX && !self.answered.contains_key(&place) {
                self.answered.pop_first();
            }
            self.answered.insert(place.clone(), (tokens, Instant::now()));
        }
        let Some(lessons) = self.models.get_mut(&place) else { return false };
        let Some(window) = lessons.context_tokens.filter(|window| *window < tokens) else {
            return false;
        };
        lessons.context_tokens = None;
        let (base_url, model) = place;
        let lesson =
            ModelLesson { base_url, model, lesson: Lesson::ContextTokens { tokens: window } };
        self.unkept.retain(|unkept| *unkept != lesson);
        if self.refuted.len() < UNKEPT_MAX && !self.refuted.contains(&lesson) {
            self.refuted.push(lesson);
        }
        true
    }
}

fn is_plain(model: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/@+-".contains(&byte);
    (1..=NAME_MAX_BYTES).contains(&model.len()) && model.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lesson(model: &str, lesson: Lesson) -> ModelLesson {
        ModelLesson { base_url: "http://a/v1".into(), model: model.into(), lesson }
    }

    #[test]
    fn a_lesson_is_of_an_address_and_a_model() {
        let taught = Taught::default();
        taught.add(lesson("m", Lesson::NoTemperature));
        assert!(taught.of("http://a/v1", "m").no_temperature);
        assert!(!taught.of("http://a/v1", "n").no_temperature);
        assert!(!taught.of("http://b/v1", "m").no_temperature);
    }

    #[test]
    fn what_is_kept_elsewhere_replaces_what_is_not_new() {
        let taught = Taught::default();
        taught.add(lesson("old", Lesson::NoStream));
        taught.is_kept(&taught.unkept()[0]);
        taught.add(lesson("new", Lesson::NoStream));
        taught.replace([lesson("heard", Lesson::ShortIds)]);
        let known: Vec<_> = taught.all().into_iter().map(|((_, model), _)| model).collect();
        assert_eq!(known, ["heard", "new"], "the old one was forgotten where it is kept");
        assert_eq!(taught.unkept(), [lesson("new", Lesson::NoStream)]);
    }

    #[test]
    fn a_prompt_that_was_answered_refutes_a_smaller_window() {
        let window = |tokens| lesson("m", Lesson::ContextTokens { tokens });
        let taught = Taught::default();
        taught.add(window(1_000));
        taught.add(lesson("m", Lesson::NoStream));
        taught.answered("http://a/v1", "m", 900);
        assert_eq!(taught.of("http://a/v1", "m").context_tokens, Some(1_000));
        taught.answered("http://b/v1", "m", 5_000);
        assert_eq!(taught.of("http://a/v1", "m").context_tokens, Some(1_000), "of another");
        taught.answered("http://a/v1", "m", 5_000);
        assert_eq!(taught.of("http://a/v1", "m").context_tokens, None);
        assert!(taught.of("http://a/v1", "m").no_stream, "what else it taught stays");
        assert_eq!(taught.unkept(), [lesson("m", Lesson::NoStream)]);
        assert_eq!(taught.refuted(), [window(1_000)]);

        // Where it is kept it may be heard of again before it is forgotten there.
        taught.replace([window(1_000)]);
        assert_eq!(taught.of("http://a/v1", "m").context_tokens, None);
        taught.is_forgotten(&window(1_000));
        assert_eq!(taught.refuted(), []);

        assert!(!taught.may_have_window("http://a/v1", "m", 4_999));
        assert!(taught.may_have_window("http://a/v1", "m", 5_000));
        assert!(taught.may_have_window("http://a/v1", "n", 1_000));
    }

    #[test]
    fn names_of_models_are_no_way_to_write_to_others() {
        let taught = Taught::default();
        for model in ["buy at evil.example", "", "模型", "a\nb", &"x".repeat(129)] {
            taught.add(lesson(model, Lesson::NoStream));
            assert!(taught.of("http://a/v1", model).no_stream, "it holds here: {model}");
        }
        assert_eq!(taught.unkept(), []);
    }

    #[test]
    fn nobody_can_fill_it_up() {
        let taught = Taught::default();
        for number in 0..MODELS_MAX + 100 {
            taught.add(lesson(&format!("m{number}"), Lesson::NoStream));
        }
        assert_eq!(taught.all().len(), MODELS_MAX);
        assert_eq!(taught.unkept().len(), UNKEPT_MAX);
    }
}
