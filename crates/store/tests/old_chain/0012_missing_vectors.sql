-- Finds the scopes with chunks that no embedder has answered for yet. Empty most of the time.
create index memory_chunks_without_vector
    on memory_chunks (org_id, user_id, project_id) where embedding is null;

-- Scopes with chunks to embed, of all tenants, those after a scope in the order of their names:
-- those with chunks that have no vector or, with `p_all`, all.
create function scopes_to_embed(
    p_all boolean, p_org text, p_user text, p_project text, p_limit bigint)
returns table (org_id text, user_id text, project_id text)
language plpgsql security definer set search_path = '' as $$
#variable_conflict use_column
begin
    if p_all then
        return query
        select s.org_id, s.user_id, s.project_id from public.memory_scope_stats s
        where s.chunk_count > 0
          and (p_org is null or (s.org_id, s.user_id, s.project_id) > (p_org, p_user, p_project))
        order by s.org_id, s.user_id, s.project_id
        limit p_limit;
    else
        -- Reads the index above, which is empty most of the time.
        return query
        select distinct c.org_id, c.user_id, c.project_id from public.memory_chunks c
        where c.embedding is null
          and (p_org is null or (c.org_id, c.user_id, c.project_id) > (p_org, p_user, p_project))
        order by c.org_id, c.user_id, c.project_id
        limit p_limit;
    end if;
end $$;

revoke all on function scopes_to_embed(boolean, text, text, text, bigint) from public;
grant execute on function scopes_to_embed(boolean, text, text, text, bigint) to openintern_app;
grant select on memory_chunks, memory_scope_stats to openintern_scheduler;
create policy scheduler on memory_chunks to openintern_scheduler using (true);
create policy scheduler on memory_scope_stats to openintern_scheduler using (true);
grant create on schema public to openintern_scheduler;
alter function scopes_to_embed(boolean, text, text, text, bigint) owner to openintern_scheduler;
revoke create on schema public from openintern_scheduler;
