//! API keys: creating, listing, revoking, and finding the holder of one. A key is stored as its hash;
//! what its rights mean is decided in `server`.

use protocol::{
    audit::AuditAction,
    id::KeyId,
    key::{ApiKey, CreateKey, KeyCreated, Rights},
    name::{OrgId, ProjectId, UserId},
    page::{Page, PageLimit},
};
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::{Row, postgres::PgRow};

use crate::{
    audit::{self, NewRecord},
    error::StoreError,
    handle::Store,
    rows::{cut_page, get_optional_parsed, get_optional_timestamp, get_parsed, get_timestamp},
    transaction::Tenant,
};

/// What every key begins with.
const MARK: &str = "oi_";
/// Random bytes of a key.
const SECRET_BYTES: usize = 32;
/// Characters of a key by which it is recognised.
const PREFIX_CHARS: usize = 11;

/// The SHA-256 of a key: what is kept of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of a text that has the form of a key; none of any other text.
    pub fn of(key: &str) -> Option<Self> {
        let secret = key.strip_prefix(MARK)?;
        let is_hex = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let fits = secret.len() == 2 * SECRET_BYTES && secret.bytes().all(is_hex);
        fits.then(|| Self(Sha256::digest(key).into()))
    }
}

/// The holder of a valid key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHolder {
    /// The organisation of the key.
    pub org_id: OrgId,
    pub key_id: KeyId,
    /// The only user it may act for.
    pub user_id: Option<UserId>,
    /// The only project it may act in.
    pub project_id: Option<ProjectId>,
    /// What it may do.
    pub rights: Rights,
    /// Whether its use was recorded within the last minute.
    pub is_touched: bool,
}

const KEY_COLUMNS: &str = "key_id, name, prefix, org_id, user_id, project_id, rights, created_at, \
     expires_at, last_used_at, revoked_at";

impl Store {
    /// Creates a key, and records who did. Only this result contains the key itself.
    pub async fn create_key(
        &self,
        org: &OrgId,
        by: &str,
        new: &CreateKey,
    ) -> Result<KeyCreated, StoreError> {
        let (key, hash) = fresh_key();
        let mut tx = self.database.begin(Tenant::Org(org)).await?;
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "insert into api_keys (org_id, key_id, key_hash, prefix, name, user_id, project_id,
                                   rights, created_by, expires_at)
             values ($1, new_id(clock_timestamp()), $2, $3, $4, $5, $6, $7, $8, $9)
             returning {KEY_COLUMNS}"
        )))
        .bind(org.as_str())
        .bind(hash.0.as_slice())
        .bind(key.chars().take(PREFIX_CHARS).collect::<String>())
        .bind(&new.name)
        .bind(new.user_id.as_ref().map(UserId::as_str))
        .bind(new.project_id.as_ref().map(ProjectId::as_str))
        .bind(new.rights.words())
        .bind(by)
        .bind(new.expires_at.map(|at| jiff_sqlx::Timestamp::from(at.get())))
        .fetch_one(&mut tx)
        .await?;
        let info = key_from(&row)?;
        audit::append(&mut tx, org, &record(by, AuditAction::KeyCreated, &info)).await?;
        tx.commit().await?;
        Ok(KeyCreated { key, info })
    }

    /// The keys of an organisation, newest first, those before `cursor`.
    pub async fn list_keys(
        &self,
        org: &OrgId,
        cursor: Option<KeyId>,
        limit: PageLimit,
    ) -> Result<Page<ApiKey>, StoreError> {
        let mut tx = self.database.begin(Tenant::Org(org)).await?;
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "select {KEY_COLUMNS} from api_keys
             where org_id = $1 and ($2::uuid is null or key_id < $2)
             order by key_id desc
             limit $3"
        )))
        .bind(org.as_str())
        .bind(cursor.map(KeyId::uuid))
        .bind(i64::from(limit.get()) + 1)
        .fetch_all(&mut tx)
        .await?;
        tx.commit().await?;
        let keys = rows.iter().map(key_from).collect::<Result<Vec<_>, _>>()?;
        Ok(cut_page(keys, limit, |key| key.key_id.to_string()))
    }

    /// Revokes a key, and records who did. One that was revoked before stays as it is.
    pub async fn revoke_key(&self, org: &OrgId, by: &str, key_id: KeyId) -> Result<(), StoreError> {
        let mut tx = self.database.begin(Tenant::Org(org)).await?;
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "select {KEY_COLUMNS} from api_keys where org_id = $1 and key_id = $2 for update"
        )))
        .bind(org.as_str())
        .bind(key_id.uuid())
        .fetch_optional(&mut tx)
        .await?
        .ok_or(StoreError::NotFound)?;
        let info = key_from(&row)?;
        if info.revoked_at.is_some() {
            return Ok(());
        }
        sqlx::query(
            "update api_keys set revoked_at = clock_timestamp() where org_id = $1 and key_id = $2",
        )
        .bind(org.as_str())
        .bind(key_id.uuid())
        .execute(&mut tx)
        .await?;
        sqlx::query("delete from logins where org_id = $1 and key_id = $2")
            .bind(org.as_str())
            .bind(key_id.uuid())
            .execute(&mut tx)
            .await?;
        audit::append(&mut tx, org, &record(by, AuditAction::KeyRevoked, &info)).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The holder of the key with this hash; none if there is no such key, or it is no longer valid.
    pub async fn find_key(&self, hash: &KeyHash) -> Result<Option<KeyHolder>, StoreError> {
        let query = sqlx::query("select * from find_api_key($1)").bind(hash.0.as_slice());
        self.database.call(query).await?.first().map(holder_from).transpose()
    }

    /// Notes that a key is used, at most once a minute.
    pub async fn touch_key(&self, org: &OrgId, key_id: KeyId) -> Result<(), StoreError> {
        let mut tx = self.database.begin(Tenant::Org(org)).await?;
        sqlx::query(
            "update api_keys set last_used_at = clock_timestamp()
             where org_id = $1 and key_id = $2
               and (last_used_at is null
                    or last_used_at <= clock_timestamp() - interval '1 minute')",
        )
        .bind(org.as_str())
        .bind(key_id.uuid())
        .execute(&mut tx)
        .await?;
        tx.commit().await
    }
}

