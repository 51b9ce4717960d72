//! The functions of a migrated database are those of `functions/`, where they are read and edited.

use std::{collections::BTreeMap, fs, path::Path};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::fresh_with_database;

/// The text of `functions/`, all files in the order of their names.
fn texts() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("functions");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read_to_string(file).unwrap()).collect()
}

/// Each function and trigger of ours by its name and arguments: its definition, owner and grants.
async fn definitions(connection: &mut PgConnection) -> BTreeMap<String, String> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "select p.oid::regprocedure::text,
                concat_ws(' ', pg_get_functiondef(p.oid), p.proowner::regrole, p.proacl)
         from pg_proc p
         where p.pronamespace = 'public'::regnamespace
           and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
         union all
         select format('trigger %s', t.tgname), pg_get_triggerdef(t.oid) from pg_trigger t
         where not t.tgisinternal",
    )
    .fetch_all(connection)
    .await
    .unwrap();
    rows.into_iter().collect()
}

#[tokio::test]
async fn a_migrated_database_has_the_functions_that_are_read() {
    let (_store, database) = fresh_with_database().await;
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    let migrated = definitions(&mut admin).await;
    let text = texts();
    let mut named: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("create or replace function "))
        .map(|line| line.split('(').next().unwrap())
        .collect();
    named.sort_unstable();
    let mut there: Vec<_> = migrated
        .keys()
        .filter(|name| !name.starts_with("trigger "))
        .map(|name| name.split('(').next().unwrap())
        .collect();
    there.sort_unstable();
    assert_eq!(
        named, there,
        "each function has one definition in `functions/`, and no other is there"
    );

    sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut admin).await.unwrap();
    for (name, definition) in definitions(&mut admin).await {
        assert_eq!(
            migrated.get(&name),
            Some(&definition),
            "`{name}` of a migrated database is not what `functions/` says (CONTRIBUTING.md, \
             \"Changing the database\", says how a function is changed)"
        );
    }
}
