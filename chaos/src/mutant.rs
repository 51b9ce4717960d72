//! The product with one of its rules switched off: a judge that does not notice would notice nothing.
//! A rule that SQL keeps is edited in the scratch database, once it is migrated and before nodes run;
//! one that Rust keeps is switched off in the build with failpoints.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use sqlx::{AssertSqlSafe, PgPool};

use crate::{
    judge::SOMETIMES,
    scenario::Scenario,
    world::{Scale, World},
};

/// A rule that is switched off.
#[derive(Debug)]
pub(crate) struct Mutant {
    name: &'static str,
    rule: Rule,
    /// What must see that it is missing.
    scenario: Scenario,
}

/// What keeps a rule.
#[derive(Debug)]
enum Rule {
    /// A function of the database: the words that keep it, as `pg_get_functiondef` gives them, and
    /// words that do not.
    Sql { function: &'static str, find: &'static str, replace: &'static str },
    /// Code of the product that asks `failpoint::is_off` by this name.
    Code(&'static str),
}

const MUTANTS: &[Mutant] = &[
    // A worker that lost its run writes all the same.
    Mutant {
        name: "no_fence",
        rule: Rule::Sql {
            function: "commit_entry",
            find: "and epoch = p_epoch",
            replace: "and 0 <> p_epoch",
        },
        scenario: Scenario::Partition,
    },
    // Nobody remembers that a call was to be sent.
    Mutant {
        name: "no_ledger",
        rule: Rule::Sql {
            function: "commit_entry",
            find: "where c.tool is not null;",
            replace: "where false;",
        },
        scenario: Scenario::Kill,
    },
    // Runs whose worker died wait behind all that are new.
    Mutant {
        name: "not_expired_first",
        rule: Rule::Sql {
            function: "claim_runs",
            find: "where q.lease_until < v_now",
            replace: "where q.lease_until < v_now
                    and not exists (select from public.queue w where w.lease_until is null
                                    and w.session_key <> q.session_key)",
        },
        scenario: Scenario::Backlog,
    },
    // A number is left out at each commit.
    Mutant {
        name: "not_gapless",
        rule: Rule::Sql {
            function: "commit_entry",
            find: "set last_seq = last_seq + ",
            replace: "set last_seq = last_seq + 1 + ",
        },
        scenario: Scenario::Idempotency,
    },
    // A run that has lost workers is still worked on beside others.
    Mutant {
        name: "no_quarantine",
        rule: Rule::Sql {
            function: "claim_verdict",
            find: "when p_attempts >= p_suspect_at then",
            replace: "when false then",
        },
        scenario: Scenario::Poison,
    },
    // Whoever comes first is served first, of whatever organisation.
    Mutant { name: "no_shares", rule: Rule::Code("shares"), scenario: Scenario::Neighbour },
];

/// The mutant of this name; all when none is named.
pub(crate) fn chosen(name: Option<&str>) -> Result<Vec<&'static Mutant>> {
    let chosen: Vec<_> =
        MUTANTS.iter().filter(|mutant| name.is_none_or(|name| name == mutant.name)).collect();
    let known = MUTANTS.iter().map(|mutant| mutant.name).collect::<Vec<_>>().join(", ");
    ensure!(!chosen.is_empty(), "there is no such mutant; use one of {known}");
    Ok(chosen)
}

/// Runs each mutant's scenario on a database of its own; says whether all were seen.
pub(crate) async fn judge(mutants: &[&Mutant], seed: u64) -> Result<bool> {
    let mut all_are_seen = true;
    for mutant in mutants {
        let mut world = World::build(Scale::Short, seed).await?;
        mutant.apply(&mut world).await?;
        let line = mutant.scenario.run(&mut world).await?;
        world.tear_down(false).await?;
        // That something did not happen is no sight of the mutant.
        let mut by_check: BTreeMap<&str, usize> = BTreeMap::new();
        for violation in line.violations.iter().filter(|one| one.check != SOMETIMES) {
            *by_check.entry(violation.check).or_default() += 1;
        }
        let verdict = if by_check.is_empty() { "NOT SEEN" } else { "seen" };
        println!("`{}` is {verdict} by `{}`: {by_check:?}", mutant.name, mutant.scenario.name());
        all_are_seen &= !by_check.is_empty();
    }
    Ok(all_are_seen)
}

impl Mutant {
    async fn apply(&self, world: &mut World) -> Result<()> {
        match self.rule {
            Rule::Sql { function, find, replace } => rewrite(&world.pool, function, find, replace)
                .await
                .with_context(|| format!("the mutant `{}`", self.name)),
            Rule::Code(name) => {
                world.rule_off = Some(name);
                Ok(())
            }
        }
    }
}

/// Replaces words in the definition of the only function of this name.
async fn rewrite(pool: &PgPool, function: &str, find: &str, replace: &str) -> Result<()> {
    let definitions: Vec<String> = sqlx::query_scalar(
        "select pg_get_functiondef(p.oid)
         from pg_proc p join pg_namespace n on n.oid = p.pronamespace
         where p.proname = $1 and n.nspname not in ('pg_catalog', 'information_schema')",
    )
    .bind(function)
    .fetch_all(pool)
    .await?;
    let [definition] = definitions.as_slice() else {
        bail!("there are {} functions named `{function}`", definitions.len());
    };
    ensure!(definition.contains(find), "`{function}` does not say `{find}`");
    sqlx::raw_sql(AssertSqlSafe(definition.replace(find, replace))).execute(pool).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_function_is_rewritten_where_it_says_so() {
        let db = postgres::scratch::database().await;
        let pool = PgPool::connect(&db.admin_url).await.unwrap();
        let function = "create function held(epoch bigint) returns boolean language sql
                        begin atomic select epoch = 7; end";
        sqlx::raw_sql(function).execute(&pool).await.unwrap();
        let held = async || -> bool {
            sqlx::query_scalar("select held(8)").fetch_one(&pool).await.unwrap()
        };
        assert!(!held().await);
        assert!(rewrite(&pool, "held", "epoch = 9", "true").await.is_err());
        assert!(rewrite(&pool, "holds", "7", "8").await.is_err());
        rewrite(&pool, "held", "= 7", "> 7").await.unwrap();
        // Twice is an error: the words are gone.
        assert!(rewrite(&pool, "held", "= 7", "> 7").await.is_err());
        assert!(held().await);
    }
}
