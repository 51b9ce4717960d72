-- Earlier turns of a conversation.

-- What every run reads before its first step: the turns before `p_before`, newest first. Before a fork
-- stands what came before the first of its ancestors: what it took the place of is passed over, its
-- parent and whatever followed that. A fork that goes on behind the answer of its parent takes the place
-- only of what followed, and one that was not completed takes no place.
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
    -- The run behind whose answer the turn goes on that was read last.
    v_answered uuid;
    v_turns bigint := 0;
begin
    perform set_tenant(p_org, p_user, p_project);
    for v_turn in
        select r.run_id, r.input, r.output, r.status, r.turns_before, r.parent_run_id,
               r.forked_from_step, r.input_follows
        from runs r
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
        continue when v_turn.run_id >= v_before and v_turn.run_id is distinct from v_answered;
        continue when v_turn.parent_run_id is not null and v_turn.status <> 'completed';
        v_before := coalesce(v_turn.turns_before, v_turn.run_id);
        v_answered := null;
        if v_turn.input_follows then
            select p.run_id into v_answered from runs p
            where p.org_id = p_org and p.user_id = p_user and p.project_id = p_project
              and p.run_id = v_turn.parent_run_id and p.status = 'completed'
              and p.step_count = v_turn.forked_from_step;
        end if;
        v_turns := v_turns + 1;
        run_id := v_turn.run_id;
        input := v_turn.input;
        output := v_turn.output;
        return next;
    end loop;
end $$;
