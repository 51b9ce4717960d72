-- Tenants are kept apart by the database: row-level security on every table that has an `org_id`,
-- forced, so that it binds the tables' owner, too.
--
-- Three roles. Whoever migrates owns the tables. `openintern_app` is the role of every request and
-- every worker inside a transaction: it sees the rows of the tenant that the transaction names, and
-- none without a name. `openintern_scheduler` may see the queue of all tenants; nobody logs in as it,
-- it owns a few functions (`security definer` in `0003_functions.sql`).
--
-- A migration that changes rows of such a table must lift `force` around it.

do $$
declare
    role_name text;
begin
    foreach role_name in array array['openintern_app', 'openintern_scheduler'] loop
        begin
            if not exists (select from pg_roles where rolname = role_name) then
                execute format('create role %I nologin', role_name);
            end if;
        exception
            -- Another database of this server made it meanwhile.
            when duplicate_object or unique_violation then null;
        end;
        begin
            execute format('set local role %I', role_name);
            set local role none;
        exception
            when insufficient_privilege then
                execute format('grant %I to %I', role_name, current_user);
        end;
    end loop;
end $$;

grant usage on schema public to openintern_app, openintern_scheduler;

-- The list of all tables. `within` is what of an organisation a tenant's transaction sees: all of it
-- (`org`); exactly the rows of its user and project (`scope`); or the rows of every home that its scope
-- sees, where `*` stands for all (`homes`). Null: no tenant's data.
do $$
declare
    t record;
begin
    for t in
        select * from (values
            -- table, within, openintern_app, openintern_scheduler
            ('runs', 'scope', 'select, insert, update', 'select, update, delete'),
            ('queue', 'org', 'select, insert, update, delete', 'select, update'),
            ('events', 'org', 'select, insert', 'select, delete'),
            ('run_messages', 'org', 'select, insert, update', 'select, delete'),
            ('checkpoints', 'org', 'select, insert', 'select, delete'),
            ('tool_sets', 'org', 'select, insert', null),
            ('tool_calls', 'org', 'select, insert, update', 'select, delete'),
            ('run_deltas', 'org', 'select, insert', 'select, delete'),
            ('idempotency_keys', 'scope', 'select, insert', 'select, delete'),
            ('runs_to_remember', 'org', 'select, insert, delete', 'select, update, delete'),
            ('api_keys', 'org', 'select, insert, update', 'select'),
            ('logins', 'org', 'select, insert, delete', 'select, delete'),
            ('audit', 'org', 'select, insert', null),
            ('org_usage', 'org', 'select, insert, update', null),
            ('usage_reservations', 'org', 'select, insert, update, delete', null),
            ('memories', 'homes', 'select, insert, update, delete', null),
            ('memory_versions', 'homes', 'select, insert, update, delete', null),
            ('memory_links', 'homes', 'select, insert, update, delete', null),
            ('memory_chunks', 'homes', 'select, insert, update, delete', 'select'),
            ('memory_postings', 'homes', 'select, insert, update, delete', null),
            ('memory_scope_stats', 'homes', 'select, insert, update, delete', 'select'),
            ('memory_embedder', null, 'select, insert, update', null),
            ('nodes', null, 'select, insert, update, delete', 'select'),
            ('lost_leases', null, 'select, delete', 'select, insert'),
            ('model_lessons', null, 'select, insert, update, delete', null),
            ('model_breakers', null, 'select, insert, update, delete', null),
            ('provider_turns', null, 'select', 'select, insert, update'),
            ('provider_shares', 'org', 'select', 'select, insert, update, delete'),
            ('_sqlx_migrations', null, 'select', null)
        ) as list (name, within, app, scheduler)
    loop
        execute format('grant %s on %I to openintern_app', t.app, t.name);
        if t.scheduler is not null then
            execute format('grant %s on %I to openintern_scheduler', t.scheduler, t.name);
        end if;
        continue when t.within is null;
        execute format('alter table %I enable row level security', t.name);
        execute format('alter table %I force row level security', t.name);
        -- A setting that was local to an earlier transaction reads '' afterwards, not null.
        execute format(
            'create policy tenant on %I to openintern_app using '
            '(org_id = nullif(current_setting(''openintern.org_id'', true), ''''))', t.name);
        if t.within = 'scope' then
            execute format(
                'create policy scope on %I as restrictive to openintern_app using ('
                'user_id = current_setting(''openintern.user_id'', true) and '
                'project_id = current_setting(''openintern.project_id'', true))', t.name);
        elsif t.within = 'homes' then
            execute format(
                'create policy scope on %I as restrictive to openintern_app using ('
                'user_id = current_setting(''openintern.user_id'', true) and '
                'project_id in (current_setting(''openintern.project_id'', true), ''*'') or '
                'user_id = ''*'' and project_id = ''*'')', t.name);
        end if;
        if t.scheduler is not null then
            execute format(
                'create policy scheduler on %I to openintern_scheduler using (true)', t.name);
        end if;
    end loop;
end $$;
