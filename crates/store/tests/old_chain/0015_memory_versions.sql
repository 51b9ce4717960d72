-- What stood in a memory before it was edited. It goes with the memory.

create table memory_versions (
    org_id text not null,
    memory_id uuid not null,
    -- 1 is what was written first.
    version int not null check (version > 0),
    user_id text not null,
    project_id text not null,
    text text not null,
    metadata jsonb not null,
    importance real not null,
    replaced_at timestamptz not null default clock_timestamp(),
    -- The id of a key or of a run, or a user; null when nobody is known.
    replaced_by text,
    primary key (org_id, memory_id, version),
    foreign key (org_id, memory_id) references memories on delete cascade
);

grant select, insert, update, delete on memory_versions to openintern_app;

alter table memory_versions enable row level security;
alter table memory_versions force row level security;
create policy tenant on memory_versions to openintern_app
    using (org_id = (select nullif(current_setting('openintern.org_id', true), '')));
-- Seen from where the memory is: see `0014_visibility.sql`.
create policy scope on memory_versions as restrictive to openintern_app
    using (user_id = (select current_setting('openintern.user_id', true))
           and project_id in ((select current_setting('openintern.project_id', true)), '*')
           or user_id = '*' and project_id = '*');
