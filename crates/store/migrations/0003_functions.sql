-- Completed runs that are to be remembered: taken, handed back, dropped, and what they leave. `commit_entry`
-- notes them.

-- Takes runs to remember, for `p_hold_s`: the oldest of each organisation in its turn, among those
-- behind `p_after`, as `claim_runs` does. What was taken before and is held no more comes again,
-- `p_tries_max` times in all. Of task and answer come the first `p_chars`.
create or replace function claim_to_remember(
    p_most int, p_hold_s double precision, p_tries_max int, p_after text, p_chars int)
returns table (
    org_id text, user_id text, project_id text, run_id uuid, tries int, session_key text,
    agent_id text, input text, output text, llm_config jsonb, limits jsonb, timezone text,
    step_count int, input_tokens bigint, output_tokens bigint, reasoning_tokens bigint,
    cached_tokens bigint, cost_usd double precision, ended_at timestamptz, served_last text)
language plpgsql security definer set search_path = ''
set plan_cache_mode = force_generic_plan set enable_seqscan = off
set enable_hashjoin = off set enable_mergejoin = off as $$
#variable_conflict use_column
declare
    v_now timestamptz := clock_timestamp();
    v_orgs text[] := '{}';
    v_runs uuid[] := '{}';
    v_at text := p_after;
    v_is_round boolean := false;
    v_is_over boolean := false;
    v_window text[];
begin
    while not v_is_over and cardinality(v_runs) < p_most loop
        v_window := '{}';
        while cardinality(v_window) < p_most loop
            select n.org_id into v_at from public.runs_to_remember n
            where n.org_id > v_at
            order by n.org_id
            limit 1;
            v_is_over := v_is_round and (v_at is null or v_at > p_after);
            exit when v_is_over;
            if v_at is null then
                v_is_round := true;
                v_at := '';
                continue;
            end if;
            v_window := v_window || v_at;
        end loop;
        with waiting as (
            select c.row_place, o.place,
                   row_number() over (partition by o.place order by c.run_id) as turn
            from unnest(v_window) with ordinality as o (org_id, place)
            cross join lateral (
                select n.run_id, n.ctid as row_place from public.runs_to_remember n
                where n.org_id = o.org_id and n.tries < p_tries_max
                  and (n.held_until is null or n.held_until < v_now)
                order by n.run_id
                limit p_most
            ) c
        ), ready as (
            select n.org_id, n.run_id, w.turn, w.place
            from (select * from waiting order by turn, place) w
            join public.runs_to_remember n on n.ctid = w.row_place
            where n.held_until is null or n.held_until < v_now
            order by w.turn, w.place
            limit p_most - cardinality(v_runs)
            for update of n skip locked
        )
        select v_orgs || array_agg(r.org_id order by r.turn, r.place),
               v_runs || array_agg(r.run_id order by r.turn, r.place)
        into v_orgs, v_runs from ready r;
    end loop;
    return query
    with taken as (
        update public.runs_to_remember n
        set held_until = v_now + make_interval(secs => p_hold_s), tries = n.tries + 1
        from unnest(v_orgs, v_runs) as c (org_id, run_id)
        where n.org_id = c.org_id and n.run_id = c.run_id
        returning n.org_id, n.run_id, n.tries
    )
    select r.org_id, r.user_id, r.project_id, r.run_id, t.tries, r.session_key, r.agent_id,
           left(r.input, p_chars), left(r.output, p_chars), r.llm_config, r.limits, r.timezone,
           r.step_count, r.input_tokens,
           r.output_tokens, r.reasoning_tokens, r.cached_tokens, r.cost_usd, r.ended_at,
           v_orgs[cardinality(v_orgs)]
    from taken t join public.runs r using (org_id, run_id)
    where r.status = 'completed';
end $$;

-- Hands back runs that were taken and not done: this does not count as a try.
create or replace function release_to_remember(p_orgs text[], p_runs uuid[], p_tries int[]) returns void
language sql security definer set search_path = ''
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
    update public.runs_to_remember n
    set held_until = null, tries = n.tries - 1
    from unnest(p_orgs, p_runs, p_tries) as l (org_id, run_id, tries)
    where n.org_id = l.org_id and n.run_id = l.run_id and n.tries = l.tries
$$;

-- Drops runs that waited too long, failed too often, or are more than `p_most_per_org` of one
-- organisation (its oldest); returns how many.
create or replace function forget_to_remember(
    p_kept_s double precision, p_tries_max int, p_most_per_org int) returns bigint
language plpgsql security definer set search_path = ''
set plan_cache_mode = force_generic_plan as $$
declare
    v_now timestamptz := clock_timestamp();
    v_org text;
    v_bound uuid;
    v_gone bigint;
    v_sum bigint;
begin
    delete from public.runs_to_remember n
    where n.noted_at < v_now - make_interval(secs => p_kept_s)
       or (n.tries >= p_tries_max and n.held_until < v_now);
    get diagnostics v_sum = row_count;
    loop
        select n.org_id into v_org from public.runs_to_remember n
        where v_org is null or n.org_id > v_org
        order by n.org_id
        limit 1;
        exit when not found;
        select n.run_id into v_bound from public.runs_to_remember n
        where n.org_id = v_org
        order by n.run_id desc
        offset p_most_per_org
        limit 1;
        if found then
            delete from public.runs_to_remember n where n.org_id = v_org and n.run_id <= v_bound;
            get diagnostics v_gone = row_count;
            v_sum := v_sum + v_gone;
        end if;
    end loop;
    return v_sum;
end $$;

-- What runs knew before they answered: the core memories of their scopes, as far as `p_core_chars` and
-- `p_core_max` reach, and the events that say what was recalled, or are calls of `p_tools`, the first
-- `p_events_max` of each run. `p_scopes`: objects with the names of the columns of a scope, and its `runs`;
-- `place` is the place of the scope there.
create or replace function known_to_runs(
    p_scopes jsonb, p_tools text[], p_events_max bigint, p_core_chars bigint, p_core_max bigint)
returns table (place bigint, core text, run_id uuid, type text, payload jsonb)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off
set enable_hashjoin = off set enable_mergejoin = off as $$
#variable_conflict use_column
declare
    v_scope record;
begin
    for v_scope in
        select s.* from rows from (jsonb_to_recordset(p_scopes) as (
                            org_id text, user_id text, project_id text, runs uuid[]))
             with ordinality as s (org_id, user_id, project_id, runs, place)
    loop
        perform set_tenant(v_scope.org_id, v_scope.user_id, v_scope.project_id);
        return query
        select v_scope.place, c.text, null::uuid, null::text, null::jsonb
        from core_memories(v_scope.org_id, v_scope.user_id, v_scope.project_id, p_core_chars, p_core_max) c;
        return query
        select v_scope.place, null::text, r.run_id, e.type, e.payload
        from unnest(v_scope.runs) as asked (run_id)
        join runs r
            on r.org_id = v_scope.org_id and r.user_id = v_scope.user_id
               and r.project_id = v_scope.project_id and r.run_id = asked.run_id
        cross join lateral (
            select f.type, f.payload from events f
            where f.org_id = r.org_id and f.run_id = r.run_id
              and (f.type = 'memory.recalled'
                   or f.type in ('tool.called', 'tool.result') and f.payload ->> 'tool' = any(p_tools))
            order by f.seq
            limit p_events_max
        ) e;
    end loop;
end $$;

-- The beginnings of memories that scopes see. `p_scopes`: objects with the names of the columns of a scope,
-- and the `memories` that are asked for.
create or replace function texts_of_memories(p_scopes jsonb, p_chars int)
returns table (memory_id uuid, text text)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off
set enable_hashjoin = off set enable_mergejoin = off as $$
#variable_conflict use_column
declare
    v_scope record;
