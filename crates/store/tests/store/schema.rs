//! The schema as it is after all migrations, read from the catalogs.

use std::path::Path;

use sqlx::{Connection, PgConnection, migrate::Migrator};
use store::connect::migrate;

/// One line for each thing that a schema is made of, in order. Not in it: the order of columns.
const SCHEMA: &str = r"
with ours as (
    select c.* from pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'S', 'i')
      and c.relname not like '_sqlx%'
), functions as (
    select p.* from pg_proc p
    where p.pronamespace = 'public'::regnamespace
      and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
)
select line from (
    select format('%s %s persistence=%s options=%s rls=%s force=%s owner=%s', c.relkind, c.relname,
                  c.relpersistence, (select array_agg(o order by o) from unnest(c.reloptions) o),
                  c.relrowsecurity, c.relforcerowsecurity, c.relowner::regrole)
    from ours c
    union all
    select format('column %s.%s %s notnull=%s default=%s identity=%s generated=%s storage=%s',
                  c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
                  pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attgenerated, a.attstorage)
    from ours c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
    where c.relkind = 'r'
    union all
    select format('constraint %s.%s %s', c.relname, k.conname, pg_get_constraintdef(k.oid))
    from ours c join pg_constraint k on k.conrelid = c.oid
    union all
    select pg_get_indexdef(c.oid) from ours c where c.relkind = 'i'
    union all
    select format('policy %s.%s permissive=%s for=%s to=%s using=%s check=%s', c.relname, p.polname,
                  p.polpermissive, p.polcmd, p.polroles::regrole[],
                  pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
    from ours c join pg_policy p on p.polrelid = c.oid
    union all
    select format('grant %s %s to %s', c.relname, g.privilege_type, g.grantee::regrole)
    from ours c cross join aclexplode(c.relacl) g
    union all
    select format('grant schema %s to %s', g.privilege_type, g.grantee::regrole)
    from pg_namespace n cross join aclexplode(n.nspacl) g where n.nspname = 'public'
    union all
    select pg_get_triggerdef(t.oid) from ours c join pg_trigger t on t.tgrelid = c.oid
    where not t.tgisinternal
    union all
    select format('function %s owner=%s acl=%s', p.oid::regprocedure, p.proowner::regrole,
                  (select array_agg(g order by g) from unnest(p.proacl::text[]) g))
    from functions p
    union all
    select pg_get_functiondef(p.oid) from functions p
    union all
    select format('role %s super=%s login=%s bypass=%s', rolname, rolsuper, rolcanlogin, rolbypassrls)
    from pg_roles where rolname like 'openintern%'
) lines (line)
order by line";

async fn schema(url: &str) -> Vec<String> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar(SCHEMA).fetch_all(&mut connection).await.unwrap()
}

#[tokio::test]
async fn the_new_chain_makes_the_schema_of_the_old_one() {
    let old = postgres::scratch::database().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/old_chain");
    let mut connection = PgConnection::connect(&old.owner_url).await.unwrap();
    Migrator::new(folder).await.unwrap().run(&mut connection).await.unwrap();
    let new = postgres::scratch::database().await;
    migrate(&new.owner_url).await.unwrap();
    let (old, new) = (schema(&old.admin_url).await, schema(&new.admin_url).await);
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|line| !those.contains(line)).cloned().collect()
    };
    let (gone, added) = (only(&old, &new), only(&new, &old));
    assert!(gone.is_empty() && added.is_empty(), "gone: {gone:#?}\nadded: {added:#?}");
    assert_eq!(old, new);
    println!("{} lines are equal", new.len());
}
