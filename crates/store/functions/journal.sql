-- What a worker writes about its run.

-- Writes everything in the entry if the worker's claim is the newest, under the lock of the run's row.
--
-- Parts that are absent are null. The lists are arrays of objects with the names of the columns.
-- `p_calls`: calls that are intended, and calls that are settled, which name no tool. `p_progress`: the
-- model and the counters of the run, and the bytes that this adds. `p_end`: `status`, `output` and
-- whether it is cut, or `error`, and whether to `remember`.
create or replace function commit_entry(
    p_org text, p_user text, p_project text, p_run uuid, p_epoch bigint, p_events jsonb,
    p_deltas jsonb, p_messages jsonb, p_calls jsonb, p_checkpoint jsonb, p_progress jsonb,
    p_end jsonb,
    out outcome text, out frees_another boolean)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    v_now timestamptz := clock_timestamp();
    v_events int := coalesce(jsonb_array_length(p_events), 0);
    v_status text := p_end ->> 'status';
    v_before bigint;
    v_agent text;
begin
    perform set_tenant(p_org, p_user, p_project);
    frees_another := false;
    update runs
    set last_seq = last_seq + v_events,
        model = coalesce(p_progress ->> 'model', model),
        step_count = coalesce((p_progress ->> 'step_count')::int, step_count),
        tool_call_count = coalesce((p_progress ->> 'tool_call_count')::int, tool_call_count),
        input_tokens = coalesce((p_progress ->> 'input_tokens')::bigint, input_tokens),
        output_tokens = coalesce((p_progress ->> 'output_tokens')::bigint, output_tokens),
        reasoning_tokens = coalesce((p_progress ->> 'reasoning_tokens')::bigint, reasoning_tokens),
        cached_tokens = coalesce((p_progress ->> 'cached_tokens')::bigint, cached_tokens),
        cost_usd = coalesce((p_progress ->> 'cost_usd')::double precision, cost_usd),
        written_bytes = written_bytes + coalesce((p_progress ->> 'added_bytes')::bigint, 0),
        attempts = case when p_checkpoint is null then attempts else 0 end,
        status = coalesce(v_status, status),
        output = coalesce(p_end ->> 'output', output),
        output_cut = coalesce((p_end ->> 'output_cut')::boolean, output_cut),
        output_is_json = coalesce((p_end ->> 'output_is_json')::boolean, output_is_json),
        error = coalesce(p_end -> 'error', error),
        ended_at = case when v_status is not null then v_now end
    where org_id = p_org and user_id = p_user and project_id = p_project and run_id = p_run
      and epoch = p_epoch and status = 'running'
      and (cancel_requested_by is null or v_status = 'cancelled')
    returning last_seq - v_events, agent_id into v_before, v_agent;
    if not found then
        select case when epoch = p_epoch and status = 'running' and cancel_requested_by is not null
                    then 'cancel_requested' else 'lease_lost' end
        into outcome
        from runs
        where org_id = p_org and user_id = p_user and project_id = p_project and run_id = p_run;
        outcome := coalesce(outcome, 'lease_lost');
        return;
    end if;
    if p_events is not null then
        insert into events (org_id, run_id, seq, ts, epoch, agent_id, step, span_id, parent_span_id,
                            type, payload, contains_secrets)
        select p_org, p_run, v_before + e.place, v_now, p_epoch, v_agent, e.step, e.span_id,
               e.parent_span_id, e.type, e.payload, e.contains_secrets
        from rows from (jsonb_to_recordset(p_events) as (
                 type text, step int, span_id bigint, parent_span_id bigint, payload jsonb,
                 contains_secrets boolean))
             with ordinality
             as e (type, step, span_id, parent_span_id, payload, contains_secrets, place);
    end if;
    if p_deltas is not null then
        insert into run_deltas (org_id, run_id, seq, n, step, text, created_at)
        select p_org, p_run, d.seq, d.n, d.step, d.text, v_now
        from jsonb_to_recordset(p_deltas) as d (seq bigint, n bigint, step int, text text)
        -- `commit_deltas` may have written it, and its answer was lost.
        on conflict (org_id, run_id, seq, n) do nothing;
    end if;
    if p_messages is not null then
        insert into run_messages (org_id, run_id, position, message)
        select p_org, p_run, m.position, m.message
        from jsonb_to_recordset(p_messages) as m (position int, message jsonb)
        on conflict (org_id, run_id, position) do update set message = excluded.message;
    end if;
    if p_checkpoint is not null then
        insert into checkpoints (org_id, run_id, step, agent_id, message_count, state, created_at)
        values (p_org, p_run, (p_checkpoint ->> 'step')::int, v_agent,
                (p_checkpoint ->> 'message_count')::int, p_checkpoint -> 'state', v_now);
    end if;
    if p_calls is not null then
        insert into tool_calls (org_id, run_id, call_id, step, tool, effect, status, epoch,
                                intended_at, settled_at)
        select p_org, p_run, c.call_id, c.step, c.tool, c.effect, c.status, p_epoch, v_now,
               case when c.status <> 'intent' then v_now end
        from jsonb_to_recordset(p_calls)
             as c (call_id uuid, step int, tool text, effect text, status text)
        where c.tool is not null;
        update tool_calls t set status = c.status, settled_at = v_now
        from jsonb_to_recordset(p_calls) as c (call_id uuid, tool text, status text)
        where t.org_id = p_org and t.run_id = p_run and t.call_id = c.call_id and c.tool is null;
    end if;
    if v_status is not null then
        frees_another := leave_queue(p_org, p_user, p_project, p_run);
        if (p_end ->> 'remember')::boolean then
            insert into runs_to_remember (org_id, run_id, noted_at) values (p_org, p_run, v_now)
            on conflict (org_id, run_id) do nothing;
        end if;
    end if;
    outcome := 'written';
end $$;

-- Writes one delta of each of many runs, if the worker's claim of that run is the newest, under the
-- lock of its row; answers which were written. `p_scopes`: objects with the names of the columns of a
-- scope and its `deltas`. What is not answered is written by `commit_entry`, which says why it may not
-- be: so a run whose row another transaction holds keeps nobody waiting, and no two groups wait for
-- each other.
create or replace function commit_deltas(p_scopes jsonb)
returns table (run_id uuid, seq bigint, n bigint)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off
set enable_hashjoin = off set enable_mergejoin = off as $$
#variable_conflict use_column
declare
    v_now timestamptz := clock_timestamp();
    v_set text;
    v_scope record;
begin
    -- Until the end of the transaction, which writes nothing that outlives a crash of the database:
    -- nobody need wait for its disk.
    v_set := set_config('synchronous_commit', 'off', true);
    for v_scope in
        select s.org_id, s.user_id, s.project_id, s.deltas
        from jsonb_to_recordset(p_scopes)
             as s (org_id text, user_id text, project_id text, deltas jsonb)
    loop
        perform set_tenant(v_scope.org_id, v_scope.user_id, v_scope.project_id);
        return query
        insert into run_deltas (org_id, run_id, seq, n, step, text, created_at)
        select r.org_id, r.run_id, d.seq, d.n, d.step, d.text, v_now
        from jsonb_to_recordset(v_scope.deltas)
             as d (run_id uuid, epoch bigint, seq bigint, n bigint, step int, text text)
        join runs r
          on r.org_id = v_scope.org_id and r.user_id = v_scope.user_id
             and r.project_id = v_scope.project_id and r.run_id = d.run_id
             and r.epoch = d.epoch and r.status = 'running' and r.cancel_requested_by is null
        for no key update of r skip locked
        returning run_id, seq, n;
    end loop;
end $$;
