//! What providers have taught about their models, exchanged with the other nodes by the database: a
//! node begins with what is known, and tells what it learns.

use std::collections::BTreeSet;

use model::{chat::ModelRef, lessons::Lesson, taught::ModelLesson};
use store::{
    error::StoreError,
    lessons::{KeptLesson, LESSONS_MAX, LESSONS_OF_OTHERS_MAX},
};

use crate::parts::WorkerParts;

/// Keeps what is new here, forgets what has turned out to be wrong, and takes over what is kept.
pub(crate) async fn exchange(parts: &WorkerParts) -> Result<(), StoreError> {
    let named = named_models(parts);
    for lesson in parts.models.refuted_lessons() {
        if let Some(kept) = as_kept(&lesson) {
            parts.store.forget_lesson(&kept).await?;
        }
        parts.models.lesson_is_forgotten(&lesson);
    }
    for lesson in parts.models.unkept_lessons() {
        let place = (lesson.base_url.clone(), lesson.model.clone());
        let most = if named.contains(&place) { LESSONS_MAX } else { LESSONS_OF_OTHERS_MAX };
        if let Some(kept) = as_kept(&lesson) {
            parts.store.keep_lesson(&kept, most).await?;
        }
        parts.models.lesson_is_kept(&lesson);
    }
    let kept = parts.store.kept_lessons().await?.into_iter().filter_map(|(kept, age)| {
        // Another version may know other lessons.
        let lesson: Lesson = serde_json::from_value(kept.lesson).ok()?;
        let is_believed = age < lesson.lasts();
        let KeptLesson { base_url, model, .. } = kept;
        is_believed.then_some(ModelLesson { base_url, model, lesson })
    });
    parts.models.hear_lessons(kept);
    Ok(())
}

fn as_kept(lesson: &ModelLesson) -> Option<KeptLesson> {
    let value = serde_json::to_value(&lesson.lesson).ok()?;
    let (base_url, model) = (lesson.base_url.clone(), lesson.model.clone());
    Some(KeptLesson { base_url, model, lesson: value })
}

/// The models that the configuration names, by address: no tenant can make them many.
fn named_models(parts: &WorkerParts) -> BTreeSet<(String, String)> {
    let models = &parts.models;
    let of_agents = parts.agents.values().map(|agent| agent.model.as_ref());
    let lists = of_agents.filter_map(|names| models.resolve(None, names).ok());
    let place = |model: &ModelRef| Some((models.address(model)?.to_owned(), model.model.clone()));
    lists.flat_map(|list| list.iter().filter_map(place).collect::<Vec<_>>()).collect()
}
