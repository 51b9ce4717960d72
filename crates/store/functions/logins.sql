-- Logins of the web page.

-- The holder of this login, if it has not ended. As with `find_api_key`, the organisation is not
-- known before this returns. A key that is revoked or has expired ends its logins with it.
create or replace function find_login(hash bytea)
returns table (
    org_id text, key_id uuid, user_id text, project_id text, rights text[], signing_key text,
    expires_at timestamptz, is_touched boolean
)
language sql security definer set search_path = ''
begin atomic
    select l.org_id, k.key_id,
           case when l.key_id is null then l.user_id else k.user_id end,
           case when l.key_id is null then l.project_id else k.project_id end,
           case when l.key_id is null then l.rights else k.rights end,
           l.signing_key,
           least(l.expires_at, k.expires_at),
           coalesce(k.last_used_at > clock_timestamp() - interval '1 minute', false)
    from logins l
    left join api_keys k on k.org_id = l.org_id and k.key_id = l.key_id
    where l.login_hash = hash and l.expires_at > clock_timestamp()
      and (l.key_id is null
           or (k.revoked_at is null
               and (k.expires_at is null or k.expires_at > clock_timestamp())));
end;

create or replace function forget_logins() returns void
language sql security definer set search_path = '' as $$
    delete from public.logins where expires_at <= clock_timestamp()
$$;
