-- A run as it is followed live.

-- What follows a place in a run's stream: see `stream.rs`.
create or replace function run_frames(
    p_org text, p_user text, p_project text, p_run uuid, p_seq bigint, p_n bigint,
    p_with_deltas boolean, p_frames_max bigint, p_bytes_max bigint)
returns table (
    status text, last_seq bigint, session_key text, seq bigint, n bigint, ts timestamptz,
    agent_id text, step int, span_id bigint, parent_span_id bigint, type text, payload text,
    contains_secrets boolean, delta text, found_count bigint)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
begin
    perform set_tenant(p_org, p_user, p_project);
    return query
    select r.status, r.last_seq, r.session_key, f.seq, f.n, f.ts, f.agent_id, f.step, f.span_id,
           f.parent_span_id, f.type, f.payload, f.contains_secrets, f.delta, f.found_count
    from runs r
    left join lateral (
        select found.*,
               sum(octet_length(coalesce(found.payload, found.delta, '')))
                   over (order by found.seq, found.n) as bytes,
               count(*) over () as found_count
        from (
            (select e.seq, 0::bigint as n, e.ts, e.agent_id, e.step, e.span_id, e.parent_span_id,
                    e.type, e.payload::text as payload, e.contains_secrets, null::text as delta
             from events e
             where e.org_id = r.org_id and e.run_id = r.run_id and e.seq > p_seq
             order by e.seq
             limit p_frames_max)
            union all
            (select d.seq, d.n, null, null, d.step, null, null, null, null, null, d.text
             from run_deltas d
             where p_with_deltas and d.org_id = r.org_id and d.run_id = r.run_id
               and (d.seq, d.n) > (p_seq, p_n)
             order by d.seq, d.n
             limit p_frames_max)
            order by seq, n
            limit p_frames_max
        ) found
    ) f on f.bytes - octet_length(coalesce(f.payload, f.delta, '')) < p_bytes_max
    where r.org_id = p_org and r.user_id = p_user and r.project_id = p_project
      and r.run_id = p_run
    order by f.seq, f.n;
end $$;
