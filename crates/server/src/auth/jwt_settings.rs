//! The `[auth.jwt]` table: which tokens are accepted. Tokens themselves are checked in `jwt`.

use std::path::PathBuf;

use serde::Deserialize;

use crate::limits::JWT_LEEWAY_MAX_S;

/// The table `[auth.jwt]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JwtSettings {
    /// The issuer: `iss` must be this.
    pub issuer: String,
    /// The audience: `aud` must be this or contain it.
    pub audience: String,
    /// Where the signing keys are; `https`, or `http` on this machine.
    pub jwks_url: Option<String>,
    /// The signing keys in a file instead.
    pub jwks_file: Option<PathBuf>,
    /// How far the clocks may differ, in seconds.
    pub leeway_s: u64,
    /// The claim that names the organisation.
    pub org_claim: String,
    /// The claim that names the user.
    pub user_claim: String,
    /// The claim that names the project; a token without it is for all of its user's.
    pub project_claim: String,
    /// The claim that holds the rights: words separated by spaces, or a list of words.
    pub rights_claim: String,
}

impl Default for JwtSettings {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: String::new(),
            jwks_url: None,
            jwks_file: None,
            leeway_s: 60,
            org_claim: "org_id".into(),
            user_claim: "sub".into(),
            project_claim: "project_id".into(),
            rights_claim: "scope".into(),
        }
    }
}

/// Why tokens cannot be checked with these settings.
#[derive(Debug, thiserror::Error)]
#[error("`auth.jwt`: {0}")]
pub struct JwtSettingsError(String);

impl JwtSettingsError {
    pub(super) fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

impl JwtSettings {
    /// The settings that are required and missing.
    pub fn missing(&self) -> Vec<&'static str> {
        let has_keys = self.jwks_url.is_some() || self.jwks_file.is_some();
        [
            (self.issuer.is_empty(), "issuer"),
            (self.audience.is_empty(), "audience"),
            (!has_keys, "jwks_url (or jwks_file)"),
        ]
        .into_iter()
        .filter_map(|(is_missing, name)| is_missing.then_some(name))
        .collect()
    }

    /// Names the first thing that is wrong.
    pub(super) fn check(&self) -> Result<(), JwtSettingsError> {
        let missing = self.missing();
        if !missing.is_empty() {
            return Err(JwtSettingsError::new(format!("`{}` is missing", missing.join("`, `"))));
        }
        if self.leeway_s > JWT_LEEWAY_MAX_S {
            let words = format!("`leeway_s` must be at most {JWT_LEEWAY_MAX_S}");
            return Err(JwtSettingsError::new(words));
        }
        if self.jwks_url.is_some() && self.jwks_file.is_some() {
            let words = "`jwks_url` and `jwks_file` are both set: leave one out";
            return Err(JwtSettingsError::new(words));
        }
        Ok(())
    }
}
