-- What a worker writes about its run.

-- Writes all that a worker has to say, if its claim is the newest: nothing without the row's lock.
create or replace function commit_entry(
    p_org text, p_user text, p_project text, p_run uuid, p_epoch bigint,
    p_event_types text[], p_event_steps int[], p_event_spans bigint[], p_event_parents bigint[],
    p_event_payloads text[], p_event_secrets boolean[],
    p_delta_seqs bigint[], p_delta_ns bigint[], p_delta_steps int[], p_delta_texts text[],
    p_messages text[], p_messages_at int,
    p_checkpoint_step int, p_checkpoint_messages int, p_checkpoint_state jsonb,
    p_model text, p_step_count int, p_tool_call_count int, p_input_tokens bigint,
    p_output_tokens bigint, p_cached_tokens bigint, p_cost_usd double precision,
    p_status text, p_output text, p_error jsonb,
    p_call_ids uuid[], p_call_steps int[], p_call_tools text[], p_call_effects text[],
    p_call_statuses text[], p_settled_ids uuid[], p_settled_statuses text[],
    out outcome text, out frees_another boolean)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    v_before bigint;
    v_agent text;
begin
    perform set_tenant(p_org, p_user, p_project);
    frees_another := false;
    update runs
    set last_seq = last_seq + cardinality(p_event_types),
        model = coalesce(p_model, model),
        step_count = coalesce(p_step_count, step_count),
        tool_call_count = coalesce(p_tool_call_count, tool_call_count),
        input_tokens = coalesce(p_input_tokens, input_tokens),
        output_tokens = coalesce(p_output_tokens, output_tokens),
        cached_tokens = coalesce(p_cached_tokens, cached_tokens),
        cost_usd = coalesce(p_cost_usd, cost_usd),
        attempts = case when p_checkpoint_step is null then attempts else 0 end,
        status = coalesce(p_status, status),
        output = coalesce(p_output, output),
        error = coalesce(p_error, error),
        ended_at = case when p_status is not null then clock_timestamp() end
    where org_id = p_org and run_id = p_run and epoch = p_epoch and status = 'running'
      and (cancel_requested_by is null or p_status = 'cancelled')
    returning last_seq - cardinality(p_event_types), agent_id into v_before, v_agent;
    if not found then
        select case when epoch = p_epoch and status = 'running' and cancel_requested_by is not null
                    then 'cancel_requested' else 'lease_lost' end
        into outcome
        from runs where org_id = p_org and run_id = p_run;
        outcome := coalesce(outcome, 'lease_lost');
        return;
    end if;
    if cardinality(p_event_types) > 0 then
        insert into events (org_id, run_id, seq, epoch, agent_id, step, span_id, parent_span_id,
                            type, payload, contains_secrets)
        select p_org, p_run, v_before + e.place, p_epoch, v_agent, e.step, e.span_id,
               e.parent_span_id, e.type, e.payload::jsonb, e.contains_secrets
        from unnest(p_event_types, p_event_steps, p_event_spans, p_event_parents, p_event_payloads,
                    p_event_secrets)
             with ordinality
             as e (type, step, span_id, parent_span_id, payload, contains_secrets, place);
    end if;
    if cardinality(p_delta_seqs) > 0 then
        insert into run_deltas (org_id, run_id, seq, n, step, text)
        select p_org, p_run, d.seq, d.n, d.step, d.text
        from unnest(p_delta_seqs, p_delta_ns, p_delta_steps, p_delta_texts)
             as d (seq, n, step, text);
    end if;
    if cardinality(p_messages) > 0 then
        insert into run_messages (org_id, run_id, position, message)
        select p_org, p_run, p_messages_at + m.place - 1, m.message::jsonb
        from unnest(p_messages) with ordinality as m (message, place)
        on conflict (org_id, run_id, position) do update set message = excluded.message;
    end if;
    if p_checkpoint_step is not null then
        insert into checkpoints (org_id, run_id, step, agent_id, message_count, state)
        values (p_org, p_run, p_checkpoint_step, v_agent, p_checkpoint_messages,
                p_checkpoint_state);
    end if;
    if cardinality(p_call_ids) > 0 then
        insert into tool_calls (org_id, run_id, call_id, step, tool, effect, status, epoch,
                                settled_at)
        select p_org, p_run, c.call_id, c.step, c.tool, c.effect, c.status, p_epoch,
               case when c.status <> 'intent' then clock_timestamp() end
        from unnest(p_call_ids, p_call_steps, p_call_tools, p_call_effects, p_call_statuses)
             as c (call_id, step, tool, effect, status);
    end if;
    if cardinality(p_settled_ids) > 0 then
        update tool_calls t set status = s.status, settled_at = clock_timestamp()
        from unnest(p_settled_ids, p_settled_statuses) as s (call_id, status)
        where t.org_id = p_org and t.run_id = p_run and t.call_id = s.call_id;
    end if;
    if p_status is not null then
        frees_another := leave_queue(p_org, p_run);
    end if;
    outcome := 'written';
end $$;
