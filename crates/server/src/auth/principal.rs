//! The principal of a request: the holder of its credential, with a scope and rights.

use std::time::SystemTime;

use axum::extract::FromRequestParts;
use http::request::Parts;
use protocol::{
    id::KeyId,
    key::{Right, Rights},
    memory::Visibility,
    name::{OrgId, ProjectId, UserId},
};
use store::{keys::KeyHash, logins::LoginHash};

use crate::error::ApiError;

/// Who sends a request, and what they may do and see.
#[derive(Clone)]
pub(crate) struct Principal {
    pub(crate) bounds: ScopeBounds,
    pub(super) rights: Rights,
    /// Who it is, for the audit; none where nothing proves it.
    pub(super) actor: Option<String>,
    pub(super) holder: Option<CredentialHolder>,
    pub(super) proof: Proof,
}

/// Whose requests and streams are counted together: those of a key, or of the user of tokens.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum CredentialHolder {
    Key(KeyId),
    User(OrgId, UserId),
}

/// The scope as far as the credential fixes it; a request can only narrow it.
#[derive(Clone, Default)]
pub(crate) struct ScopeBounds {
    pub(crate) org_id: Option<OrgId>,
    pub(crate) user_id: Option<UserId>,
    pub(crate) project_id: Option<ProjectId>,
}

/// What must stay true while the principal is served.
#[derive(Clone)]
pub(super) enum Proof {
    Nothing,
    Key(KeyHash),
    Login(LoginHash),
    /// The token has not expired, and the key with this id still signs.
    Token {
        kid: Option<String>,
        expires_at: SystemTime,
    },
}

impl Principal {
    /// Without authentication, every caller has every right.
    pub(crate) fn anyone() -> Self {
        Self {
            bounds: ScopeBounds::default(),
            rights: Right::Admin.into(),
            actor: None,
            holder: None,
            proof: Proof::Nothing,
        }
    }

    pub(crate) fn allows(&self, right: Right) -> bool {
        self.rights.allow(right)
    }

    /// The widest visibility it may give to what it writes.
    pub(crate) fn reach(&self) -> Visibility {
        match (self.allows(Right::Admin), &self.bounds.project_id) {
            (true, _) => Visibility::Org,
            (false, None) => Visibility::User,
            (false, Some(_)) => Visibility::Scope,
        }
    }

    /// Whose requests and streams are counted together; none where nobody is known.
    pub(crate) fn holder(&self) -> Option<&CredentialHolder> {
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

    /// The principal of a request that was let in.
    pub(crate) fn of(parts: &Parts) -> Result<&Self, ApiError> {
        let unchecked = || ApiError::defect("a route that needs a principal declares no right");
        parts.extensions.get().ok_or_else(unchecked)
    }
}

impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        Self::of(parts).cloned()
    }
}
