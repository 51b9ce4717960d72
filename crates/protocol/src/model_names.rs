//! The models that a run may ask: one, or several in their order. What a name means is not known here.

use serde::{Deserialize, Deserializer, Serialize, de};

/// Most models of a list.
pub const MODELS_MAX: usize = 8;

/// One model, or several: the next one is asked where the one before cannot answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum ModelNames {
    /// It alone is asked.
    One(String),
    /// In the order in which they are asked, 1 to 8.
    Several(Vec<String>),
}

impl ModelNames {
    /// The names, in their order.
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }
}

impl From<&str> for ModelNames {
    fn from(name: &str) -> Self {
        Self::One(name.to_owned())
    }
}

impl<'de> Deserialize<'de> for ModelNames {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        value.deserialize_any(NamesVisitor)
    }
}

struct NamesVisitor;

impl<'de> de::Visitor<'de> for NamesVisitor {
    type Value = ModelNames;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string or a list of strings")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<ModelNames, E> {
        Ok(ModelNames::One(name.to_owned()))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<ModelNames, A::Error> {
        let mut names = Vec::new();
        while let Some(name) = list.next_element()? {
            names.push(name);
        }
        Ok(ModelNames::Several(names))
    }
}
