-- Earlier turns of a conversation.

-- What every run reads before its first step.
create or replace function session_turns(
    p_org text, p_user text, p_project text, p_session text, p_before uuid, p_limit bigint)
returns table (run_id uuid, input text, output text)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
begin
    perform set_tenant(p_org, p_user, p_project);
    return query
    select r.run_id, r.input, r.output from runs r
    -- A range and an order over both columns, so that no other index can look as good as the one by
    -- session: of a tenant that came after the last `analyze`, the planner knows nothing.
    where r.org_id = p_org and r.user_id = p_user and r.project_id = p_project
      and (r.session_key, r.run_id) < (p_session, p_before)
      and (r.session_key, r.run_id) > (p_session, '00000000-0000-0000-0000-000000000000')
      -- What was asked stays, also where no answer came of it.
      and r.session_key <> '' and r.status in ('completed', 'failed', 'cancelled')
    order by r.session_key desc, r.run_id desc
    limit p_limit;
end $$;
