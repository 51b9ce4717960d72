-- Completed runs that are to be remembered: taken, handed back, dropped. `commit_entry` notes them.

-- Takes runs to remember, for `p_hold_s`: the oldest of each organisation in its turn. What was
-- taken before and is held no more comes again, `p_tries_max` times in all.
create or replace function claim_to_remember(p_most int, p_hold_s double precision, p_tries_max int)
returns table (
    org_id text, user_id text, project_id text, run_id uuid, tries int, session_key text,
    agent_id text, input text, output text, llm_config jsonb, limits jsonb, timezone text,
    step_count int,
    input_tokens bigint, output_tokens bigint, reasoning_tokens bigint, cached_tokens bigint,
    cost_usd double precision,
    ended_at timestamptz)
language plpgsql security definer set search_path = ''
set plan_cache_mode = force_generic_plan set enable_seqscan = off
set enable_hashjoin = off set enable_mergejoin = off as $$
#variable_conflict use_column
begin
    return query
    with recursive orgs as (
        (select n.org_id from public.runs_to_remember n order by n.org_id limit 1)
        union all
        select (select n.org_id from public.runs_to_remember n
                where n.org_id > o.org_id
                order by n.org_id
                limit 1)
        from orgs o where o.org_id is not null
    ), waiting as (
        select c.org_id, c.run_id, row_number() over (
                   partition by c.org_id order by c.run_id) as turn
        from orgs o
        cross join lateral (
            select n.org_id, n.run_id from public.runs_to_remember n
            where n.org_id = o.org_id and n.tries < p_tries_max
              and (n.held_until is null or n.held_until < (select clock_timestamp()))
            order by n.run_id
            limit p_most
        ) c
    ), ready as (
        select n.org_id, n.run_id
        from waiting w join public.runs_to_remember n using (org_id, run_id)
        where n.held_until is null or n.held_until < (select clock_timestamp())
        order by w.turn, w.run_id
        limit p_most
        for update of n skip locked
    ), taken as (
        update public.runs_to_remember n
        set held_until = clock_timestamp() + make_interval(secs => p_hold_s), tries = n.tries + 1
        from ready r
        where n.org_id = r.org_id and n.run_id = r.run_id
        returning n.org_id, n.run_id, n.tries
    )
    select r.org_id, r.user_id, r.project_id, r.run_id, t.tries, r.session_key, r.agent_id,
           r.input, r.output, r.llm_config, r.limits, r.timezone, r.step_count, r.input_tokens,
           r.output_tokens, r.reasoning_tokens, r.cached_tokens, r.cost_usd, r.ended_at
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
    v_org text;
    v_bound uuid;
    v_gone bigint;
    v_sum bigint;
begin
    delete from public.runs_to_remember n
    where n.noted_at < clock_timestamp() - make_interval(secs => p_kept_s)
       or (n.tries >= p_tries_max and n.held_until < clock_timestamp());
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