begin
    for v_scope in
        select s.* from jsonb_to_recordset(p_scopes)
             as s (org_id text, user_id text, project_id text, memories uuid[])
    loop
        perform set_tenant(v_scope.org_id, v_scope.user_id, v_scope.project_id);
        return query
        select m.memory_id, left(m.text, p_chars)
        from unnest(v_scope.memories) as asked (memory_id)
        join memories m on m.org_id = v_scope.org_id and m.memory_id = asked.memory_id
        where (m.user_id, m.project_id) in (
            (v_scope.user_id, v_scope.project_id), (v_scope.user_id, '*'), ('*', '*'));
    end loop;
end $$;

-- Writes what runs leave in memory, perhaps nothing, and deletes their notes, all or none: only one caller
-- succeeds with a run. Says of each memory whether it is new. `p_scopes`: objects with the names of the
-- columns of a scope, its `runs`, and their `memories` in order: the names of the columns of a memory, its
-- `parent_id`, and its `chunks` as `insert_memory_chunks` takes them.
--
-- A memory with the text and layer of one that is there is not written again; if a run wrote that one, it
-- moves to the later time. One of a group stands behind all that are there. Callers name scopes in one
-- order, so that none waits for another that waits for it.
create or replace function remember_runs(p_scopes jsonb, p_embeddings vector[])
returns table (run_id uuid, is_new boolean)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off
set enable_hashjoin = off set enable_mergejoin = off as $$
#variable_conflict use_column
declare
    v_scope record;
    v_new record;
    v_same record;
    v_runs uuid[];
    v_memory uuid;
    v_parent uuid;
    v_position int;
begin
    for v_scope in
        select s.* from jsonb_to_recordset(p_scopes)
             as s (org_id text, user_id text, project_id text, runs uuid[], memories jsonb)
    loop
        perform set_tenant(v_scope.org_id, v_scope.user_id, v_scope.project_id);
        with noted as (
            delete from runs_to_remember n using runs r
            where n.org_id = v_scope.org_id and n.run_id = any(v_scope.runs)
              and r.org_id = n.org_id and r.run_id = n.run_id
              and r.user_id = v_scope.user_id and r.project_id = v_scope.project_id
            returning n.run_id
        )
        select array_agg(n.run_id) into v_runs from noted n;
        continue when v_runs is null or jsonb_array_length(v_scope.memories) = 0;
        perform lock_memories(v_scope.org_id, v_scope.user_id, v_scope.project_id);
        for v_new in
            select m.* from jsonb_to_recordset(v_scope.memories)
                 as m (memory_id uuid, type text, text text, text_hash bytea, metadata jsonb,
                       importance real, group_key text, occurred_at timestamptz,
                       occurred_offset_s int, run_id uuid, step int, parent_id uuid, chunks jsonb)
            where m.run_id = any(v_runs)
        loop
            v_memory := v_new.memory_id;
            v_parent := v_new.parent_id;
            v_position := null;
            select m.memory_id,
                   m.run_id is not null and not m.occurred_on_day
                       and m.occurred_at < v_new.occurred_at as moves,
                   (m.occurred_at at time zone 'utc' + m.occurred_offset_s * interval '1 s')::date
                       <> (v_new.occurred_at at time zone 'utc'
                           + v_new.occurred_offset_s * interval '1 s')::date as is_of_another_day
            into v_same from memories m
            where m.org_id = v_scope.org_id and m.user_id = v_scope.user_id
              and m.project_id = v_scope.project_id and m.text_hash = v_new.text_hash
              and m.type = v_new.type
            order by m.created_at, m.memory_id
            limit 1;
            if v_same.memory_id is null then
                if v_new.group_key is not null then
                    -- The index of a scope's layout answers it. Those that name no place stand last.
                    select coalesce(max(c.position), -1) + 1 into v_position from memory_chunks c
                    where c.org_id = v_scope.org_id and c.user_id = v_scope.user_id
                      and c.project_id = v_scope.project_id and c.parent_id = v_parent
                      and c.position < 2147483646;
                end if;
                insert into memories (org_id, user_id, project_id, memory_id, type, text, text_hash,
                                      metadata, importance, group_key, position, occurred_at,
                                      occurred_offset_s, run_id, step, writer_user_id,
                                      writer_project_id)
                values (v_scope.org_id, v_scope.user_id, v_scope.project_id, v_memory, v_new.type,
                        v_new.text, v_new.text_hash, v_new.metadata, v_new.importance,
                        v_new.group_key, v_position, v_new.occurred_at, v_new.occurred_offset_s,
                        v_new.run_id, v_new.step, v_scope.user_id, v_scope.project_id);
            else
                update memories m
                set updated_at = clock_timestamp(),
                    occurred_at = case when v_same.moves then v_new.occurred_at
                                       else m.occurred_at end,
                    occurred_offset_s = case when v_same.moves then v_new.occurred_offset_s
                                             else m.occurred_offset_s end
                where m.org_id = v_scope.org_id and m.memory_id = v_same.memory_id
                  and m.user_id = v_scope.user_id and m.project_id = v_scope.project_id;
                if v_same.moves and v_same.is_of_another_day then
                    -- The day is among the terms.
                    v_memory := v_same.memory_id;
                    select r.parent_id, r.place into v_parent, v_position
                    from remove_memory_chunks(
                        v_scope.org_id, v_scope.user_id, v_scope.project_id, v_memory) r;
                else
                    v_memory := null;
                end if;
            end if;
            if v_memory is not null then
                perform insert_memory_chunks(
                    v_scope.org_id, v_scope.user_id, v_scope.project_id,
                    (select coalesce(jsonb_agg(c || jsonb_build_object(
                                'memory_id', v_memory, 'parent_id', v_parent,
                                'position', coalesce(v_position, 2147483647))), '[]')
                     from jsonb_array_elements(v_new.chunks) c),
                    p_embeddings);
            end if;
            return query select v_new.run_id, v_same.memory_id is null;
        end loop;
    end loop;
end $$;
-- The daily budget of an organisation: reserved before a model call, settled after it.

-- Whether a reservation still holds. For a `run`: as long as the claim is its newest and its lease
-- was not given back. To `remember` a run: as long as the try that took it holds it.
create or replace function holds_reservation(
    p_org text, p_run uuid, p_purpose text, p_claim bigint) returns boolean
language sql stable as $$
    select case p_purpose
        when 'run' then exists (
            select from queue q
            where q.org_id = p_org and q.run_id = p_run and q.epoch = p_claim
              and q.lease_until is not null)
        when 'remember' then exists (
            select from runs_to_remember n
            where n.org_id = p_org and n.run_id = p_run and n.tries = p_claim
              and n.held_until > clock_timestamp())
    end
$$;

-- Reserves what a model call may use at most, if the day's budget has room for it. Reservations of one
-- organisation wait for each other: the day's row is locked.
create or replace function reserve_usage(
    p_org text, p_user text, p_project text, p_run uuid, p_purpose text, p_claim bigint,
    p_tokens bigint, p_cost_usd double precision, p_tokens_max bigint,
    p_cost_usd_max double precision,
    out outcome text, out used_tokens bigint, out used_cost_usd double precision,
    out reserved_tokens bigint, out reserved_cost_usd double precision)
language plpgsql as $$
declare
    v_day date := (clock_timestamp() at time zone 'utc')::date;
    v_used_cost numeric;
    v_reserved_cost numeric;
