//! Tokens that somebody else signs (JWT, RFC 7519), checked as RFC 8725 advises: the key says which
//! algorithm is used with it, never the token; issuer, audience and expiry must be there and fit.
//!
//! Times are those of this machine's clock, with a leeway: the token's come from another's.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use jsonwebtoken::{Algorithm, TokenData, Validation, decode, decode_header};
use protocol::key::Rights;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    identity::{
        Bounds, Caller, Holder, Proof,
        jwks::{Jwks, Source},
    },
    limits::JWT_LEEWAY_MAX_S,
    refusal::Refusal,
};

/// The table `[auth.jwt]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JwtSettings {
    /// Who signs: `iss` must be this.
    pub issuer: String,
    /// For whom: `aud` must be or hold this.
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
    /// The claim that holds the rights: words between spaces, or a list of words.
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
pub struct SettingsFault(String);

impl SettingsFault {
    pub(super) fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

impl JwtSettings {
    /// What must be said and is not, by the names of the keys.
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

    fn source(&self) -> Result<Source, SettingsFault> {
        let missing = self.missing();
        if !missing.is_empty() {
            return Err(SettingsFault::new(format!("`{}` is missing", missing.join("`, `"))));
        }
        if self.leeway_s > JWT_LEEWAY_MAX_S {
            let words = format!("`leeway_s` must be at most {JWT_LEEWAY_MAX_S}");
            return Err(SettingsFault::new(words));
        }
        match (&self.jwks_url, &self.jwks_file) {
            (Some(url), None) => Source::url(url),
            (None, Some(file)) => Ok(Source::file(file.clone())),
            (Some(_), Some(_)) | (None, None) => {
                Err(SettingsFault::new("`jwks_url` and `jwks_file` are both there: leave one out"))
            }
        }
    }
}

pub(super) struct Jwt {
    settings: JwtSettings,
    validation: Validation,
    jwks: Jwks,
}

/// What keeps a token good.
#[derive(Clone)]
pub(super) struct Standing {
    kid: Option<String>,
    expires_at: SystemTime,
}

impl Jwt {
    pub(super) async fn new(settings: JwtSettings) -> Result<Self, SettingsFault> {
        let jwks = Jwks::open(settings.source()?).await?;
        let mut validation = Validation::new(Algorithm::EdDSA); // Each key brings its own.
        validation.set_issuer(&[&settings.issuer]);
        validation.set_audience(&[&settings.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.validate_nbf = true;
        validation.leeway = settings.leeway_s;
        Ok(Self { settings, validation, jwks })
    }

    pub(super) async fn caller(&self, token: &str) -> Result<Caller, Refusal> {
        let header = decode_header(token).map_err(refused)?;
        if header.crit.is_some() {
            return Err(refused("it has critical extensions, and we know none"));
        }
        let kid = header.kid;
        let Some(key) = self.jwks.find(kid.as_deref()).await? else {
            return Err(refused("it names no key of ours"));
        };
        let validation = Validation { algorithms: vec![key.algorithm], ..self.validation.clone() };
        let TokenData { claims, .. } =
            decode::<Map<String, Value>>(token, &key.decoding, &validation).map_err(refused)?;
        let expires_at = self.expiry(&claims).ok_or_else(|| refused("`exp` is no time"))?;
        let bounds = Bounds {
            org_id: named(&claims, &self.settings.org_claim)?,
            user_id: named(&claims, &self.settings.user_claim)?,
            project_id: named(&claims, &self.settings.project_claim)?,
        };
        let (Some(org_id), Some(user_id)) = (bounds.org_id.clone(), bounds.user_id.clone()) else {
            return Err(refused("it names no organisation, or no user"));
        };
        Ok(Caller {
            bounds,
            actor: Some(user_id.to_string()),
            holder: Some(Holder::User(org_id, user_id)),
            rights: rights(claims.get(&self.settings.rights_claim)),
            proof: Proof::Token(Standing { kid, expires_at }),
        })
    }

    /// Whether a token that was good has not expired and its key is still one of ours.
    pub(super) async fn stands(&self, standing: &Standing) -> Result<bool, Refusal> {
        let is_fresh = SystemTime::now() <= standing.expires_at;
        Ok(is_fresh && self.jwks.find(standing.kid.as_deref()).await?.is_some())
    }

    /// When the token ends, leeway included.
    fn expiry(&self, claims: &Map<String, Value>) -> Option<SystemTime> {
        let seconds = Duration::try_from_secs_f64(claims.get("exp")?.as_f64()?).ok()?;
        let leeway = Duration::from_secs(self.settings.leeway_s);
        SystemTime::UNIX_EPOCH.checked_add(seconds)?.checked_add(leeway)
    }
}

/// The name in a claim; none if it is absent.
fn named<T: std::str::FromStr>(
    claims: &Map<String, Value>,
    claim: &str,
) -> Result<Option<T>, Refusal> {
    match claims.get(claim) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_str().map(str::parse) {
            Some(Ok(name)) => Ok(Some(name)),
            Some(Err(_)) | None => Err(refused(format!("the claim `{claim}` is no name"))),
        },
    }
}

/// Words that are no rights of ours are somebody else's.
fn rights(claim: Option<&Value>) -> Rights {
    match claim {
        Some(Value::String(words)) => Rights::known(words.split_whitespace()),
        Some(Value::Array(words)) => Rights::known(words.iter().filter_map(Value::as_str)),
        _ => Rights::default(),
    }
}

/// The caller learns nothing; our log, if it is asked to say much, why.
fn refused(why: impl std::fmt::Display) -> Refusal {
    tracing::debug!(%why, "a token was refused");
    Refusal::unauthorized()
}
