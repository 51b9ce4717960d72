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
