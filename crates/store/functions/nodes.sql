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
