-- API keys.

-- The holder of this key, if it is valid now. The caller's organisation is not known before this
-- returns, so it reads across organisations, as the scheduler's functions do; only a holder of the
-- key can know its hash.
create or replace function find_api_key(hash bytea)
returns table (
    org_id text, key_id uuid, user_id text, project_id text, rights text[], is_touched boolean
)
language sql security definer set search_path = ''
begin atomic
    select k.org_id, k.key_id, k.user_id, k.project_id, k.rights,
           coalesce(k.last_used_at > clock_timestamp() - interval '1 minute', false)
    from api_keys k
    where k.key_hash = hash and k.revoked_at is null
      and (k.expires_at is null or k.expires_at > clock_timestamp());
end;
