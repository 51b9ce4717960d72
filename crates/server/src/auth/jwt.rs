//! Tokens that another issuer signs (JWT, RFC 7519), checked as RFC 8725 advises: the key decides the
//! algorithm, never the token; issuer, audience and expiry must be present and match.
//!
//! Times are compared with this machine's clock, with a leeway for the clock of the issuer.

use std::time::{Duration, SystemTime};

use jsonwebtoken::{Algorithm, TokenData, Validation, decode, decode_header};
use protocol::key::Rights;
use serde_json::{Map, Value};

use crate::{
    auth::{
        jwks::{JwksCache, JwksSource},
        jwt_settings::{JwtSettings, JwtSettingsError},
        principal::{CredentialHolder, Principal, Proof, ScopeBounds},
    },
    error::ApiError,
};

/// Checks tokens against the settings and the signing keys.
pub(super) struct JwtVerifier {
    settings: JwtSettings,
    validation: Validation,
    jwks: JwksCache,
}

impl JwtVerifier {
    pub(super) async fn new(settings: JwtSettings) -> Result<Self, JwtSettingsError> {
        settings.check()?;
        let jwks = JwksCache::open(JwksSource::new(&settings)?).await?;
        let mut validation = Validation::new(Algorithm::EdDSA); // Each key brings its own.
        validation.set_issuer(&[&settings.issuer]);
        validation.set_audience(&[&settings.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.validate_nbf = true;
        validation.leeway = settings.leeway_s;
        Ok(Self { settings, validation, jwks })
    }

    pub(super) async fn principal(&self, token: &str) -> Result<Principal, ApiError> {
        let header = decode_header(token).map_err(unauthorized)?;
        if header.crit.is_some() {
            return Err(unauthorized("it has critical extensions, and none is supported"));
        }
        let kid = header.kid;
        let Some(key) = self.jwks.find(kid.as_deref()).await? else {
            return Err(unauthorized("it names an unknown signing key"));
        };
        let validation = Validation { algorithms: vec![key.algorithm], ..self.validation.clone() };
        let TokenData { claims, .. } =
            decode::<Map<String, Value>>(token, &key.decoding, &validation)
                .map_err(unauthorized)?;
        // The library takes a list that holds the issuer; a token has one (RFC 7519, section 4.1.1).
        if claims.get("iss").and_then(Value::as_str) != Some(self.settings.issuer.as_str()) {
            return Err(unauthorized("`iss` is not the issuer alone"));
        }
        let expires_at = self.expiry(&claims).ok_or_else(|| unauthorized("`exp` is not a time"))?;
        let bounds = ScopeBounds {
            org_id: named(&claims, &self.settings.org_claim)?,
            user_id: named(&claims, &self.settings.user_claim)?,
            project_id: named(&claims, &self.settings.project_claim)?,
        };
        let (Some(org_id), Some(user_id)) = (bounds.org_id.clone(), bounds.user_id.clone()) else {
            return Err(unauthorized("it names no organisation, or no user"));
        };
        Ok(Principal {
            bounds,
            actor: Some(user_id.to_string()),
            holder: Some(CredentialHolder::User(org_id, user_id)),
            rights: rights(claims.get(&self.settings.rights_claim)),
            proof: Proof::Token { kid, expires_at },
        })
    }

    /// Whether a token that was good has not expired and its key is still one of ours.
    pub(super) async fn is_still_good(
        &self,
        kid: Option<&str>,
        expires_at: SystemTime,
    ) -> Result<bool, ApiError> {
        let is_fresh = SystemTime::now() <= expires_at;
        Ok(is_fresh && self.has_key(kid).await?)
    }

    /// Whether a key that has signed a token is still one of ours.
    pub(super) async fn has_key(&self, kid: Option<&str>) -> Result<bool, ApiError> {
        Ok(self.jwks.find(kid).await?.is_some())
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
) -> Result<Option<T>, ApiError> {
    match claims.get(claim) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_str().map(str::parse) {
            Some(Ok(name)) => Ok(Some(name)),
            Some(Err(_)) | None => {
                Err(unauthorized(format!("the claim `{claim}` is not a valid name")))
            }
        },
    }
}

/// Unknown words are rights of other services.
fn rights(claim: Option<&Value>) -> Rights {
    match claim {
        Some(Value::String(words)) => Rights::known(words.split_whitespace()),
        Some(Value::Array(words)) => Rights::known(words.iter().filter_map(Value::as_str)),
        _ => Rights::default(),
    }
}

/// The caller is not told why; the log says so at level `debug`.
fn unauthorized(why: impl std::fmt::Display) -> ApiError {
    tracing::debug!(%why, "a token was refused");
    ApiError::unauthorized()
}
