-- Ids that sort by the time of their creation, by the database's clock.

-- A UUIDv7. The microseconds within its millisecond stand where random bits may (RFC 9562, section
-- 6.2, method 3), so that two that are made one after the other sort so.
create or replace function new_id(p_at timestamptz) returns uuid
language sql volatile as $$
    select (lpad(to_hex((us / 1000)), 12, '0')
            || '7' || lpad(to_hex(us % 1000 * 4096 / 1000), 3, '0')
            -- The variant and 62 random bits.
            || right(replace(gen_random_uuid()::text, '-', ''), 16))::uuid
    from (select (extract(epoch from p_at) * 1000000)::bigint as us) made
$$;

-- An id as it is read outside, `<prefix>_` and the UUID in Crockford's base 32: see `protocol::id`.
create or replace function type_id(p_prefix text, p_id uuid) returns text
language sql immutable as $$
    select p_prefix || '_' || string_agg(
               substr('0123456789abcdefghjkmnpqrstvwxyz', 1 + substring(bits from place for 5)::int, 1),
               '' order by place)
    from (select b'00' || ('x' || replace(p_id::text, '-', ''))::bit(128) as bits) id,
         generate_series(1, 126, 5) as place
$$;
