-- Tenants are kept apart by the database: row-level security on every table that has an `org_id`,
-- forced, so that it binds the tables' owner, too.
--
-- Three roles. Whoever migrates owns the tables. `openintern_app` is what every request and every
-- worker is in force of inside a transaction: it sees the rows of the tenant that the transaction
-- names, and none without a name. `openintern_scheduler` may see the queue of all tenants; nobody
-- logs in as it, it owns the few functions of `0007_functions`.
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
grant select on _sqlx_migrations to openintern_app;
grant select, insert, update, delete on nodes to openintern_app;
grant select, insert, update on runs, run_messages, tool_calls, queue to openintern_app;
grant delete on queue to openintern_app;
grant select, insert on events, checkpoints, run_deltas, idempotency_keys to openintern_app;
grant select, insert, update, delete
    on memories, memory_chunks, memory_postings, memory_scope_stats to openintern_app;

grant select, update on runs, queue to openintern_scheduler;
grant delete on runs to openintern_scheduler;
grant select, delete
    on events, checkpoints, run_messages, run_deltas, tool_calls, idempotency_keys, nodes
    to openintern_scheduler;

do $$
declare
    table_name text;
begin
    foreach table_name in array array[
        'runs', 'queue', 'events', 'run_messages', 'checkpoints', 'run_deltas', 'tool_calls',
        'idempotency_keys', 'memories', 'memory_chunks', 'memory_postings', 'memory_scope_stats'
    ] loop
        execute format('alter table %I enable row level security', table_name);
        execute format('alter table %I force row level security', table_name);
        -- A setting that was local to an earlier transaction reads '' afterwards, not null.
        -- The sub-select is evaluated once a statement, not once a row.
        execute format(
            'create policy tenant on %I to openintern_app using (org_id = (select '
            'nullif(current_setting(''openintern.org_id'', true), '''')))', table_name);
    end loop;
    -- Within an organisation: exactly the user's and project's own.
    foreach table_name in array array[
        'runs', 'idempotency_keys', 'memories', 'memory_chunks', 'memory_postings',
        'memory_scope_stats'
    ] loop
        execute format(
            'create policy scope on %I as restrictive to openintern_app using ('
            'user_id = (select current_setting(''openintern.user_id'', true)) and '
            'project_id = (select current_setting(''openintern.project_id'', true)))', table_name);
    end loop;
    foreach table_name in array array[
        'runs', 'queue', 'events', 'run_messages', 'checkpoints', 'run_deltas', 'tool_calls',
        'idempotency_keys'
    ] loop
        execute format(
            'create policy scheduler on %I to openintern_scheduler using (true)', table_name);
    end loop;
end $$;
