-- Memories that more than one scope sees. A memory lives where its rows say: with a user and a
-- project, with a user in all projects, or with an organisation. `*`, which no name can be, stands
-- for all; an empty project for none.
--
-- From a scope one sees its own home and those two, and writes nowhere else. Who may write there is
-- a matter of rights, which the database does not know.

do $$
declare
    table_name text;
begin
    foreach table_name in array array[
        'memories', 'memory_chunks', 'memory_postings', 'memory_scope_stats'
    ] loop
        execute format('drop policy scope on %I', table_name);
        execute format(
            'create policy scope on %I as restrictive to openintern_app using ('
            'user_id = (select current_setting(''openintern.user_id'', true)) and '
            'project_id in ((select current_setting(''openintern.project_id'', true)), ''*'') or '
            'user_id = ''*'' and project_id = ''*'')', table_name);
        execute format(
            'alter table %I add constraint home check (user_id <> ''*'' or project_id = ''*'')',
            table_name);
    end loop;
end $$;

-- Who wrote it. Null in rows from before, which live with their writer.
alter table memories
    add column writer_user_id text,
    add column writer_project_id text,
    add check ((user_id <> '*' and project_id <> '*') or writer_user_id is not null);

-- As before, with all homes that the scope sees.
create or replace function core_memories(
    p_org text, p_user text, p_project text, p_max_chars bigint, p_limit bigint)
returns setof memories
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
begin
    perform set_tenant(p_org, p_user, p_project);
    return query
    select m.* from (
        select c.org_id, c.memory_id, sum(length(c.text)) over (
                   order by c.importance desc, c.created_at, c.memory_id
                   rows unbounded preceding) as chars_so_far
        from (values (p_user, p_project), (p_user, '*'), ('*', '*')) as home (user_id, project_id)
        join memories c
            on c.org_id = p_org and c.user_id = home.user_id and c.project_id = home.project_id
        where c.type = 'core' and length(c.text) <= p_max_chars
    ) core
    join memories m on m.org_id = core.org_id and m.memory_id = core.memory_id
    where core.chars_so_far <= p_max_chars
    order by core.chars_so_far
    limit p_limit;
end $$;
