-- Identity: API keys, and the audit of what was done with them and to runs.
--
-- Both belong to an organisation as a whole. A key is kept as its SHA-256: it is 256 random bits,
-- so that a slow hash would add nothing, and finding it by its hash compares no secret.

create table api_keys (
    org_id text not null,
    key_id uuid not null,
    key_hash bytea not null check (octet_length(key_hash) = 32),
    -- The first characters of the key, to recognise it by.
    prefix text not null,
    name text not null,
    -- null: any.
    user_id text,
    project_id text,
    rights text[] not null check (cardinality(rights) > 0),
    created_at timestamptz not null default clock_timestamp(),
    created_by text not null,
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    primary key (org_id, key_id),
    -- Administration is of the whole organisation.
    check (not ('admin' = any (rights)) or (user_id is null and project_id is null))
);
-- The one key that does not begin with the organisation: by it the organisation is found. It tells
-- nobody anything, since two equal hashes would be two equal keys.
create unique index api_keys_by_hash on api_keys (key_hash);

-- Who holds this key, if it is good now. The caller's organisation is not known before this
-- answers, so it reads across organisations, as the scheduler's functions do; whoever can name a
-- hash holds the key.
create function find_api_key(hash bytea)
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
revoke all on function find_api_key(bytea) from public;
grant execute on function find_api_key(bytea) to openintern_app;
grant create on schema public to openintern_scheduler;
alter function find_api_key(bytea) owner to openintern_scheduler;
revoke create on schema public from openintern_scheduler;

create table audit (
    org_id text not null,
    audit_id uuid not null,
    at timestamptz not null default clock_timestamp(),
    -- The id of a key, or a user.
    actor text not null,
    action text not null,
    -- The id of a run or a key.
    subject text not null,
    detail jsonb not null default '{}',
    primary key (org_id, audit_id)
);

grant select, insert, update on api_keys to openintern_app;
grant select, insert on audit to openintern_app;
grant select on api_keys to openintern_scheduler;

alter table api_keys enable row level security;
alter table api_keys force row level security;
create policy tenant on api_keys to openintern_app
    using (org_id = (select nullif(current_setting('openintern.org_id', true), '')));
create policy scheduler on api_keys to openintern_scheduler using (true);

alter table audit enable row level security;
alter table audit force row level security;
create policy tenant on audit to openintern_app
    using (org_id = (select nullif(current_setting('openintern.org_id', true), '')));