begin
    perform set_tenant(p_org, p_user, p_project);
    insert into org_usage (org_id, day) values (p_org, v_day) on conflict do nothing;
    select u.input_tokens + u.output_tokens, u.cost_usd into used_tokens, v_used_cost
    from org_usage u
    where u.org_id = p_org and u.day = v_day
    for update;
    delete from usage_reservations r
    where r.org_id = p_org
      and (r.run_id = p_run or not holds_reservation(r.org_id, r.run_id, r.purpose, r.claim));
    select coalesce(sum(r.tokens), 0)::bigint, coalesce(sum(r.cost_usd), 0)
    into reserved_tokens, v_reserved_cost
    from usage_reservations r
    where r.org_id = p_org and r.day = v_day;
    used_cost_usd := v_used_cost;
    reserved_cost_usd := v_reserved_cost;
    if not holds_reservation(p_org, p_run, p_purpose, p_claim) then
        outcome := 'lease_lost';
    elsif used_tokens + reserved_tokens + p_tokens > p_tokens_max then
        outcome := 'over_tokens';
    elsif v_used_cost + v_reserved_cost + p_cost_usd::numeric > p_cost_usd_max::numeric then
        outcome := 'over_cost';
    else
        insert into usage_reservations (org_id, run_id, purpose, claim, day, tokens, cost_usd)
        values (p_org, p_run, p_purpose, p_claim, v_day, p_tokens, p_cost_usd::numeric);
        outcome := 'made';
    end if;
end $$;

-- Adds what a call has used to the day of its reservation, and releases the rest. Once: without a
-- reservation nothing is added, so that the call can be repeated.
create or replace function settle_usage(
    p_org text, p_user text, p_project text, p_run uuid, p_purpose text, p_claim bigint,
    p_input_tokens bigint, p_output_tokens bigint, p_cost_usd double precision) returns void
language plpgsql as $$
declare
    v_day date;
begin
    perform set_tenant(p_org, p_user, p_project);
    select r.day into v_day from usage_reservations r
    where r.org_id = p_org and r.run_id = p_run and r.purpose = p_purpose and r.claim = p_claim;
    -- The day's row first, as above: two that take locks in one order never wait for each other.
    perform from org_usage u where u.org_id = p_org and u.day = v_day for update;
    delete from usage_reservations r
    where r.org_id = p_org and r.run_id = p_run and r.purpose = p_purpose and r.claim = p_claim;
    if found then
        update org_usage u
        set input_tokens = u.input_tokens + p_input_tokens,
            output_tokens = u.output_tokens + p_output_tokens,
            cost_usd = u.cost_usd + p_cost_usd::numeric
        where u.org_id = p_org and u.day = v_day;
    end if;
end $$;
-- Ids that sort by the time of their creation, by the database's clock.

-- A UUIDv7. The microseconds within its millisecond stand where random bits may (RFC 9562, section
-- 6.2, method 3), so that two that are made one after the other sort so.
create or replace function new_id(p_at timestamptz) returns uuid
language sql volatile as $$
    select (lpad(to_hex((us / 1000)), 12, '0')
            || '7' || lpad(to_hex(us % 1000 * 4096 / 1000), 3, '0')
            -- The variant and 62 random bits.
            || right(replace(gen_random_uuid()::text, '-', ''), 16))::uuid
    from (select (extract(epoch from p_at) * 1000000)::bigint as us) made
$$;

-- An id as it is read outside, `<prefix>_` and the UUID in Crockford's base 32: see `protocol::id`.
create or replace function type_id(p_prefix text, p_id uuid) returns text
language sql immutable as $$
    select p_prefix || '_' || string_agg(
               substr('0123456789abcdefghjkmnpqrstvwxyz', 1 + substring(bits from place for 5)::int, 1),
               '' order by place)
    from (select b'00' || ('x' || replace(p_id::text, '-', ''))::bit(128) as bits) id,
         generate_series(1, 126, 5) as place
$$;
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
-- API keys.

-- The holder of this key, if it is valid now. The caller's organisation is not known before this
-- returns, so it reads across organisations, as the scheduler's functions do; only a holder of the
-- key can know its hash.
create or replace function find_api_key(hash bytea)
returns table (
    org_id text, key_id uuid, user_id text, project_id text, rights text[], is_touched boolean
)
language sql security definer set search_path = ''
begin atomic
    select k.org_id, k.key_id, k.user_id, k.project_id, k.rights,
           coalesce(k.last_used_at > clock_timestamp() - interval '1 minute', false)
    from api_keys k
    where k.key_hash = hash and k.revoked_at is null
      and (k.expires_at is null or k.expires_at > clock_timestamp());
end;
-- Logins of the web page.

-- The holder of this login, if it has not ended. As with `find_api_key`, the organisation is not
-- known before this returns. A key that is revoked or has expired ends its logins with it.
create or replace function find_login(hash bytea)
returns table (
    org_id text, key_id uuid, user_id text, project_id text, rights text[], signing_key text,
    expires_at timestamptz, is_touched boolean
)
language sql security definer set search_path = ''
begin atomic
    select l.org_id, k.key_id,
           case when l.key_id is null then l.user_id else k.user_id end,
           case when l.key_id is null then l.project_id else k.project_id end,
           case when l.key_id is null then l.rights else k.rights end,
           l.signing_key,
           least(l.expires_at, k.expires_at),
           coalesce(k.last_used_at > clock_timestamp() - interval '1 minute', false)
    from logins l
    left join api_keys k on k.org_id = l.org_id and k.key_id = l.key_id
    where l.login_hash = hash and l.expires_at > clock_timestamp()
      and (l.key_id is null
           or (k.revoked_at is null
               and (k.expires_at is null or k.expires_at > clock_timestamp())));
end;

create or replace function forget_logins() returns void
language sql security definer set search_path = '' as $$
    delete from public.logins where expires_at <= clock_timestamp()
$$;
-- Memories: the reads of every step, the embedder in force, and the triggers that no writer can forget.

-- What every step reads: the core memories of all homes that the scope sees, the most important
-- first, as far as `p_max_chars` of text reach.
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

-- What every step asks: how much there is to search, and whether some of it is core memory.
create or replace function memory_totals(
    p_org text, p_user text, p_project text,
    out chunk_count bigint, out term_count bigint, out has_core boolean, out now timestamptz)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
begin
    perform set_tenant(p_org, p_user, p_project);
    select coalesce(sum(s.chunk_count), 0)::bigint, coalesce(sum(s.term_count), 0)::bigint,
           clock_timestamp()
    into chunk_count, term_count, now
    from (values (p_user, p_project), (p_user, '*'), ('*', '*')) as home (user_id, project_id)
    join memory_scope_stats s
        on s.org_id = p_org and s.user_id = home.user_id and s.project_id = home.project_id;
    has_core := chunk_count > 0 and exists (
        select from (values (p_user, p_project), (p_user, '*'), ('*', '*')) as home (user_id, project_id)
        join memories c
            on c.org_id = p_org and c.user_id = home.user_id and c.project_id = home.project_id
        where c.type = 'core');
end $$;

-- A writer of a home takes its turn.
create or replace function lock_memories(p_org text, p_user text, p_project text) returns void
language sql as $$
    insert into memory_scope_stats as s (org_id, user_id, project_id)
    values (p_org, p_user, p_project)
    on conflict (org_id, user_id, project_id) do update set chunk_count = s.chunk_count
$$;

