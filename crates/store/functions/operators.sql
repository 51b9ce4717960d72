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
