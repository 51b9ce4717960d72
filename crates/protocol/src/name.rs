//! Names that people and their programs choose: who and what a request is about. Each has a fixed
//! alphabet and length.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The text is not a name of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{what}` must be 1 to {max} characters{alphabet}")]
pub struct NameError {
    what: &'static str,
    max: usize,
    alphabet: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $fits:expr, $alphabet:literal, $pattern:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
        )]
        #[serde(try_from = "String", into = "String")]
        #[schema(value_type = String, pattern = $pattern, example = $example)]
        pub struct $name(String);

        impl $name {
            /// Parses a name; the error says what it must look like.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                let fits: fn(char) -> bool = $fits;
                let chars = text.chars().take($max + 1).count();
                if (1..=$max).contains(&chars) && text.chars().all(fits) {
                    Ok(Self(text))
                } else {
                    Err(NameError { what: $what, max: $max, alphabet: $alphabet })
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
    };
}

/// What identity providers name people and organisations by, such as `auth0|5f7c` and
/// `li+test@example.com`. A quote or a backslash would have to be escaped in the statement that names
/// the tenant, a slash in the folder of a workspace, and `*` stands for all users: none of them is taken.
fn is_of_id(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.:@|+=~-".contains(c)
}

name!(
    /// Names an organisation: the wall between tenants.
    OrgId,
    "org_id",
    128,
    is_of_id,
    " of `A-Z a-z 0-9 _.:@|+=~-`",
    "^[A-Za-z0-9_.:@|+=~-]{1,128}$",
    "org_demo"
);
name!(
    /// Names a user of an organisation.
    UserId,
    "user_id",
    128,
    is_of_id,
    " of `A-Z a-z 0-9 _.:@|+=~-`",
    "^[A-Za-z0-9_.:@|+=~-]{1,128}$",
    "user_demo"
);
name!(
    /// Names a project of a user.
    ProjectId,
    "project_id",
    128,
    is_of_id,
    " of `A-Z a-z 0-9 _.:@|+=~-`",
    "^[A-Za-z0-9_.:@|+=~-]{1,128}$",
    "proj_demo"
);
name!(
    /// Names a session: a conversation of runs in one scope.
    SessionKey,
    "session_key",
    128,
    |c| !c.is_control(),
    ", none of them a control character",
    "^[^\\u0000-\\u001f\\u007f-\\u009f]{1,128}$",
    "s_demo"
);
name!(
    /// Names an agent: a configured persona that runs.
    AgentId,
    "agent_id",
    64,
    |c| c.is_ascii_alphanumeric() || "_-".contains(c),
    " of `A-Z a-z 0-9 _-`",
    "^[A-Za-z0-9_-]{1,64}$",
    "main"
);

impl Default for SessionKey {
    fn default() -> Self {
        Self("s_default".into())
    }
}

impl Default for AgentId {
    fn default() -> Self {
        Self("main".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alphabet_and_length() {
        assert!(OrgId::new("a@b.c:d_e-F9").is_ok());
        assert!(OrgId::new("x".repeat(128)).is_ok());
        for text in ["auth0|5f7c", "li+test@example.com", "bGk=", "~li"] {
            assert!(UserId::new(text).is_ok(), "{text:?}");
        }
        for text in ["", "a b", "组织", "a/b", "a'b", "a\\b", "*", "a\0", &"x".repeat(129)] {
            assert!(OrgId::new(text).is_err(), "{text:?}");
        }
        for text in ["a@b", "the trip to Oslo", "去奥斯陆的旅行", "a/b", &"字".repeat(128)]
        {
            assert!(SessionKey::new(text).is_ok(), "{text:?}");
        }
        for text in ["", "a\nb", "a\u{7f}", "\u{85}", &"字".repeat(129)] {
            assert!(SessionKey::new(text).is_err(), "{text:?}");
        }
        assert_eq!(
            SessionKey::new("").unwrap_err().to_string(),
            "`session_key` must be 1 to 128 characters, none of them a control character"
        );
        assert_eq!(
            AgentId::new("a.b").unwrap_err().to_string(),
            "`agent_id` must be 1 to 64 characters of `A-Z a-z 0-9 _-`"
        );
    }
}
