-- What is to be done once a run has been completed: remembering it. A row here is as durable as the
-- end of its run, since it is inserted by the statement that commits it; it goes with the memory, in
-- one transaction.
--
-- Narrow on purpose, with one index: every completed run inserts a row and deletes it again. Whose
-- the run is stands in the run.

create table runs_to_remember (
    org_id text not null,
    run_id uuid not null,
    noted_at timestamptz not null default clock_timestamp(),
    -- Somebody works on it until then; afterwards it is anybody's.
    held_until timestamptz,
    -- How often it was taken: what a model call for it names where a run's would name its epoch.
    tries int not null default 0,
    primary key (org_id, run_id)
) with (fillfactor = 70);

grant select, insert, delete on runs_to_remember to openintern_app;
grant select, update, delete on runs_to_remember to openintern_scheduler;

alter table runs_to_remember enable row level security;
alter table runs_to_remember force row level security;
create policy tenant on runs_to_remember to openintern_app
    using (org_id = (select nullif(current_setting('openintern.org_id', true), '')));
create policy scheduler on runs_to_remember to openintern_scheduler using (true);

-- Notes that a run is to be remembered. Called by the statement that commits its end.
create function note_to_remember(p_org text, p_user text, p_project text, p_run uuid)
returns boolean
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
begin
    perform set_tenant(p_org, p_user, p_project);
    insert into runs_to_remember (org_id, run_id) values (p_org, p_run)
    on conflict (org_id, run_id) do nothing;
    return true;
end $$;

-- Takes runs to remember, for `p_hold_s`: the oldest of each organisation in its turn. What was
-- taken before and is held no more comes again, `p_tries_max` times in all.
create function claim_to_remember(p_most int, p_hold_s double precision, p_tries_max int)
returns table (
    org_id text, user_id text, project_id text, run_id uuid, tries int, session_key text,
    agent_id text, input text, output text, llm_config jsonb, limits jsonb, step_count int,
    input_tokens bigint, output_tokens bigint, cached_tokens bigint, cost_usd double precision,
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
           r.input, r.output, r.llm_config, r.limits, r.step_count, r.input_tokens,
           r.output_tokens, r.cached_tokens, r.cost_usd, r.ended_at
    from taken t join public.runs r using (org_id, run_id)
    where r.status = 'completed';
end $$;

-- Hands back what was taken and not done: it counts as no try.
create function release_to_remember(p_orgs text[], p_runs uuid[], p_tries int[]) returns void
language sql security definer set search_path = ''
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
    update public.runs_to_remember n
    set held_until = null, tries = n.tries - 1
    from unnest(p_orgs, p_runs, p_tries) as l (org_id, run_id, tries)
    where n.org_id = l.org_id and n.run_id = l.run_id and n.tries = l.tries
$$;

-- Lets go of what waited too long, failed too often, or is more than `p_most_per_org` of one
-- organisation (its oldest); answers how many.
create function forget_to_remember(
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

-- As in `0011_budgets`, but what is set aside for remembering a run holds, too: as long as whoever
-- took it holds it. Such a reservation names the negative of its try.
create function holds_reservation(p_org text, p_run uuid, p_epoch bigint) returns boolean
language sql stable as $$
    select exists (
        select from queue q
        where q.org_id = p_org and q.run_id = p_run and q.epoch = p_epoch
          and q.lease_until is not null)
    or exists (
        select from runs_to_remember n
        where n.org_id = p_org and n.run_id = p_run and n.tries = -p_epoch
          and n.held_until > clock_timestamp())
$$;

create or replace function reserve_usage(
    p_org text, p_user text, p_project text, p_run uuid, p_epoch bigint, p_tokens bigint,
    p_cost_usd double precision, p_tokens_max bigint, p_cost_usd_max double precision,
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
      and (r.run_id = p_run or not holds_reservation(r.org_id, r.run_id, r.epoch));
    select coalesce(sum(r.tokens), 0)::bigint, coalesce(sum(r.cost_usd), 0)
    into reserved_tokens, v_reserved_cost
    from usage_reservations r
    where r.org_id = p_org and r.day = v_day;
    used_cost_usd := v_used_cost;
    reserved_cost_usd := v_reserved_cost;
    if not holds_reservation(p_org, p_run, p_epoch) then
        outcome := 'lease_lost';
    elsif used_tokens + reserved_tokens + p_tokens > p_tokens_max then
        outcome := 'tokens';
    elsif v_used_cost + v_reserved_cost + p_cost_usd::numeric > p_cost_usd_max::numeric then
        outcome := 'cost';
    else
        insert into usage_reservations (org_id, run_id, epoch, day, tokens, cost_usd)
        values (p_org, p_run, p_epoch, v_day, p_tokens, p_cost_usd::numeric);
        outcome := 'reserved';
    end if;
end $$;

do $$
declare
    signature text;
begin
    grant create on schema public to openintern_scheduler;
    foreach signature in array array[
        'claim_to_remember(int, double precision, int)',
        'release_to_remember(text[], uuid[], int[])',
        'forget_to_remember(double precision, int, int)'
    ] loop
        execute format('revoke all on function %s from public', signature);
        execute format('grant execute on function %s to openintern_app', signature);
        execute format('alter function %s owner to openintern_scheduler', signature);
    end loop;
    revoke create on schema public from openintern_scheduler;
end $$;
