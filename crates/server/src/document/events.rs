//! The schemas of events, each with a name of its own: as they are derived, an event is an envelope
//! beside a fact without a name, and generators of clients lose one or the other.

use utoipa::openapi::{
    Components, OneOfBuilder, Ref, RefOr, Schema,
    schema::{Discriminator, Object},
};

const EVENT: &str = "Event";
const FACT: &str = "Fact";
const TYPE: &str = "type";
const PAYLOAD: &str = "payload";

/// Makes of `Event` a choice of `RunStartedEvent`, …, told apart by `type`, each with its payload as
/// `RunStartedPayload`, ….
pub(super) fn name_events(components: &mut Components) {
    let schemas = &mut components.schemas;
    let (Some(RefOr::T(Schema::OneOf(facts))), Some(RefOr::T(Schema::AllOf(event)))) =
        (schemas.remove(FACT), schemas.remove(EVENT))
    else {
        return;
    };
    let envelope = event.items.into_iter().find_map(object).unwrap_or_default();
    let mut choice = OneOfBuilder::new().description(event.description);
    let mut discriminator = Discriminator::new(TYPE);
    for mut fact in facts.items.into_iter().filter_map(object) {
        let Some(type_name) = type_name(&fact) else { continue };
        let name = words_joined(&type_name);
        let (event_name, payload_name) = (format!("{name}Event"), format!("{name}Payload"));
        let payload = fact.properties.shift_remove(PAYLOAD).unwrap_or_default();
        let mut named = envelope.clone();
        named.description = fact.description;
        named.required.extend([TYPE, PAYLOAD].map(str::to_owned));
        named.properties.extend(fact.properties);
        named
            .properties
            .insert(PAYLOAD.to_owned(), RefOr::Ref(Ref::from_schema_name(&payload_name)));
        let reference = Ref::from_schema_name(&event_name);
        discriminator.mapping.insert(type_name, reference.ref_location.clone());
        choice = choice.item(reference);
        schemas.insert(payload_name, payload);
        schemas.insert(event_name, RefOr::T(Schema::Object(named)));
    }
    schemas.insert(EVENT.to_owned(), choice.discriminator(Some(discriminator)).into());
}

fn object(schema: RefOr<Schema>) -> Option<Object> {
    match schema {
        RefOr::T(Schema::Object(object)) => Some(object),
        RefOr::T(_) | RefOr::Ref(_) => None,
    }
}

/// The one value that its `type` can have.
fn type_name(fact: &Object) -> Option<String> {
    let RefOr::T(Schema::Object(property)) = fact.properties.get(TYPE)? else { return None };
    property.enum_values.as_ref()?.first()?.as_str().map(str::to_owned)
}

/// `run.started` as `RunStarted`.
fn words_joined(type_name: &str) -> String {
    let capitalised = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    type_name.split(['.', '_']).map(capitalised).collect()
}
