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
