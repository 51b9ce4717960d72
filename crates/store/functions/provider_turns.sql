-- Turns at a provider whose limits all nodes share.

-- Which of these calls may be made now; the calls of an organisation stand in their order.
--
-- Two clocks say when the next call may be made, one for requests and one for tokens: each call moves
-- them on by what it takes of a minute. A pause is made up for by half a second's worth, so that no
-- minute has more than that beyond its limit.
--
-- Organisations are served by start-time fair queueing (Goyal, Vin and Cheng 1996): a call starts
-- where the organisation's last one has ended, or, after a pause, where the provider is; the lowest
-- start is first, and what a call takes is its larger part of the two limits. Another node may hold
-- the one that is first: its organisation is waited for, but for a quarter of a second's worth, since
-- nodes ask one after another. A node that asks no more is forgotten after a second.
create or replace function take_turns(
    p_provider text, p_requests_per_minute bigint, p_tokens_per_minute bigint, p_orgs text[],
    p_tokens bigint[], p_unpaid_requests bigint, p_unpaid_tokens bigint)
returns table (granted bigint[], ask_again_s double precision)
language plpgsql security definer set search_path = '' as $$
#variable_conflict use_column
declare
    v_request_s double precision := coalesce(60.0 / p_requests_per_minute, 0);
    v_token_s double precision := coalesce(60.0 / p_tokens_per_minute, 0);
    v_now timestamptz;
    -- Seconds until the next call, by the two clocks.
    v_requests_in double precision;
    v_tokens_in double precision;
    v_served_s double precision;
    -- The lowest start of those that wait elsewhere.
    v_others_s double precision;
    v_granted bigint[];
    v_tokens bigint;
    v_last_s double precision;
begin
    insert into public.provider_turns (provider) values (p_provider) on conflict do nothing;
    perform from public.provider_turns t where t.provider = p_provider for update;
    v_now := clock_timestamp(); -- Behind the lock, which may have been waited for.
    select greatest(extract(epoch from t.requests_at - v_now), -0.5) + p_unpaid_requests * v_request_s,
           greatest(extract(epoch from t.tokens_at - v_now), -0.5) + p_unpaid_tokens * v_token_s,
           t.served_s
    into v_requests_in, v_tokens_in, v_served_s
    from public.provider_turns t where t.provider = p_provider;

    select min(s.used_s) into v_others_s from public.provider_shares s
    where s.provider = p_provider and s.waits_until > v_now and s.org_id <> all (p_orgs);

    insert into public.provider_shares as s (provider, org_id, used_s, waits_until)
    select distinct p_provider, o.org_id, v_served_s, v_now + interval '1 second'
    from unnest(p_orgs) as o (org_id)
    on conflict (org_id, provider) do update
    set used_s = case when s.waits_until > v_now then s.used_s
                      else greatest(s.used_s, excluded.used_s) end,
        waits_until = excluded.waits_until;

    with call as (
        select c.place, c.org_id, c.tokens,
               greatest(v_request_s, c.tokens * v_token_s) as takes_s
        from unnest(p_orgs, p_tokens) with ordinality as c (org_id, tokens, place)
    ), started as (
        select c.place, c.tokens,
               s.used_s + sum(c.takes_s) over (partition by c.org_id order by c.place) - c.takes_s
                   as start_s
        from call c
        join public.provider_shares s on s.provider = p_provider and s.org_id = c.org_id
    ), queued as (
        select c.place, c.tokens, c.start_s,
               row_number() over (order by c.start_s, c.place) - 1 as requests_before,
               sum(c.tokens) over (order by c.start_s, c.place) - c.tokens as tokens_before
        from started c
    )
    select coalesce(array_agg(c.place order by c.place), '{}'), coalesce(sum(c.tokens), 0)::bigint,
           max(c.start_s)
    into v_granted, v_tokens, v_last_s
    from queued c
    where v_requests_in + c.requests_before * v_request_s <= 0
      and v_tokens_in + c.tokens_before * v_token_s <= 0
      and c.start_s <= coalesce(v_others_s + 0.25, c.start_s);

    update public.provider_shares s
    set used_s = s.used_s + o.takes_s,
        -- It waits on if it has more than it was given.
        waits_until = case when o.granted < o.calls then s.waits_until else v_now end
    from (
        select c.org_id, count(*) as calls, count(*) filter (where c.place = any (v_granted)) as granted,
               coalesce(sum(greatest(v_request_s, c.tokens * v_token_s))
                   filter (where c.place = any (v_granted)), 0) as takes_s
        from unnest(p_orgs, p_tokens) with ordinality as c (org_id, tokens, place)
        group by c.org_id
    ) o
    where s.provider = p_provider and s.org_id = o.org_id;

    v_requests_in := v_requests_in + cardinality(v_granted) * v_request_s;
    v_tokens_in := v_tokens_in + v_tokens * v_token_s;
    update public.provider_turns t
    set requests_at = v_now + make_interval(secs => v_requests_in),
        tokens_at = v_now + make_interval(secs => v_tokens_in),
        served_s = greatest(t.served_s, coalesce(v_last_s, 0))
    where t.provider = p_provider;

    return query select v_granted, greatest(v_requests_in, v_tokens_in, 0);
end $$;

-- Forgets organisations that have not waited for an hour: they would begin where the provider is.
create or replace function forget_turns() returns void
language sql security definer set search_path = '' as $$
    delete from public.provider_shares s
    where s.waits_until < clock_timestamp() - interval '1 hour'
$$;
