//! The audit of an organisation: records are appended and read, never changed.

use protocol::{
    audit::{AuditAction, AuditRecord},
    id::{AuditId, RunId},
    name::OrgId,
    page::{Page, PageLimit},
    scope::Scope,
};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::Row;

use crate::{
    error::StoreError,
    handle::Store,
    rows::{cut_page, get_json, get_parsed, get_timestamp, storable_json},
    transaction::{Tenant, Transaction},
};

/// Something that was done.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRecord {
    /// Who did it: the id of an API key, or a user.
    pub actor: String,
    pub action: AuditAction,
    /// The object: the id of a run or a key.
    pub subject: String,
    pub detail: Map<String, Value>,
}

impl NewRecord {
    /// What was done to a run.
    pub fn of_run(actor: String, action: AuditAction, scope: &Scope, run_id: RunId) -> Self {
        Self { actor, action, subject: run_id.to_string(), detail: whose(scope) }
    }
}

/// That a run was created, for a parameter. Which run the database says: it gives out the id.
#[derive(Serialize)]
pub(crate) struct CreationNote {
    actor: String,
    action: &'static str,
    detail: Map<String, Value>,
}

impl CreationNote {
    pub(crate) fn by(actor: &str, scope: &Scope) -> Self {
        let action = AuditAction::RunCreated.as_str();
        Self { actor: actor.to_owned(), action, detail: whose(scope) }
    }

    /// Says that the run was forked from another.
    pub(crate) fn from(mut self, parent: RunId) -> Self {
        self.detail.insert("parent_run_id".into(), parent.to_string().into());
        self
    }
}

fn whose(scope: &Scope) -> Map<String, Value> {
    let mut detail = Map::new();
    detail.insert("user_id".into(), scope.user_id.as_str().into());
    if let Some(project_id) = &scope.project_id {
        detail.insert("project_id".into(), project_id.as_str().into());
    }
    detail
}

impl Store {
    /// Writes down what was done in an organisation.
    pub async fn append_audit(&self, org: &OrgId, record: &NewRecord) -> Result<(), StoreError> {
        let mut tx = self.database.begin(Tenant::Org(org)).await?;
        append(&mut tx, org, record).await?;
        tx.commit().await
    }

    /// What was done in an organisation, newest first, before `cursor`.
    pub async fn list_audit(
        &self,
        org: &OrgId,
        cursor: Option<AuditId>,
        limit: PageLimit,
    ) -> Result<Page<AuditRecord>, StoreError> {
        let mut tx = self.database.begin(Tenant::Org(org)).await?;
        let rows = sqlx::query(
            "select audit_id, at, actor, action, subject, detail from audit
             where org_id = $1 and ($2::uuid is null or audit_id < $2)
             order by audit_id desc
             limit $3",
        )
        .bind(org.as_str())
        .bind(cursor.map(AuditId::uuid))
        .bind(i64::from(limit.get()) + 1)
        .fetch_all(&mut tx)
        .await?;
        tx.commit().await?;
        let records = rows
            .iter()
            .map(|row| {
                Ok(AuditRecord {
                    audit_id: AuditId::from_uuid(row.try_get("audit_id")?),
                    at: get_timestamp(row, "at")?,
                    actor: row.try_get("actor")?,
                    action: get_parsed(row, "action")?,
                    subject: row.try_get("subject")?,
                    detail: get_json(row, "detail")?,
                })
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        Ok(cut_page(records, limit, |record| record.audit_id.to_string()))
    }
}

/// Writes a record in the transaction of the action.
pub(crate) async fn append(
    tx: &mut Transaction,
    org: &OrgId,
    record: &NewRecord,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into audit (org_id, audit_id, actor, action, subject, detail)
         values ($1, new_id(clock_timestamp()), $2, $3, $4, $5::jsonb)",
    )
    .bind(org.as_str())
    .bind(&record.actor)
    .bind(record.action.as_str())
    .bind(&record.subject)
    .bind(storable_json(&record.detail)?)
    .execute(tx)
    .await?;
    Ok(())
}
