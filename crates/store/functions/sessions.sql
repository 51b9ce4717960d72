-- Earlier turns of a conversation.

-- What every run reads before its first step: the turns before `p_before`, newest first. Of a fork it
-- is the one before the first of its ancestors that came before it, so what it took the place of is
-- passed over: its parent, and whatever followed that.
create or replace function session_turns(
    p_org text, p_user text, p_project text, p_session text, p_before uuid, p_limit bigint)
returns table (run_id uuid, input text, output text)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off
set enable_sort = off as $$
#variable_conflict use_column
declare
    v_turn record;
    v_before uuid := p_before;
    v_turns bigint := 0;
begin
    perform set_tenant(p_org, p_user, p_project);
    for v_turn in
        select r.run_id, r.input, r.output, r.turns_before from runs r
        -- A range and an order over both columns, so that no other index can look as good as the one
        -- by session: of a tenant that came after the last `analyze`, the planner knows nothing.
        where r.org_id = p_org and r.user_id = p_user and r.project_id = p_project
          and (r.session_key, r.run_id) < (p_session, p_before)
          and (r.session_key, r.run_id) > (p_session, '00000000-0000-0000-0000-000000000000')
          -- What was asked stays, also where no answer came of it.
          and r.session_key <> '' and r.status in ('completed', 'failed', 'cancelled')
        order by r.session_key desc, r.run_id desc
    loop
        exit when v_turns >= p_limit;
        continue when v_turn.run_id >= v_before;
        v_before := coalesce(v_turn.turns_before, v_turn.run_id);
        v_turns := v_turns + 1;
        run_id := v_turn.run_id;
        input := v_turn.input;
        output := v_turn.output;
        return next;
    end loop;
end $$;
