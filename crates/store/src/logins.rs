//! Logins of the web page: what its cookie stands for. A login is a random secret of its own, kept as
//! its hash, with an end; it stands for an API key, or for the claims of a token.

use std::time::Duration;

use protocol::{
    id::KeyId,
    key::Rights,
    name::{OrgId, ProjectId, UserId},
    time::Timestamp,
};
use sha2::{Digest, Sha256};
use sqlx::{Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    error::StoreError,
    handle::Store,
    rows::{get_optional_parsed, get_parsed, get_timestamp},
    transaction::Tenant,
};

/// Most logins of one key, or of one user with tokens; the oldest goes when there is one more.
pub const LOGINS_MAX: i64 = 100;
/// The prefix of every secret.
const MARK: &str = "oil_";
const SECRET_BYTES: usize = 32;

/// The SHA-256 of a login's secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LoginHash([u8; 32]);

impl LoginHash {
    /// The hash of a text that has the form of a secret; none of any other text.
    pub fn of(secret: &str) -> Option<Self> {
        let digits = secret.strip_prefix(MARK)?;
        let is_hex = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let fits = digits.len() == 2 * SECRET_BYTES && digits.bytes().all(is_hex);
        fits.then(|| Self(Sha256::digest(secret).into()))
    }
}

/// The holder of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginHolder {
    /// The holder of this key, as long as it is valid.
    Key(KeyId),
    /// The user of a token.
    Token {
        user_id: UserId,
        /// The only project it may act in.
        project_id: Option<ProjectId>,
        /// What it may do.
        rights: Rights,
        /// The id of the key that signed the token.
        signing_key: Option<String>,
    },
}

/// A login that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The organisation of the key or token.
    pub org_id: OrgId,
    /// The holder of the login.
    pub holder: LoginHolder,
    /// The only user it may act for.
    pub user_id: Option<UserId>,
    /// The only project it may act in.
    pub project_id: Option<ProjectId>,
    /// What it may do.
    pub rights: Rights,
    pub expires_at: Timestamp,
    /// Whether the use of its key was recorded within the last minute.
    pub is_touched: bool,
}

impl Store {
    /// Creates a login that ends after `lasts`, and returns its secret, which is not stored.
    pub async fn create_login(
        &self,
        org: &OrgId,
        holder: &LoginHolder,
        lasts: Duration,
    ) -> Result<String, StoreError> {
        let (secret, hash) = fresh_secret();
        let (key_id, claims) = match holder {
            LoginHolder::Key(key_id) => (Some(key_id.uuid()), None),
            LoginHolder::Token { user_id, project_id, rights, signing_key } => {
                (None, Some((user_id, project_id.as_ref(), rights, signing_key.as_deref())))
            }
        };
        let mut tx = self.database.begin(Tenant::Org(org)).await?;
        sqlx::query(
            "insert into logins (org_id, login_hash, key_id, user_id, project_id, rights,
                                 signing_key, expires_at)
             values ($1, $2, $3, $4, $5, $6, $7, clock_timestamp() + make_interval(secs => $8))",
        )
        .bind(org.as_str())
        .bind(hash.0.as_slice())
        .bind(key_id)
        .bind(claims.map(|(user_id, ..)| user_id.as_str()))
        .bind(claims.and_then(|(_, project_id, ..)| project_id.map(ProjectId::as_str)))
        .bind(claims.map(|(_, _, rights, _)| rights.words()))
        .bind(claims.and_then(|(.., signing_key)| signing_key))
        .bind(lasts.as_secs_f64())
        .execute(&mut tx)
        .await?;
        sqlx::query(
            "delete from logins
             where org_id = $1 and login_hash in (
                 select login_hash from logins
                 where org_id = $1 and key_id is not distinct from $2
                   and user_id is not distinct from $3
                 order by created_at desc, login_hash
                 offset $4)",
        )
        .bind(org.as_str())
        .bind(key_id)
        .bind(claims.map(|(user_id, ..)| user_id.as_str()))
        .bind(LOGINS_MAX)
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(secret)
    }

    /// The login with this hash; none if there is no such login, or it has ended.
    pub async fn find_login(&self, hash: &LoginHash) -> Result<Option<Login>, StoreError> {
        let query = sqlx::query("select * from find_login($1)").bind(hash.0.as_slice());
        self.database.call(query).await?.first().map(login_from).transpose()
    }

    pub async fn delete_login(&self, org: &OrgId, hash: &LoginHash) -> Result<(), StoreError> {
        let mut tx = self.database.begin(Tenant::Org(org)).await?;
        sqlx::query("delete from logins where org_id = $1 and login_hash = $2")
            .bind(org.as_str())
            .bind(hash.0.as_slice())
            .execute(&mut tx)
            .await?;
        tx.commit().await
    }
}

fn fresh_secret() -> (String, LoginHash) {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).expect("a system that opens sockets has random bytes");
    let secret = bytes.iter().fold(MARK.to_owned(), |text, byte| format!("{text}{byte:02x}"));
    let hash = LoginHash(Sha256::digest(&secret).into());
    (secret, hash)
}

fn login_from(row: &PgRow) -> Result<Login, StoreError> {
    let words: Vec<String> = row.try_get("rights")?;
    let rights = Rights::known(words.iter().map(String::as_str));
    let user_id: Option<UserId> = get_optional_parsed(row, "user_id")?;
    let project_id: Option<ProjectId> = get_optional_parsed(row, "project_id")?;
    let holder = match (row.try_get::<Option<Uuid>, _>("key_id")?, &user_id) {
        (Some(key_id), _) => LoginHolder::Key(KeyId::from_uuid(key_id)),
        (None, Some(user_id)) => LoginHolder::Token {
            user_id: user_id.clone(),
            project_id: project_id.clone(),
            rights: rights.clone(),
            signing_key: row.try_get("signing_key")?,
        },
        (None, None) => return Err(StoreError::Unreadable("a login without a holder".into())),
    };
    Ok(Login {
        org_id: get_parsed(row, "org_id")?,
        holder,
        user_id,
        project_id,
        rights,
        expires_at: get_timestamp(row, "expires_at")?,
        is_touched: row.try_get("is_touched")?,
    })
}