fn fresh_key() -> (String, KeyHash) {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).expect("a system that opens sockets has random bytes");
    let key = bytes.iter().fold(MARK.to_owned(), |key, byte| format!("{key}{byte:02x}"));
    let hash = KeyHash(Sha256::digest(&key).into());
    (key, hash)
}

fn record(by: &str, action: AuditAction, key: &ApiKey) -> NewRecord {
    let detail = json!({
        "name": key.name,
        "prefix": key.prefix,
        "user_id": key.user_id,
        "project_id": key.project_id,
        "rights": key.rights,
    });
    NewRecord {
        actor: by.to_owned(),
        action,
        subject: key.key_id.to_string(),
        detail: detail.as_object().cloned().unwrap_or_default(),
    }
}

fn key_from(row: &PgRow) -> Result<ApiKey, StoreError> {
    Ok(ApiKey {
        key_id: KeyId::from_uuid(row.try_get("key_id")?),
        name: row.try_get("name")?,
        prefix: row.try_get("prefix")?,
        org_id: get_parsed(row, "org_id")?,
        user_id: get_optional_parsed(row, "user_id")?,
        project_id: get_optional_parsed(row, "project_id")?,
        rights: rights_from(row)?,
        created_at: get_timestamp(row, "created_at")?,
        expires_at: get_optional_timestamp(row, "expires_at")?,
        last_used_at: get_optional_timestamp(row, "last_used_at")?,
        revoked_at: get_optional_timestamp(row, "revoked_at")?,
    })
}

fn holder_from(row: &PgRow) -> Result<KeyHolder, StoreError> {
    Ok(KeyHolder {
        org_id: get_parsed(row, "org_id")?,
        key_id: KeyId::from_uuid(row.try_get("key_id")?),
        user_id: get_optional_parsed(row, "user_id")?,
        project_id: get_optional_parsed(row, "project_id")?,
        rights: rights_from(row)?,
        is_touched: row.try_get("is_touched")?,
    })
}

/// A right that only a newer version knows is left out.
fn rights_from(row: &PgRow) -> Result<Rights, StoreError> {
    let words: Vec<String> = row.try_get("rights")?;
    Ok(Rights::known(words.iter().map(String::as_str)))
}
