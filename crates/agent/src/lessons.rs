//! What providers have taught about their models, exchanged with the other nodes by the database: a
//! node begins with what is known, and tells what it learns.

use std::collections::BTreeSet;

use model::{chat::ModelRef, taught::ModelLesson};
use store::{
    error::StoreError,
    lessons::{KeptLesson, LESSONS_MAX, LESSONS_OF_OTHERS_MAX},
};

use crate::parts::WorkerParts;

/// Keeps what is new here, and takes over what is kept.
pub(crate) async fn exchange(parts: &WorkerParts) -> Result<(), StoreError> {
    let named = named_models(parts);
    for lesson in parts.models.unkept_lessons() {
        let place = (lesson.base_url.clone(), lesson.model.clone());
        let most = if named.contains(&place) { LESSONS_MAX } else { LESSONS_OF_OTHERS_MAX };
        if let Ok(value) = serde_json::to_value(&lesson.lesson) {
            let (base_url, model) = place;
            parts.store.keep_lesson(&KeptLesson { base_url, model, lesson: value }, most).await?;
        }
        parts.models.lesson_is_kept(&lesson);
    }
    let kept = parts.store.kept_lessons().await?.into_iter().filter_map(|kept| {
        // Another version may know other lessons.
        let lesson = serde_json::from_value(kept.lesson).ok()?;
        Some(ModelLesson { base_url: kept.base_url, model: kept.model, lesson })
    });
    parts.models.hear_lessons(kept);
    Ok(())
}

/// The models that the configuration names, by address: no tenant can make them many.
fn named_models(parts: &WorkerParts) -> BTreeSet<(String, String)> {
    let models = &parts.models;
    let of_agents = parts.agents.values().map(|agent| agent.model.as_ref());
    let lists = of_agents.filter_map(|names| models.resolve(None, names).ok());
    let place = |model: &ModelRef| Some((models.address(model)?.to_owned(), model.model.clone()));
    lists.flat_map(|list| list.iter().filter_map(place).collect::<Vec<_>>()).collect()
}
