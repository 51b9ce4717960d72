//! What the schema and the statements promise about organisations, read from the catalogs and the
//! sources: rows of one organisation can be moved by themselves, and each statement says whose rows it
//! means. That the database also refuses others is in `tenancy`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use sqlx::{Connection, PgConnection};

use crate::fresh_with_database;

/// Unique indexes that do not begin with the organisation, each with its reason.
const NOT_BY_ORG: &[(&str, &str)] = &[
    ("api_keys_by_hash", "by it the organisation of a key is found; a hash tells nothing"),
    ("logins_by_hash", "by it the organisation of a login is found; a hash tells nothing"),
];

#[tokio::test]
async fn keys_unique_indexes_and_foreign_keys_begin_with_the_organisation() {
    let (_store, database) = fresh_with_database().await;
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    let others: Vec<String> = sqlx::query_scalar(
        "with tenant as (
             select c.oid, a.attnum from pg_class c join pg_attribute a on a.attrelid = c.oid
             where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
               and a.attname = 'org_id'
         )
         select i.indexrelid::regclass::text from pg_index i join tenant t on t.oid = i.indrelid
         where i.indisunique and i.indkey[0] <> t.attnum
         union all
         select k.conname::text from pg_constraint k join tenant t on t.oid = k.conrelid
         where k.contype = 'f' and k.conkey[1] <> t.attnum
         union all
         select format('%s follows a change of its organisation', k.conname)
         from pg_constraint k join tenant t on t.oid = k.conrelid
         where k.contype = 'f' and k.confupdtype <> 'a'
         order by 1",
    )
    .fetch_all(&mut admin)
    .await
    .unwrap();
    assert_eq!(others, NOT_BY_ORG.iter().map(|(name, _)| *name).collect::<Vec<_>>());
}

/// Where a statement names no user and project, and why that is right: a file of `src/` or a function.
const ORG_WIDE: &[(&str, &str)] = &[
    ("audit.rs", "the audit is the organisation's"),
    ("contexts.rs", "lists of tools are the organisation's; messages and turns name all three"),
    ("keys.rs", "keys are the organisation's"),
    ("logins.rs", "logins are the organisation's, found by key and user"),
    ("usage.rs", "its queue is counted as one; usage names all three"),
    ("holds_reservation", "a day's budget is the organisation's"),
    ("reserve_usage", "a day's budget is the organisation's"),
    ("settle_usage", "a day's budget is the organisation's"),
];

#[test]
fn each_statement_on_a_tenants_rows_names_organisation_user_and_project() {
    let tables = tables();
    let of_tenants: Vec<_> =
        tables.iter().filter(|(_, columns)| columns.contains("org_id ")).map(|(t, _)| t).collect();
    let mut wide = BTreeSet::new();
    for Statement { place, text, .. } in statements() {
        let words = words(&text);
        let is_touched = |table: &&String| {
            words.windows(2).any(|pair| {
                ["from", "join", "into", "update"].contains(&pair[0]) && pair[1] == table.as_str()
            })
        };
        // What goes over all tenants is the scheduler's, and marked.
        if text.contains("security definer") || !of_tenants.iter().any(is_touched) {
            continue;
        }
        let names = |column: &str| words.contains(&column);
        assert!(names("org_id"), "`{place}` names no organisation: {text}");
        if !(names("user_id") && names("project_id")) {
            wide.insert(place);
        }
    }
    let expected: BTreeSet<_> = ORG_WIDE.iter().map(|(place, _)| (*place).to_owned()).collect();
    assert_eq!(wide, expected, "statements that name no user and project");
}

#[test]
fn architecture_says_which_modules_write_each_table() {
    let tables: Vec<String> = tables().into_iter().map(|(table, _)| table).collect();
    let mut written: BTreeMap<String, BTreeSet<String>> =
        tables.iter().map(|table| (table.clone(), BTreeSet::new())).collect();
    for Statement { module, text, .. } in statements() {
        for table in written_tables(&text, &tables) {
            written.entry(table).or_default().insert(module.clone());
        }
    }
    let page = fs::read_to_string(root().join("../../ARCHITECTURE.md")).unwrap();
    let section = page.split("\n## ").find(|part| part.starts_with("Tables")).unwrap();
    let said: BTreeMap<String, BTreeSet<String>> = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let names = cells[3].split(", ").map(|name| name.trim_matches('`').to_owned());
            (cells[1].trim_matches('`').to_owned(), names.collect())
        })
        .collect();
    assert_eq!(said, written);
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Some SQL, where it stands (a file of `src/` or a function) and whose it is.
struct Statement {
    place: String,
    module: String,
    text: String,
}

/// Each table with what its definition says.
fn tables() -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("migrations/0001_tables.sql")).unwrap();
    text.split("\ncreate ")
        .filter_map(|part| part.strip_prefix("unlogged table ").or(part.strip_prefix("table ")))
        .map(|part| {
            let (name, columns) = part.split_once(" (").unwrap();
            (name.to_owned(), columns.split("\n);").next().unwrap().to_owned())
        })
        .collect()
}

/// Every text in quotes of the crate, and every function.
fn statements() -> Vec<Statement> {
    let mut statements = Vec::new();
    for folder in ["src", "src/memories"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|ending| ending != "rs") {
                continue;
            }
            let file = path.strip_prefix(root().join("src")).unwrap().to_str().unwrap().to_owned();
            let module = file.split(['/', '.']).next().unwrap().to_owned();
            let source = fs::read_to_string(&path).unwrap();
            let code: Vec<_> =
                source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            for text in code.join("\n").split('"').skip(1).step_by(2) {
                let (place, module) = (file.clone(), module.clone());
                statements.push(Statement { place, module, text: text.to_owned() });
            }
        }
    }
    for entry in fs::read_dir(root().join("functions")).unwrap() {
        let path = entry.unwrap().path();
        let subject = path.file_stem().unwrap().to_str().unwrap();
        let module = if subject == "after_runs" { "memories" } else { subject };
        for text in fs::read_to_string(&path).unwrap().split("create or replace function ").skip(1)
        {
            let place = text.split('(').next().unwrap().to_owned();
            statements.push(Statement { place, module: module.to_owned(), text: text.to_owned() });
        }
    }
    statements
}

fn words(text: &str) -> Vec<&str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '%'))
        .filter(|word| !word.is_empty() && *word != "public")
        .collect()
}

fn written_tables(text: &str, tables: &[String]) -> BTreeSet<String> {
    let is_table = |word: &str| tables.iter().any(|table| table == word);
    let words = words(text);
    let mut written = BTreeSet::new();
    for (at, word) in words.iter().enumerate() {
        let next = |n: usize| words.get(at + n).copied().unwrap_or_default();
        let name = match (*word, next(1)) {
            ("insert", "into") | ("delete", "from") => next(2),
            ("update", table) if next(2) == "set" || next(3) == "set" => table,
            _ => continue,
        };
        if name == "%I" {
            // The function names the tables that it is for.
            written
                .extend(words.iter().filter(|word| is_table(word)).map(|word| (*word).to_owned()));
        } else if is_table(name) {
            written.insert(name.to_owned());
        }
    }
    written
}
