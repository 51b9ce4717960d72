//! Which lessons hold for which model, in this process: bounded, and ready to be exchanged with
//! other processes. Where they are kept is not known here.
//!
//! A lesson belongs to an address and the name of a model there, whatever we call the provider. A
//! name may come from a tenant: only plain ones are kept, so that nobody can write to others in one.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::lessons::{Lesson, Lessons};

/// Most models whose lessons are held. With one more, another is forgotten, and learnt again.
const MODELS_MAX: usize = 2048;
/// Most lessons that wait to be kept.
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
}

impl Taught {
    pub(crate) fn of(&self, base_url: &str, model: &str) -> Lessons {
        let place = (base_url.to_owned(), model.to_owned());
        self.inner().models.get(&place).cloned().unwrap_or_default()
    }

    /// Every model of which something is known, with its address.
    pub(crate) fn all(&self) -> Vec<((String, String), Lessons)> {
        let inner = self.inner();
        inner.models.iter().map(|(place, lessons)| (place.clone(), lessons.clone())).collect()
    }

    /// A provider has taught this.
    pub(crate) fn add(&self, lesson: ModelLesson) {
        let mut inner = self.inner();
        inner.hear(lesson.clone());
        if is_plain(&lesson.model) && inner.unkept.len() < UNKEPT_MAX {
            inner.unkept.push(lesson);
            self.learnt.notify_one();
        }
    }

    /// Waits until something was learnt that is kept nowhere else.
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
        let unkept = inner.unkept.clone();
        kept.into_iter().chain(unkept).for_each(|lesson| inner.hear(lesson));
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
