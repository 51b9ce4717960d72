-- Completed runs that are to be remembered: taken, handed back, dropped. `commit_entry` notes them.

-- Takes runs to remember, for `p_hold_s`: the oldest of each organisation in its turn, among those
-- behind `p_after`, as `claim_runs` does. What was taken before and is held no more comes again,
-- `p_tries_max` times in all.
create or replace function claim_to_remember(
    p_most int, p_hold_s double precision, p_tries_max int, p_after text)
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
           r.input, r.output, r.llm_config, r.limits, r.timezone, r.step_count, r.input_tokens,
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
