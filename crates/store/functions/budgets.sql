-- The daily budget of an organisation: reserved before a model call, settled after it.

-- Whether a reservation still holds. For a `run`: as long as the claim is its newest and its lease
-- was not given back. To `remember` a run: as long as the try that took it holds it.
create or replace function holds_reservation(
    p_org text, p_run uuid, p_purpose text, p_claim bigint) returns boolean
language sql stable as $$
    select case p_purpose
        when 'run' then exists (
            select from queue q
            where q.org_id = p_org and q.run_id = p_run and q.epoch = p_claim
              and q.lease_until is not null)
        when 'remember' then exists (
            select from runs_to_remember n
            where n.org_id = p_org and n.run_id = p_run and n.tries = p_claim
              and n.held_until > clock_timestamp())
    end
$$;

-- Reserves what a model call may use at most, if the day's budget has room for it. Reservations of one
-- organisation wait for each other: the day's row is locked.
create or replace function reserve_usage(
    p_org text, p_user text, p_project text, p_run uuid, p_purpose text, p_claim bigint,
    p_tokens bigint, p_cost_usd double precision, p_tokens_max bigint,
    p_cost_usd_max double precision,
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
      and (r.run_id = p_run or not holds_reservation(r.org_id, r.run_id, r.purpose, r.claim));
    select coalesce(sum(r.tokens), 0)::bigint, coalesce(sum(r.cost_usd), 0)
    into reserved_tokens, v_reserved_cost
    from usage_reservations r
    where r.org_id = p_org and r.day = v_day;
    used_cost_usd := v_used_cost;
    reserved_cost_usd := v_reserved_cost;
    if not holds_reservation(p_org, p_run, p_purpose, p_claim) then
        outcome := 'lease_lost';
    elsif used_tokens + reserved_tokens + p_tokens > p_tokens_max then
        outcome := 'over_tokens';
    elsif v_used_cost + v_reserved_cost + p_cost_usd::numeric > p_cost_usd_max::numeric then
        outcome := 'over_cost';
    else
        insert into usage_reservations (org_id, run_id, purpose, claim, day, tokens, cost_usd)
        values (p_org, p_run, p_purpose, p_claim, v_day, p_tokens, p_cost_usd::numeric);
        outcome := 'made';
    end if;
end $$;

-- Adds what a call has used to the day of its reservation, and releases the rest. Once: without a
-- reservation nothing is added, so that the call can be repeated.
create or replace function settle_usage(
    p_org text, p_user text, p_project text, p_run uuid, p_purpose text, p_claim bigint,
    p_input_tokens bigint, p_output_tokens bigint, p_cost_usd double precision) returns void
language plpgsql as $$
declare
    v_day date;
begin
    perform set_tenant(p_org, p_user, p_project);
    select r.day into v_day from usage_reservations r
    where r.org_id = p_org and r.run_id = p_run and r.purpose = p_purpose and r.claim = p_claim;
    -- The day's row first, as above: two that take locks in one order never wait for each other.
    perform from org_usage u where u.org_id = p_org and u.day = v_day for update;
    delete from usage_reservations r
    where r.org_id = p_org and r.run_id = p_run and r.purpose = p_purpose and r.claim = p_claim;
    if found then
        update org_usage u
        set input_tokens = u.input_tokens + p_input_tokens,
            output_tokens = u.output_tokens + p_output_tokens,
            cost_usd = u.cost_usd + p_cost_usd::numeric
        where u.org_id = p_org and u.day = v_day;
    end if;
end $$;
