//! Who asks: from the credential of a request to a [`Caller`] with bounds and rights. Who is let in
//! with it is decided in `gate`; whose data a request is then about, within those bounds, in `scope`.

mod cookie;
mod jwks;
mod jwt;
mod keys;

use std::{future::pending, sync::Arc};

use axum::extract::FromRequestParts;
use http::{HeaderMap, header, request::Parts};
use protocol::{
    key::{Right, Rights},
    memory::Visibility,
    name::{OrgId, ProjectId, UserId},
};
use store::Store;
use tokio::time::{Instant, sleep};

pub use jwt::{JwtSettings, SettingsFault};

use crate::{
    identity::{
        jwt::{Jwt, Standing},
        keys::Keys,
    },
    limits::{CREDENTIAL_OUTAGE_MAX, CREDENTIAL_POLL},
    refusal::Refusal,
};

pub(crate) use cookie::{check_origin, cleared, set};

/// How requests are authenticated.
#[derive(Clone)]
pub struct Identity(Mode);

#[derive(Clone)]
enum Mode {
    None,
    Keys(Arc<Keys>),
    Jwt(Arc<Jwt>),
}

impl Identity {
    /// Not at all: who asks is whoever the request names. Only for loopback.
    pub fn none() -> Self {
        Self(Mode::None)
    }

    /// By the API keys of this database.
    pub fn keys(store: Store) -> Self {
        Self(Mode::Keys(Arc::new(Keys::new(store))))
    }

    /// By tokens that somebody else signs. Fails where a setting is of no use, or the file of the
    /// signing keys cannot be read; an address that does not answer yet is tried again.
    pub async fn jwt(settings: JwtSettings) -> Result<Self, SettingsFault> {
        Ok(Self(Mode::Jwt(Arc::new(Jwt::new(settings).await?))))
    }

    /// Whether anything is authenticated.
    pub(crate) fn is_on(&self) -> bool {
        match self.0 {
            Mode::None => false,
            Mode::Keys(_) | Mode::Jwt(_) => true,
        }
    }

    /// Who holds a credential. Whatever is wrong with it, the refusal is the same.
    pub(crate) async fn caller(&self, credential: &str) -> Result<Caller, Refusal> {
        match &self.0 {
            Mode::None => Ok(Caller::anyone()),
            Mode::Keys(keys) => keys.caller(credential).await,
            Mode::Jwt(jwt) => jwt.caller(credential).await,
        }
    }

    /// Whether to check this credential costs nobody else anything: a key that was good a while ago,
    /// or any token, since its signature is checked here.
    pub(crate) fn knows(&self, credential: &str) -> bool {
        match &self.0 {
            Mode::None | Mode::Jwt(_) => true,
            Mode::Keys(keys) => keys.knows(credential),
        }
    }

    /// Returns when a credential that was good is good no longer: it was revoked, or has expired.
    pub(crate) async fn lost(&self, caller: &Caller) {
        let mut unknown_since = None;
        loop {
            sleep(CREDENTIAL_POLL).await;
            match self.stands(&caller.proof).await {
                Ok(true) => unknown_since = None,
                Ok(false) => return,
                Err(_) => {
                    let since = *unknown_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= CREDENTIAL_OUTAGE_MAX {
                        return;
                    }
                }
            }
        }
    }

    /// What was changed here is seen here at once; other nodes see it within a second.
    pub(crate) fn forget_cached(&self) {
        match &self.0 {
            Mode::Keys(keys) => keys.forget_cached(),
            Mode::None | Mode::Jwt(_) => {}
        }
    }

    async fn stands(&self, proof: &Proof) -> Result<bool, Refusal> {
        match (&self.0, proof) {
            (Mode::Keys(keys), Proof::Key(hash)) => Ok(keys.holder(hash).await?.is_some()),
            (Mode::Jwt(jwt), Proof::Token(standing)) => jwt.stands(standing).await,
            (Mode::None | Mode::Keys(_) | Mode::Jwt(_), _) => pending().await,
        }
    }
}

/// Who asks, and how far they may reach.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) bounds: Bounds,
    rights: Rights,
    /// Who it is, for the audit; none where nothing proves it.
    actor: Option<String>,
    holder: Option<Holder>,
    proof: Proof,
}

/// Who holds a credential, as far as requests and streams are counted: a key, or the user of tokens.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    Key(store::keys::KeyHash),
    User(OrgId, UserId),
}

/// What the credential says of the scope; a request can only narrow it.
#[derive(Clone, Default)]
pub(crate) struct Bounds {
    pub(crate) org_id: Option<OrgId>,
    pub(crate) user_id: Option<UserId>,
    pub(crate) project_id: Option<ProjectId>,
}

/// What must go on to hold while the caller is served.
#[derive(Clone)]
enum Proof {
    Nothing,
    Key(store::keys::KeyHash),
    Token(Standing),
}

impl Caller {
    pub(crate) fn anyone() -> Self {
        Self {
            bounds: Bounds::default(),
            rights: Right::Admin.into(),
            actor: None,
            holder: None,
            proof: Proof::Nothing,
        }
    }

    pub(crate) fn allows(&self, right: Right) -> bool {
        self.rights.allow(right)
    }

    /// How many may see what it writes.
    pub(crate) fn reach(&self) -> Visibility {
        match (self.allows(Right::Admin), &self.bounds.project_id) {
            (true, _) => Visibility::Org,
            (false, None) => Visibility::User,
            (false, Some(_)) => Visibility::Scope,
        }
    }

    /// Whose requests and streams are counted together; none where nobody is known.
    pub(crate) fn holder(&self) -> Option<&Holder> {
        self.holder.as_ref()
    }

    /// Who it is, where the credential proves it.
    pub(crate) fn actor(&self) -> Option<&str> {
        self.actor.as_deref()
    }

    /// Who it is, for the audit: what the credential proves, else what the request says.
    pub(crate) fn actor_or(&self, said: &str) -> String {
        self.actor.clone().unwrap_or_else(|| said.to_owned())
    }

    /// The caller of a request that was let in.
    pub(crate) fn of(parts: &Parts) -> Result<&Self, Refusal> {
        let unchecked = || Refusal::defect("a route that needs a caller declares no right");
        parts.extensions.get().ok_or_else(unchecked)
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        Self::of(parts).cloned()
    }
}

/// What a request shows of itself.
pub(crate) enum Credential<'a> {
    /// In `Authorization`: the caller put it there.
    Header(&'a str),
    /// In the cookie: the browser put it there, whoever made it ask.
    Cookie(&'a str),
}

impl<'a> Credential<'a> {
    /// The header wins, even when it is no good: nobody means two credentials.
    pub(crate) fn of(headers: &'a HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else { return cookie::of(headers).map(Self::Cookie) };
        let (scheme, text) = value.to_str().ok()?.split_once(' ')?;
        let is_bearer = scheme.eq_ignore_ascii_case("bearer") && values.next().is_none();
        is_bearer.then(|| Self::Header(text.trim()))
    }
}