-- Inserts chunks of memories of a home with their postings and counts them. `p_chunks`: objects with the
-- names of the columns of a chunk, its `terms` with their frequencies and, as `vector`, the place of its
-- vector in `p_embeddings`: as text that would be read number by number. Vectors of another embedder than
-- the one in force are left out: it will fill them in.
create or replace function insert_memory_chunks(
    p_org text, p_user text, p_project text, p_chunks jsonb, p_embeddings vector[]) returns void
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off
set enable_hashjoin = off set enable_mergejoin = off as $$
begin
    with new as (
        select *, coalesce(embedding_model = (select embedder from memory_embedder where is_only), true)
                  as is_in_force
        from jsonb_to_recordset(p_chunks)
             as n (memory_id uuid, parent_id uuid, position int, ordinal int, chunk_text text,
                   length int, embedding_model text, vector int, terms jsonb)
    ), used as (
        update memory_embedder set is_used = true
        where is_only and not is_used and embedder in (select embedding_model from new)
    ), chunks as (
        insert into memory_chunks (org_id, user_id, project_id, memory_id, parent_id, position,
                                   ordinal, chunk_text, length, embedding, embedding_model,
                                   search_tsv)
        select p_org, p_user, p_project, memory_id, parent_id, position, ordinal, chunk_text, length,
               case when is_in_force then p_embeddings[vector] end,
               case when is_in_force then embedding_model end,
               array_to_tsvector(array(select jsonb_object_keys(terms)))
        from new
        returning chunk_id, memory_id, ordinal, length
    ), postings as (
        insert into memory_postings (org_id, user_id, project_id, term, chunk_id, frequency)
        select p_org, p_user, p_project, t.term, chunk_id, t.frequency::int
        from new join chunks using (memory_id, ordinal)
        cross join lateral jsonb_each_text(new.terms) as t (term, frequency)
    )
    update memory_scope_stats
    set chunk_count = chunk_count + (select count(*) from chunks),
        term_count = term_count + (select coalesce(sum(length), 0) from chunks)
    where org_id = p_org and user_id = p_user and project_id = p_project;
end $$;

-- Removes the chunks of a memory with their postings and counts, and answers where they stood.
create or replace function remove_memory_chunks(
    p_org text, p_user text, p_project text, p_memory uuid, out parent_id uuid, out place int)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
begin
    with chunks as (
        delete from memory_chunks
        where org_id = p_org and user_id = p_user and project_id = p_project and memory_id = p_memory
        returning length, parent_id, position
    ), stats as (
        update memory_scope_stats
        set chunk_count = chunk_count - (select count(*) from chunks),
            term_count = term_count - (select coalesce(sum(length), 0) from chunks)
        where org_id = p_org and user_id = p_user and project_id = p_project
    )
    select c.parent_id, c.position into parent_id, place from chunks c limit 1;
end $$;

