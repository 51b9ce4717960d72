-- What memories are to each other: one says what another says, or has taken its place. Found by a
-- pass over a scope, which deletes nothing and marks how far it came.

create table memory_links (
    org_id text not null,
    user_id text not null,
    project_id text not null,
    -- Of a duplicate: the later one. Of one that is superseded: that one.
    from_id uuid not null,
    to_id uuid not null,
    kind text not null check (kind in ('duplicate', 'superseded')),
    score real not null check (score between 0 and 1),
    found_at timestamptz not null default clock_timestamp(),
    primary key (org_id, from_id, to_id),
    check (from_id <> to_id),
    foreign key (org_id, from_id) references memories on delete cascade,
    foreign key (org_id, to_id) references memories on delete cascade
);
create index memory_links_by_end on memory_links (org_id, to_id);

grant select, insert, update, delete on memory_links to openintern_app;

alter table memory_links enable row level security;
alter table memory_links force row level security;
create policy tenant on memory_links to openintern_app
    using (org_id = (select nullif(current_setting('openintern.org_id', true), '')));
-- Seen from where the memory is: see `0014_visibility.sql`.
create policy scope on memory_links as restrictive to openintern_app
    using (user_id = (select current_setting('openintern.user_id', true))
           and project_id in ((select current_setting('openintern.project_id', true)), '*')
           or user_id = '*' and project_id = '*');

-- Whoever changes a text or moves it, by whatever way: what was found about the old one, among
-- those that live with it, is void.
create function drop_memory_links() returns trigger
language plpgsql as $$
begin
    delete from memory_links l where l.org_id = new.org_id and l.from_id = new.memory_id;
    delete from memory_links l where l.org_id = new.org_id and l.to_id = new.memory_id;
    return null;
end $$;

create trigger memory_links_of_a_text after update on memories
    for each row when ((old.text_hash, old.user_id, old.project_id)
                       is distinct from (new.text_hash, new.user_id, new.project_id))
    execute function drop_memory_links();

-- How far the pass over a scope came, in the order of `updated_at, memory_id`.
alter table memory_scope_stats
    add column compared_to timestamptz,
    add column compared_to_id uuid;
