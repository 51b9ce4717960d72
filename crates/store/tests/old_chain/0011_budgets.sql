-- Budgets of an organisation for a day (UTC, by the database's clock): what was used, and what is set
-- aside for model calls that have not answered yet.
--
-- A reservation belongs to a claim. It holds as long as that claim is the run's newest and its lease
-- was not given back: whatever else happens to a worker, what it had set aside is free again when
-- another takes the run over or the run ends, without anybody cleaning up.

create table org_usage (
    org_id text not null,
    day date not null,
    input_tokens bigint not null default 0,
    output_tokens bigint not null default 0,
    -- A sum of very many small amounts: exact.
    cost_usd numeric not null default 0,
    primary key (org_id, day)
) with (fillfactor = 50);

-- One a run: it asks its model one thing at a time.
create table usage_reservations (
    org_id text not null,
    run_id uuid not null,
    epoch bigint not null,
    day date not null,
    tokens bigint not null,
    cost_usd numeric not null,
    primary key (org_id, run_id)
);

-- Sets aside what a model call may use at most, if the day's budget has room for it. Whoever asks for
-- one organisation waits for the other: the day's row is locked.
create function reserve_usage(
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
    where r.org_id = p_org and (r.run_id = p_run or not exists (
        select from queue q
        where q.org_id = p_org and q.run_id = r.run_id and q.epoch = r.epoch
          and q.lease_until is not null));
    select coalesce(sum(r.tokens), 0)::bigint, coalesce(sum(r.cost_usd), 0)
    into reserved_tokens, v_reserved_cost
    from usage_reservations r
    where r.org_id = p_org and r.day = v_day;
    used_cost_usd := v_used_cost;
    reserved_cost_usd := v_reserved_cost;
    if not exists (
        select from queue q
        where q.org_id = p_org and q.run_id = p_run and q.epoch = p_epoch
          and q.lease_until is not null)
    then
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

-- Counts what a call has used, on the day for which it was set aside, and frees the rest. Once: what
-- is not set aside any more is not counted, so that it can be said again.
create function settle_usage(
    p_org text, p_user text, p_project text, p_run uuid, p_epoch bigint, p_input_tokens bigint,
    p_output_tokens bigint, p_cost_usd double precision) returns void
language plpgsql as $$
declare
    v_day date;
begin
    perform set_tenant(p_org, p_user, p_project);
    select r.day into v_day from usage_reservations r
    where r.org_id = p_org and r.run_id = p_run and r.epoch = p_epoch;
    -- The day's row first, as above: two that take locks in one order never wait for each other.
    perform from org_usage u where u.org_id = p_org and u.day = v_day for update;
    delete from usage_reservations r
    where r.org_id = p_org and r.run_id = p_run and r.epoch = p_epoch;
    if found then
        update org_usage u
        set input_tokens = u.input_tokens + p_input_tokens,
            output_tokens = u.output_tokens + p_output_tokens,
            cost_usd = u.cost_usd + p_cost_usd::numeric
        where u.org_id = p_org and u.day = v_day;
    end if;
end $$;

grant select, insert, update on org_usage to openintern_app;
grant select, insert, update, delete on usage_reservations to openintern_app;

do $$
declare
    table_name text;
begin
    foreach table_name in array array['org_usage', 'usage_reservations'] loop
        execute format('alter table %I enable row level security', table_name);
        execute format('alter table %I force row level security', table_name);
        execute format(
            'create policy tenant on %I to openintern_app using (org_id = (select '
            'nullif(current_setting(''openintern.org_id'', true), '''')))', table_name);
    end loop;
end $$;
