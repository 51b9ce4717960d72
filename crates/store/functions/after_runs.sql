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