-- Scopes with chunks to embed, of all tenants, those after a scope in the order of their names:
-- those with chunks that have no vector or, with `p_all`, all.
create or replace function scopes_to_embed(
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
        -- Reads `memory_chunks_without_vector`, which is empty most of the time.
        return query
        select distinct c.org_id, c.user_id, c.project_id from public.memory_chunks c
        where c.embedding is null
          and (p_org is null or (c.org_id, c.user_id, c.project_id) > (p_org, p_user, p_project))
        order by c.org_id, c.user_id, c.project_id
        limit p_limit;
    end if;
end $$;

-- The embedder in force: the one that is recorded, if it is in use or about to be, since a worker is
-- alive. Otherwise another may take its place.
create or replace function embedder_in_force(p_lock_class int) returns text
language sql stable as $$
    select embedder from memory_embedder
    where is_used or exists (
        select from pg_locks l
        where l.locktype = 'advisory' and l.granted and l.objsubid = 2
          and l.database = (select oid from pg_database where datname = current_database())
          and l.classid = p_lock_class::oid)
$$;

-- Records `p_embedder` if no other is in force; returns the other if one is. Concurrent callers wait.
create or replace function adopt_embedder(p_embedder text, p_lock_class int) returns text
language plpgsql as $$
declare
    v_other text;
begin
    insert into memory_embedder (embedder) values (p_embedder) on conflict do nothing;
    perform from memory_embedder for update;
    v_other := nullif(embedder_in_force(p_lock_class), p_embedder);
    if v_other is null then
        update memory_embedder set embedder = p_embedder where embedder <> p_embedder;
    end if;
    return v_other;
end $$;

-- The generation of a home changes with its chunks. A trigger, so that no way to write can forget it:
-- chunks are added and removed with their counts.
create or replace function raise_memory_generation() returns trigger language plpgsql as $$
begin
    new.generation := greatest(
        old.generation + 1, (extract(epoch from clock_timestamp()) * 1000000)::bigint);
    return new;
end $$;

-- When a text is changed or moved, in whatever way, the links that were found for the old one, among
-- the memories of its home, are void.
create or replace function drop_memory_links() returns trigger
language plpgsql as $$
begin
    delete from memory_links l
    where l.org_id = old.org_id and l.user_id = old.user_id and l.project_id = old.project_id
      and l.from_id = old.memory_id;
    delete from memory_links l
    where l.org_id = old.org_id and l.user_id = old.user_id and l.project_id = old.project_id
      and l.to_id = old.memory_id;
    return null;
end $$;

-- Postings go with their chunks, in whatever way these go. A trigger and no foreign key, which would look
-- for the chunk of each posting that is inserted: there are some thirty of a chunk, written beside it.
create or replace function drop_memory_postings() returns trigger
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
begin
    delete from memory_postings p using gone g
    where p.org_id = g.org_id and p.chunk_id = g.chunk_id;
    return null;
end $$;

create or replace trigger postings_of_chunks after delete on memory_chunks
    referencing old table as gone
    for each statement execute function drop_memory_postings();

create or replace trigger raise_generation before update on memory_scope_stats
    for each row
    -- Not where a writer only takes its turn.
    when ((old.chunk_count, old.term_count) is distinct from (new.chunk_count, new.term_count))
    execute function raise_memory_generation();

create or replace trigger memory_links_of_a_text after update on memories
    for each row when ((old.text_hash, old.user_id, old.project_id)
                       is distinct from (new.text_hash, new.user_id, new.project_id))
    execute function drop_memory_links();
-- Retention: the deletion of old rows, over all tenants.

-- Removes from `p_table` the rows of runs that ended and were created before `p_before`, a batch at
-- a time; returns the number of runs. Walks the primary key, which begins with `org_id, run_id`.
create or replace function forget_runs(p_table text, p_before timestamptz, p_batch int) returns int
language plpgsql security definer set search_path = '' as $$
declare
    -- The first 48 bits of a run's id are its time in milliseconds (RFC 9562, version 7).
    v_bound uuid := (lpad(to_hex((extract(epoch from p_before) * 1000)::bigint), 12, '0')
                     || repeat('0', 20))::uuid;
    v_org text;
    v_run uuid;
    v_done int := 0;
begin
    if p_table not in ('runs', 'events', 'checkpoints', 'run_messages', 'tool_calls') then
        raise exception 'nothing is forgotten from %', p_table;
    end if;
    loop
        execute format(
            'select org_id from public.%I where $1::text is null or org_id > $1
             order by org_id limit 1', p_table) into v_org using v_org;
        exit when v_org is null;
        v_run := null;
        loop
            execute format(
                'select run_id from public.%I
                 where org_id = $1 and run_id < $2 and ($3::uuid is null or run_id > $3)
                 order by run_id limit 1', p_table) into v_run using v_org, v_bound, v_run;
            exit when v_run is null;
            if exists (select from public.runs r
                       where r.org_id = v_org and r.run_id = v_run and r.ended_at is null) then
                continue;
            end if;
            execute format('delete from public.%I where org_id = $1 and run_id = $2', p_table)
                using v_org, v_run;
            v_done := v_done + 1;
            if v_done >= p_batch then
                return v_done;
            end if;
        end loop;
    end loop;
    return v_done;
end $$;

-- Removes up to `p_most` deltas, the oldest first; returns how many. A delta is void once the event
-- after it is old: until then its step may be live.
create or replace function forget_deltas(p_kept_s double precision, p_most int) returns bigint
language plpgsql security definer set search_path = ''
set plan_cache_mode = force_generic_plan set enable_seqscan = off
set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    v_before timestamptz := clock_timestamp() - make_interval(secs => p_kept_s);
    v_gone bigint;
begin
    perform set_config('synchronous_commit', 'off', true);
    with void as (
        select d.ctid as row_place from public.run_deltas d
        where d.created_at < v_before
          and exists (select from public.events e
                      where e.org_id = d.org_id and e.run_id = d.run_id and e.seq = d.seq + 1
                        and e.ts < v_before)
        order by d.created_at
        limit p_most
    )
    delete from public.run_deltas d using void where d.ctid = void.row_place;
    get diagnostics v_gone = row_count;
    return v_gone;
end $$;

create or replace function forget_idempotency_keys(p_kept_s double precision) returns void
language sql security definer set search_path = '' as $$
    delete from public.idempotency_keys
    where created_at < clock_timestamp() - make_interval(secs => p_kept_s)
$$;
-- What runs used, for operators.

-- Usage of a scope or, without user and project, of an organisation: of the runs that were created
-- between two times, which their ids say (see `new_id`), a row for each hour or day and name, newest
-- first. Runs without a model (no worker has begun them) have the empty name, as those without a project.
create or replace function usage_rows(
    p_org text, p_user text, p_project text, p_first uuid, p_end uuid, p_per text, p_by text,
    p_most int)
returns table (
    at timestamptz, name text, runs bigint, failed bigint, input_tokens bigint,
    output_tokens bigint, reasoning_tokens bigint, cached_tokens bigint,
    cost_usd double precision, p50_ms double precision, p95_ms double precision)
language sql stable set search_path = '' as $$
    select date_trunc(p_per, r.created_at, 'UTC') as at, k.name, count(*),
           count(*) filter (where r.status = 'failed'),
           sum(r.input_tokens)::bigint, sum(r.output_tokens)::bigint,
           sum(r.reasoning_tokens)::bigint, sum(r.cached_tokens)::bigint, sum(r.cost_usd),
           percentile_disc(0.5) within group (order by d.ms) filter (where d.ms is not null),
           percentile_disc(0.95) within group (order by d.ms) filter (where d.ms is not null)
    from public.runs r
    cross join lateral (
        select case p_by when 'model' then coalesce(r.model, '') when 'agent' then r.agent_id
                         when 'user' then r.user_id when 'project' then r.project_id end as name
    ) k
    cross join lateral (
        select (extract(epoch from r.ended_at - r.started_at) * 1000)::double precision as ms
    ) d
    where r.org_id = p_org and r.run_id >= p_first and r.run_id < p_end
      and (p_user is null or r.user_id = p_user and r.project_id = p_project)
    group by 1, 2
    order by 1 desc, 2
    limit p_most
$$;

-- The usage of a whole organisation: its administrators see what no single scope does.
create or replace function organisation_usage(
    p_org text, p_first uuid, p_end uuid, p_per text, p_by text, p_most int)
returns table (
    at timestamptz, name text, runs bigint, failed bigint, input_tokens bigint,
    output_tokens bigint, reasoning_tokens bigint, cached_tokens bigint,
    cost_usd double precision, p50_ms double precision, p95_ms double precision)
language sql stable security definer set search_path = '' as $$
    select * from public.usage_rows(p_org, null, null, p_first, p_end, p_per, p_by, p_most)
$$;
-- Turns at a provider whose limits all nodes share.

-- Which of these calls may be made now; the calls of an organisation stand in their order.
--
-- Two clocks say when the next call may be made, one for requests and one for tokens: each call moves
-- them on by what it takes of a minute. A pause is made up for by half a second's worth, so that no
-- minute has more than that beyond its limit.
--
-- Organisations are served by start-time fair queueing (Goyal, Vin and Cheng 1996): a call starts
-- where the organisation's last one has ended, or, after a pause, where the provider is; the lowest
-- start is first, and what a call takes is its larger part of the two limits. Another node may hold
-- the one that is first: its organisation is waited for, but for a quarter of a second's worth, since
-- nodes ask one after another. A node that asks no more is forgotten after a second.
create or replace function take_turns(
    p_provider text, p_requests_per_minute bigint, p_tokens_per_minute bigint, p_orgs text[],
    p_tokens bigint[], p_unpaid_requests bigint, p_unpaid_tokens bigint)
returns table (granted bigint[], ask_again_s double precision)
language plpgsql security definer set search_path = '' as $$
#variable_conflict use_column
declare
    v_request_s double precision := coalesce(60.0 / p_requests_per_minute, 0);
    v_token_s double precision := coalesce(60.0 / p_tokens_per_minute, 0);
    v_now timestamptz;
    -- Seconds until the next call, by the two clocks.
    v_requests_in double precision;
    v_tokens_in double precision;
    v_served_s double precision;
    -- The lowest start of those that wait elsewhere.
    v_others_s double precision;
    v_granted bigint[];
    v_tokens bigint;
    v_last_s double precision;
begin
    insert into public.provider_turns (provider) values (p_provider) on conflict do nothing;
    perform from public.provider_turns t where t.provider = p_provider for update;
    v_now := clock_timestamp(); -- Behind the lock, which may have been waited for.
    select greatest(extract(epoch from t.requests_at - v_now), -0.5) + p_unpaid_requests * v_request_s,
           greatest(extract(epoch from t.tokens_at - v_now), -0.5) + p_unpaid_tokens * v_token_s,
           t.served_s
    into v_requests_in, v_tokens_in, v_served_s
    from public.provider_turns t where t.provider = p_provider;

    select min(s.used_s) into v_others_s from public.provider_shares s
    where s.provider = p_provider and s.waits_until > v_now and s.org_id <> all (p_orgs);

    insert into public.provider_shares as s (provider, org_id, used_s, waits_until)
    select distinct p_provider, o.org_id, v_served_s, v_now + interval '1 second'
    from unnest(p_orgs) as o (org_id)
    on conflict (org_id, provider) do update
    set used_s = case when s.waits_until > v_now then s.used_s
                      else greatest(s.used_s, excluded.used_s) end,
        waits_until = excluded.waits_until;

    with call as (
        select c.place, c.org_id, c.tokens,
               greatest(v_request_s, c.tokens * v_token_s) as takes_s
        from unnest(p_orgs, p_tokens) with ordinality as c (org_id, tokens, place)
    ), started as (
        select c.place, c.tokens,
               s.used_s + sum(c.takes_s) over (partition by c.org_id order by c.place) - c.takes_s
                   as start_s
        from call c
        join public.provider_shares s on s.provider = p_provider and s.org_id = c.org_id
    ), queued as (
        select c.place, c.tokens, c.start_s,
               row_number() over (order by c.start_s, c.place) - 1 as requests_before,
               sum(c.tokens) over (order by c.start_s, c.place) - c.tokens as tokens_before
        from started c
    )
    select coalesce(array_agg(c.place order by c.place), '{}'), coalesce(sum(c.tokens), 0)::bigint,
           max(c.start_s)
    into v_granted, v_tokens, v_last_s
    from queued c
    where v_requests_in + c.requests_before * v_request_s <= 0
      and v_tokens_in + c.tokens_before * v_token_s <= 0
      and c.start_s <= coalesce(v_others_s + 0.25, c.start_s);

    update public.provider_shares s
    set used_s = s.used_s + o.takes_s,
        -- It waits on if it has more than it was given.
        waits_until = case when o.granted < o.calls then s.waits_until else v_now end
    from (
        select c.org_id, count(*) as calls, count(*) filter (where c.place = any (v_granted)) as granted,
               coalesce(sum(greatest(v_request_s, c.tokens * v_token_s))
                   filter (where c.place = any (v_granted)), 0) as takes_s
        from unnest(p_orgs, p_tokens) with ordinality as c (org_id, tokens, place)
        group by c.org_id
    ) o
    where s.provider = p_provider and s.org_id = o.org_id;

    v_requests_in := v_requests_in + cardinality(v_granted) * v_request_s;
    v_tokens_in := v_tokens_in + v_tokens * v_token_s;
    update public.provider_turns t
    set requests_at = v_now + make_interval(secs => v_requests_in),
        tokens_at = v_now + make_interval(secs => v_tokens_in),
        served_s = greatest(t.served_s, coalesce(v_last_s, 0))
    where t.provider = p_provider;

    return query select v_granted, greatest(v_requests_in, v_tokens_in, 0);
end $$;

-- Forgets organisations that have not waited for an hour: they would begin where the provider is.
create or replace function forget_turns() returns void
language sql security definer set search_path = '' as $$
    delete from public.provider_shares s
    where s.waits_until < clock_timestamp() - interval '1 hour'
$$;
-- Claiming runs and keeping their leases, over all tenants.

-- What a worker may do with a run, judged before anything of it is read. `p_attempts`: workers that
-- were lost with it since its last completed step.
create or replace function claim_verdict(
    p_attempts int, p_attempts_max int, p_suspect_at int, p_cancelled_by text) returns text
language sql immutable as $$
    select case when p_cancelled_by is not null then 'cancel'
                when p_attempts >= p_attempts_max then 'give_up'
                when p_attempts >= p_suspect_at then 'execute_alone'
                else 'execute' end
$$;

-- How many workers may be lost with a run. Where workers die of something else, a run loses some by
-- chance: so many more are borne as were lost of late with no run that has become a suspect.
create or replace function attempts_borne(p_attempts_max int, p_suspect_at int, p_now timestamptz)
returns int
language sql stable set search_path = '' as $$
    with lost as (
        select l.node, l.run_id, l.attempts from public.lost_leases l
        where l.lost_at > p_now - interval '1 minute'
    )
    select p_attempts_max + count(*)::int from (
        select from lost group by lost.node
        having not bool_or(lost.run_id in (
            select s.run_id from lost s
            where s.attempts >= least(p_suspect_at, p_attempts_max - 1)))) otherwise
$$;

-- Claims runs: those whose lease ran out, then ready ones, each organisation in its turn and none
-- beyond `p_running_max` at once, if that is given.
--
-- Of the places of all workers that others leave, an organisation leaves one in `p_places_per_kept`
-- free: a run cannot be stopped for another, so the next organisation to come must find a place.
--
-- Turns are given among the organisations that stand behind `p_after` in the order of their names,
-- and then from the first one on: among as many as runs are wanted, `p_orgs_min` at least, and
-- further ones only when these have nothing more to give. So a claim costs the same however many
-- organisations wait, and takes less than `p_most` only after it has been all the way round. The one
-- that was served last is in each row, for the next claim to begin behind.
--
-- A run that lost several workers in a row may be what kills them. A worker that holds nothing claims
-- one such run and nothing else. Others leave it; and so that one of them comes to hold nothing, the
-- one with the lowest name claims nothing while such a run waits. It is given up when it has lost more
-- workers than are being lost anyway.
--
-- The run's row is locked together with the queue's, in one order and without waiting, so that a
-- claim never deadlocks with the end of a run.
--
-- It takes few rows of large tables, whatever the planner believes of them: only nested loops over
-- keys do not read all of them; a run is looked up for a row of the queue, never the other way round;
-- and a row that was chosen is found again by its place in the table.
create or replace function claim_runs(
    p_node uuid, p_most int, p_lease_s double precision, p_running_max int, p_attempts_max int,
    p_suspect_at int, p_after text, p_orgs_min int, p_places_per_kept int, p_silent_s double precision)
returns table (
    org_id text, run_id uuid, user_id text, project_id text, session_key text, agent_id text,
    epoch bigint, last_seq bigint, attempts int, input text, llm_config jsonb, limits jsonb,
    timezone text, response_format text, created_at timestamptz, step_count int, tool_call_count int, input_tokens bigint,
    output_tokens bigint, reasoning_tokens bigint, cached_tokens bigint, cost_usd double precision,
    written_bytes bigint, verdict text, rescued boolean, elapsed_s double precision,
    has_turns boolean, turns_before uuid, parent_run_id uuid, forked_from_step int,
    input_follows boolean, served_last text)
language plpgsql security definer set search_path = ''
set plan_cache_mode = force_generic_plan set enable_seqscan = off
set enable_hashjoin = off set enable_mergejoin = off as $$
#variable_conflict use_column
declare
    v_now timestamptz := clock_timestamp();
    v_suspect boolean := false;
    v_alone boolean := false;
    -- How many workers may be lost with a run; worked out where a run may have lost so many.
    v_attempts_max int;
    -- What is claimed: the rescued runs, then the others in the order of their turns.
    v_orgs text[] := '{}';
    v_runs uuid[] := '{}';
    v_rescued int := 0;
    -- Who held the rescued runs.
    v_lost uuid[];
    -- Runs in hand, by organisation, and how many more the workers can take: any number before the
    -- first of them has reported.
    v_held jsonb;
    v_free int;
    -- Where the walk stands, whether it has begun again at the first name, and whether it is over.
    v_at text := p_after;
    v_is_round boolean := false;
    v_is_over boolean := false;
    v_available_at timestamptz;
    v_in_hand int;
    -- The organisations among which turns are given, what each has in hand, and what it may have.
    v_window text[];
    v_window_held int[];
    v_window_max int[];
    v_most int;
begin
    if exists (select from public.queue q where q.lease_until < v_now) then
        v_attempts_max := public.attempts_borne(p_attempts_max, p_suspect_at, v_now);
        v_suspect := exists (
            select from public.queue q
            where q.lease_until < v_now and 'execute_alone' = (
                select public.claim_verdict(r.attempts + 1, v_attempts_max, p_suspect_at,
                                            r.cancel_requested_by)
                from public.runs r where r.org_id = q.org_id and r.run_id = q.run_id));
        v_alone := v_suspect and not exists (
            select from public.queue q where q.lease_until >= v_now and q.lease_owner = p_node);
        if v_suspect and not v_alone and p_node = (
            select q.lease_owner from public.queue q where q.lease_until >= v_now
            order by q.lease_owner limit 1)
        then
            return;
        end if;
        with expired as (
            select q.org_id, q.run_id, q.lease_owner
            from public.queue q join public.runs r using (org_id, run_id)
            where q.lease_until < v_now
              and v_alone = (public.claim_verdict(r.attempts + 1, v_attempts_max, p_suspect_at,
                                                  r.cancel_requested_by) = 'execute_alone')
            order by q.lease_until
            limit case when v_alone then 1 else p_most end
            for update of q, r skip locked
        )
        select coalesce(array_agg(e.org_id), '{}'), coalesce(array_agg(e.run_id), '{}'),
               array_agg(e.lease_owner)
        into v_orgs, v_runs, v_lost from expired e;
        v_rescued := cardinality(v_runs);
        if v_rescued > 0 then
            insert into public.lost_leases (lost_at, run_id, node, attempts)
            select v_now, r.run_id, l.node, r.attempts + 1
            from unnest(v_orgs, v_runs, v_lost) as l (org_id, run_id, node)
            join public.runs r on r.org_id = l.org_id and r.run_id = l.run_id;
        end if;
    end if;
    if not v_alone and v_rescued < p_most then
        select jsonb_object_agg(h.org_id, h.runs),
               greatest(p_most, coalesce((
                   select sum(n.concurrency) from public.nodes n
                   where n.seen_at > v_now - make_interval(secs => p_silent_s)
               ), 1000000000) - coalesce(sum(h.runs), 0))
        into v_held, v_free
        from (select q.org_id, count(*) as runs from public.queue q
              where q.lease_until >= v_now
              group by q.org_id) h;
    end if;
    while not v_alone and not v_is_over and cardinality(v_runs) < p_most loop
        v_window := '{}';
        v_window_held := '{}';
        v_window_max := '{}';
        while cardinality(v_window) < greatest(p_most, p_orgs_min) loop
            select q.org_id, q.available_at into v_at, v_available_at
            from public.queue q
            where q.lease_until is null and not q.blocked and q.org_id > v_at
            order by q.org_id, q.available_at
            limit 1;
            v_is_over := v_is_round and (v_at is null or v_at > p_after);
            exit when v_is_over;
            if v_at is null then
                v_is_round := true;
                v_at := '';
                continue;
            end if;
            v_in_hand := coalesce((v_held ->> v_at)::int, 0);
            v_most := v_free + v_in_hand;
            v_most := least(p_running_max, v_most - v_most / p_places_per_kept);
            if v_available_at <= v_now and v_in_hand < v_most then
                v_window := v_window || v_at;
                v_window_held := v_window_held || v_in_hand;
                v_window_max := v_window_max || v_most;
            end if;
        end loop;
        exit when v_window = '{}';
        with waiting as (
            select c.org_id, c.run_id, c.row_place, o.place, o.most,
                   o.in_hand + row_number() over (
                       partition by o.place order by c.available_at, c.run_id) as turn
            from unnest(v_window, v_window_held, v_window_max)
                 with ordinality as o (org_id, in_hand, most, place)
            cross join lateral (
                select q.org_id, q.run_id, q.ctid as row_place, q.available_at
                from public.queue q
                where q.org_id = o.org_id and q.lease_until is null and not q.blocked
                  and q.available_at <= v_now
                order by q.available_at
                limit p_most
            ) c
        ), ready as (
            select q.org_id, q.run_id, w.turn, w.place
            from (select * from waiting where turn <= most order by turn, place) w
            join public.queue q on q.ctid = w.row_place
            join public.runs r on r.org_id = w.org_id and r.run_id = w.run_id
            where q.lease_until is null and not q.blocked
            order by w.turn, w.place
            limit p_most - cardinality(v_runs)
            for update of q, r skip locked
        )
        select v_orgs || array_agg(r.org_id order by r.turn, r.place),
               v_runs || array_agg(r.run_id order by r.turn, r.place)
        into v_orgs, v_runs from ready r;
    end loop;
    if v_runs = '{}' then
        return;
    end if;
    return query
    with taken as (
        update public.queue q
        set lease_owner = p_node, epoch = q.epoch + 1,
            lease_until = v_now + make_interval(secs => p_lease_s)
        from unnest(v_orgs, v_runs) with ordinality as c (org_id, run_id, place)
        where q.org_id = c.org_id and q.run_id = c.run_id
        returning q.org_id, q.run_id, c.place <= v_rescued as rescued
    )
    update public.runs r
    set status = 'running', epoch = r.epoch + 1, attempts = r.attempts + t.rescued::int,
        started_at = coalesce(r.started_at, v_now)
    from taken t
    where r.org_id = t.org_id and r.run_id = t.run_id
    returning r.org_id, r.run_id, r.user_id, r.project_id, r.session_key, r.agent_id, r.epoch,
        r.last_seq, r.attempts, r.input, r.llm_config, r.limits, r.timezone,
        r.response_format, r.created_at,
        r.step_count, r.tool_call_count, r.input_tokens, r.output_tokens,
        r.reasoning_tokens, r.cached_tokens, r.cost_usd,
        r.written_bytes,
        public.claim_verdict(
            r.attempts,
            case when r.attempts < p_attempts_max then p_attempts_max
                 else coalesce(v_attempts_max,
                               public.attempts_borne(p_attempts_max, p_suspect_at, v_now)) end,
            p_suspect_at, r.cancel_requested_by),
        t.rescued,
        extract(epoch from v_now - r.started_at)::double precision,
        -- Bounded as in `session_turns`, for the same reason.
        exists (
            select from (
                select from public.runs o
                where o.org_id = r.org_id and o.user_id = r.user_id
                  and o.project_id = r.project_id
                  and (o.session_key, o.run_id)
                      < (r.session_key, coalesce(r.turns_before, r.run_id))
                  and (o.session_key, o.run_id)
                      > (r.session_key, '00000000-0000-0000-0000-000000000000')
                  and o.session_key <> ''
                order by o.session_key desc, o.run_id desc
                limit 1) earlier),
        coalesce(r.turns_before, r.run_id), r.parent_run_id, r.forked_from_step, r.input_follows,
        v_orgs[nullif(cardinality(v_orgs), v_rescued)];
end $$;

create or replace function renew_leases(
    p_orgs text[], p_runs uuid[], p_epochs bigint[], p_lease_s double precision)
returns table (run_id uuid, epoch bigint, cancel_requested boolean)
language sql security definer set search_path = ''
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
    update public.queue q
    set lease_until = t.now + make_interval(secs => p_lease_s)
    from (select clock_timestamp() as now) t
    cross join unnest(p_orgs, p_runs, p_epochs) as l (org_id, run_id, epoch)
    join public.runs r using (org_id, run_id)
    where q.org_id = l.org_id and q.run_id = l.run_id and q.epoch = l.epoch
      and q.lease_until is not null
    returning q.run_id, q.epoch, r.cancel_requested_by is not null
$$;

create or replace function release_leases(p_orgs text[], p_runs uuid[], p_epochs bigint[]) returns void
language sql security definer set search_path = ''
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
    update public.queue q
    set lease_until = null, lease_owner = null, available_at = t.now
    from (select clock_timestamp() as now) t
    cross join unnest(p_orgs, p_runs, p_epochs) as l (org_id, run_id, epoch)
    where q.org_id = l.org_id and q.run_id = l.run_id and q.epoch = l.epoch
$$;

-- Ends the leases of workers whose lock is gone. `any_expired`: some lease, whoever's, has run out.
create or replace function expire_lost_leases(
    p_own uuid, p_lock_class int, out ended bigint, out any_expired boolean)
language sql security definer set search_path = ''
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
    with moment as materialized (
        select clock_timestamp() as now
    ), owners as (
        select distinct q.lease_owner from public.queue q
        where q.lease_until > (select now from moment) and q.lease_owner <> p_own
    ), lost as (
        select o.lease_owner from owners o
        where not exists (
            select from pg_locks l
            where l.locktype = 'advisory' and l.granted and l.objsubid = 2
              and l.database = (select oid from pg_database where datname = current_database())
              and l.classid = p_lock_class::oid
              and l.objid = ('x' || right(replace(o.lease_owner::text, '-', ''), 8))
                            ::bit(32)::bigint::oid)
    ), ended as (
        update public.queue q
        set lease_until = (select now from moment) - interval '1 microsecond'
        from lost
        where q.lease_owner = lost.lease_owner and q.lease_until > (select now from moment)
        returning 1
    )
    select (select count(*) from ended),
           exists (select from public.queue where lease_until < (select now from moment))
$$;

create or replace function queue_depth(out ready bigint, out leased bigint)
language sql security definer set search_path = '' as $$
    select count(*) filter (where lease_until is null),
           count(*) filter (where lease_until is not null)
    from public.queue
$$;
-- Runs come into their session's line, and leave it.

-- Accepts a run: `p_new` is an object with the names of the columns. `busy`: its session has runs that
-- have not ended, and it does not want to wait. `full`: its organisation has `p_queued_max` runs in
-- line; they are counted only if that is given. With `p_audit` the audit names who created it.
-- `p_format` is the schema of the answer, if one is asked for. `p_run` is null, or the id that was given out together with an idempotency key.
--
-- Id and time are taken in turn: under the session's lock, from the database's clock. So runs of a
-- session stand in the order in which they were created, whatever the clocks of the nodes say.
create or replace function create_run(
    p_org text, p_user text, p_project text, p_run uuid, p_new jsonb, p_reject_busy boolean,
    p_queued_max int, p_audit jsonb, p_format text,
    out outcome text, out created uuid, out accepted_at timestamptz, out queued bigint)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    v_now timestamptz;
    v_session text := p_new ->> 'session_key';
    v_busy boolean;
begin
    perform set_tenant(p_org, p_user, p_project);
    if p_queued_max is not null then
        select count(*) into queued
        from (select from queue where org_id = p_org and lease_until is null
              limit p_queued_max) line;
        if queued >= p_queued_max then
            outcome := 'full';
            return;
        end if;
    end if;
    perform lock_session(p_org, p_user, p_project, v_session);
    v_busy := exists (
        select from queue
        where org_id = p_org and user_id = p_user and project_id = p_project
          and session_key = v_session and session_key <> '');
    if v_busy and p_reject_busy then
        outcome := 'busy';
        return;
    end if;
    v_now := clock_timestamp();
    created := coalesce(p_run, new_id(v_now));
    insert into runs (org_id, run_id, user_id, project_id, session_key, agent_id, input, llm_config,
                      limits, timezone, response_format, metadata, parent_run_id, forked_from_step, turns_before,
                      input_follows, step_count, created_at)
    values (p_org, created, p_user, p_project, v_session, p_new ->> 'agent_id', p_new ->> 'input',
            p_new -> 'llm_config', p_new -> 'limits', p_new ->> 'timezone', p_format,
            coalesce(p_new -> 'metadata', '{}'), (p_new ->> 'parent_run_id')::uuid,
            (p_new ->> 'forked_from_step')::int, (p_new ->> 'turns_before')::uuid,
            coalesce((p_new ->> 'input_follows')::boolean, false),
            coalesce((p_new ->> 'forked_from_step')::int, 0), v_now);
    insert into queue (org_id, run_id, user_id, project_id, session_key, blocked, available_at)
    values (p_org, created, p_user, p_project, v_session, v_busy, v_now);
    if p_audit is not null then
        insert into audit (org_id, audit_id, at, actor, action, subject, detail)
        values (p_org, new_id(v_now), v_now, p_audit ->> 'actor', p_audit ->> 'action',
                type_id('run', created), p_audit -> 'detail');
    end if;
    accepted_at := v_now;
    outcome := 'accepted';
end $$;

-- Takes a run that has ended out of the line, and answers whether that lets another one go.
create or replace function leave_queue(p_org text, p_user text, p_project text, p_run uuid)
returns boolean
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    v_session text;
    v_next queue;
begin
    delete from queue
    where org_id = p_org and user_id = p_user and project_id = p_project and run_id = p_run
    returning session_key into v_session;
    if not found or v_session = '' then
        return false;
    end if;
    perform lock_session(p_org, p_user, p_project, v_session);
    select * into v_next from queue
    where org_id = p_org and user_id = p_user and project_id = p_project
      and session_key = v_session and session_key <> ''
    order by run_id
    limit 1;
    if v_next.blocked then
        update queue set blocked = false
        where org_id = p_org and user_id = p_user and project_id = p_project
          and run_id = v_next.run_id;
        return true;
    end if;
    return false;
end $$;

-- Held by whoever puts a run into a session's line or takes one out. Take row locks of runs first.
create or replace function lock_session(p_org text, p_user text, p_project text, p_session text)
returns void
language plpgsql as $$
begin
    perform pg_advisory_xact_lock(
        hashtextextended(concat_ws(' ', p_org, p_user, p_project, p_session), 0));
end $$;
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
-- A run as it is read: by page or live.

-- What follows a place in a run's stream, at most `p_frames_max` frames, and none after the one that
-- reaches `p_bytes_max`: see `stream.rs`. The last row has no `seq` and says whether there is more; of
-- a run that is not there, there is no row.
--
-- Two walks along the primary keys, merged as they go: what is not answered is not read, and a
-- payload that is stored out of line is fetched only to be answered. The loop fetches row by row, since
-- a `for` would fetch 50 ahead. `stable`: all of it sees one moment, or a delta could come whose event
-- does not.
create or replace function run_frames(
    p_org text, p_user text, p_project text, p_run uuid, p_seq bigint, p_n bigint,
    p_with_deltas boolean, p_types text[], p_frames_max bigint, p_bytes_max bigint)
returns table (
    status text, last_seq bigint, session_key text, seq bigint, n bigint, ts timestamptz,
    agent_id text, step int, span_id bigint, parent_span_id bigint, type text, payload text,
    contains_secrets boolean, delta text, has_more boolean)
language plpgsql stable
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off
set enable_sort = off as $$
#variable_conflict use_column
declare
    v_events cursor for
        select e.seq, e.ts, e.agent_id, e.step, e.span_id, e.parent_span_id, e.type, e.payload,
               e.contains_secrets
        from events e
        where e.org_id = p_org and e.run_id = p_run and e.seq > p_seq
          and (p_types is null or e.type = any (p_types))
        order by e.seq;
    v_deltas cursor for
        select d.seq, d.n, d.step, d.text
        from run_deltas d
        where p_with_deltas and d.org_id = p_org and d.run_id = p_run
          and (d.seq, d.n) > (p_seq, p_n)
        order by d.seq, d.n;
    v_event record;
    v_delta record;
    v_frames bigint := 0;
    v_bytes bigint := 0;
begin
    perform set_tenant(p_org, p_user, p_project);
    select r.status, r.last_seq, r.session_key into status, last_seq, session_key
    from runs r
    where r.org_id = p_org and r.user_id = p_user and r.project_id = p_project
      and r.run_id = p_run;
    if not found then
        return;
    end if;
    open v_events;
    fetch v_events into v_event;
    open v_deltas;
    fetch v_deltas into v_delta;
    while coalesce(v_event.seq, v_delta.seq) is not null
          and v_frames < p_frames_max and v_bytes < p_bytes_max
    loop
        -- The deltas of `seq` come after that event and before the next.
        if v_event.seq is null or v_delta.seq < v_event.seq then
            seq := v_delta.seq;
            n := v_delta.n;
            ts := null;
            agent_id := null;
            step := v_delta.step;
            span_id := null;
            parent_span_id := null;
            type := null;
            payload := null;
            contains_secrets := null;
            delta := v_delta.text;
            fetch v_deltas into v_delta;
        else
            seq := v_event.seq;
            n := 0;
            ts := v_event.ts;
            agent_id := v_event.agent_id;
            step := v_event.step;
            span_id := v_event.span_id;
            parent_span_id := v_event.parent_span_id;
            type := v_event.type;
            payload := v_event.payload::text;
            contains_secrets := v_event.contains_secrets;
            delta := null;
            fetch v_events into v_event;
        end if;
        v_frames := v_frames + 1;
        v_bytes := v_bytes + coalesce(octet_length(payload), octet_length(delta), 0);
        return next;
    end loop;
    seq := null;
    has_more := coalesce(v_event.seq, v_delta.seq) is not null;
    return next;
end $$;
-- Naming the tenant, and who owns the functions that read across tenants.
--
-- The statements that are run most are functions: one round trip each, planned once a connection. Each
-- has an index made for it. A plan that was made while a table was small must not read it whole when it
-- has grown, and planning anew costs more than most of them take: hence `force_generic_plan` and
-- `enable_seqscan = off`.
--
-- Those of tenants run with the caller's rights, and begin by naming the tenant whose rows they may
-- touch.

-- Assignments are evaluated where they stand; `perform` begins and ends an execution of its own,
-- which takes longer than what it does here.
create or replace function set_tenant(p_org text, p_user text, p_project text) returns void
language plpgsql as $$
declare
    v_set text;
begin
    v_set := set_config('openintern.org_id', p_org, true);
    v_set := set_config('openintern.user_id', p_user, true);
    v_set := set_config('openintern.project_id', p_project, true);
end $$;

-- What is marked `security definer` runs with the rights of the scheduler, over all tenants: these
-- functions are all that the scheduler can do, and the runtime's only way to do it.
do $$
declare
    signature regprocedure;
begin
    grant create on schema public to openintern_scheduler;
    for signature in
        select p.oid from pg_proc p
        where p.pronamespace = 'public'::regnamespace and p.prosecdef
          and p.proowner = current_user::regrole
    loop
        execute format('revoke all on function %s from public', signature);
        execute format('grant execute on function %s to openintern_app', signature);
        execute format('alter function %s owner to openintern_scheduler', signature);
    end loop;
    revoke create on schema public from openintern_scheduler;
end $$;
