-- What each run asks, in fewer statements: a run learns with its claim whether its session has
-- earlier ones, a step with the counts whether there is core memory, and that a run was created is
-- put into the audit by the statement that creates it.

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

drop function memory_totals(text, text, text);

create function memory_totals(
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

drop function claim_runs(uuid, int, double precision, int);

create function claim_runs(p_node uuid, p_most int, p_lease_s double precision, p_running_max int)
returns table (
    org_id text, run_id uuid, user_id text, project_id text, session_key text, agent_id text,
    epoch bigint, last_seq bigint, attempts int, input text, llm_config jsonb, limits jsonb,
    created_at timestamptz, step_count int, tool_call_count int, input_tokens bigint,
    output_tokens bigint, cached_tokens bigint, cost_usd double precision,
    cancel_requested boolean, rescued boolean, elapsed_s double precision, has_turns boolean)
language plpgsql security definer set search_path = ''
set plan_cache_mode = force_generic_plan set enable_seqscan = off
set enable_hashjoin = off set enable_mergejoin = off as $$
#variable_conflict use_column
begin
    return query
    with recursive expired as (
        select q.org_id, q.run_id
        from public.queue q join public.runs r using (org_id, run_id)
        where q.lease_until < (select clock_timestamp())
        order by q.lease_until
        limit p_most
        for update of q, r skip locked
    ), orgs as (
        (select q.org_id from public.queue q
         where q.lease_until is null and not q.blocked
         order by q.org_id
         limit 1)
        union all
        select (select q.org_id from public.queue q
                where q.lease_until is null and not q.blocked and q.org_id > o.org_id
                order by q.org_id
                limit 1)
        from orgs o where o.org_id is not null
    ), held as (
        select q.org_id, count(*) as runs from public.queue q
        where q.lease_until >= (select clock_timestamp())
        group by q.org_id
    ), waiting as (
        select c.org_id, c.run_id, c.available_at,
               coalesce(h.runs, 0) + row_number() over (
                   partition by c.org_id order by c.available_at, c.run_id) as turn
        from orgs o
        cross join lateral (
            select q.org_id, q.run_id, q.available_at
            from public.queue q
            where q.org_id = o.org_id and q.lease_until is null and not q.blocked
              and q.available_at <= (select clock_timestamp())
            order by q.available_at
            limit p_most
        ) c
        left join held h on h.org_id = c.org_id
    ), ready as (
        select q.org_id, q.run_id
        from waiting w join public.queue q using (org_id, run_id)
                       join public.runs r using (org_id, run_id)
        where q.lease_until is null and not q.blocked and w.turn <= p_running_max
        order by w.turn, w.available_at
        limit p_most - (select count(*) from expired)
        for update of q, r skip locked
    ), taken as (
        update public.queue q
        set lease_owner = p_node, epoch = q.epoch + 1,
            lease_until = clock_timestamp() + make_interval(secs => p_lease_s)
        from (select e.org_id, e.run_id, true as rescued from expired e
              union all select r.org_id, r.run_id, false from ready r) c
        where q.org_id = c.org_id and q.run_id = c.run_id
        returning q.org_id, q.run_id, c.rescued
    )
    update public.runs r
    set status = 'running', epoch = r.epoch + 1, attempts = r.attempts + t.rescued::int,
        started_at = coalesce(r.started_at, clock_timestamp())
    from taken t
    where r.org_id = t.org_id and r.run_id = t.run_id
    returning r.org_id, r.run_id, r.user_id, r.project_id, r.session_key, r.agent_id, r.epoch,
        r.last_seq, r.attempts, r.input, r.llm_config, r.limits, r.created_at, r.step_count,
        r.tool_call_count, r.input_tokens, r.output_tokens, r.cached_tokens, r.cost_usd,
        r.cancel_requested_by is not null, t.rescued,
        extract(epoch from clock_timestamp() - r.started_at)::double precision,
        -- Bounded as in `session_turns`, for the same reason.
        exists (
            select from (
                select from public.runs o
                where o.org_id = r.org_id and o.user_id = r.user_id
                  and o.project_id = r.project_id
                  and (o.session_key, o.run_id) < (r.session_key, r.run_id)
                  and (o.session_key, o.run_id)
                      > (r.session_key, '00000000-0000-0000-0000-000000000000')
                  and o.session_key <> ''
                order by o.session_key desc, o.run_id desc
                limit 1) earlier);
end $$;

grant create on schema public to openintern_scheduler;
revoke all on function claim_runs(uuid, int, double precision, int) from public;
grant execute on function claim_runs(uuid, int, double precision, int) to openintern_app;
alter function claim_runs(uuid, int, double precision, int) owner to openintern_scheduler;
revoke create on schema public from openintern_scheduler;

-- Appends to the audit of the organisation that the transaction names.
create function note_audit(
    p_org text, p_audit uuid, p_actor text, p_action text, p_subject text, p_detail jsonb)
returns boolean
language plpgsql as $$
begin
    insert into audit (org_id, audit_id, actor, action, subject, detail)
    values (p_org, p_audit, p_actor, p_action, p_subject, p_detail);
    return true;
end $$;
