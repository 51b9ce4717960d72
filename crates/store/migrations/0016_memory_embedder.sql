-- Which embedder the vectors of this database are of. Vectors of two are not comparable, so there is
-- one at a time: a node that is set to another does not start, and what a node that still runs
-- would write is left without a vector, for nodes of the one in force to fill in.

create table memory_embedder (
    -- One row, or none before the first start with an embedder.
    is_only boolean primary key default true check (is_only),
    -- With its projection, as `memory_chunks.embedding_model` has it.
    embedder text not null
);
grant select, insert, update on memory_embedder to openintern_app;

-- The one that most vectors are of, of those that are there already.
alter table memory_chunks no force row level security;
insert into memory_embedder (embedder)
select embedding_model from memory_chunks where embedding is not null
group by embedding_model order by count(*) desc limit 1;
alter table memory_chunks force row level security;

-- The embedder in force, of all tenants: it is noted, and there is a vector of it or a worker that
-- makes some. Nothing else keeps another from taking its place.
create function embedder_in_force(p_lock_class int) returns text
language plpgsql stable security definer set search_path = '' as $$
declare
    v_embedder text := (select e.embedder from public.memory_embedder e);
begin
    -- Ends at the first vector, which is at the beginning of the table but for a rare case.
    if exists (select from public.memory_chunks c where c.embedding_model = v_embedder)
        or exists (
            select from pg_locks l
            where l.locktype = 'advisory' and l.granted and l.objsubid = 2
              and l.database = (select oid from pg_database where datname = current_database())
              and l.classid = p_lock_class::oid)
    then
        return v_embedder;
    end if;
    return null;
end $$;

-- Notes `p_embedder` if no other is in force; answers the other if one is. Who asks at the same time
-- waits.
create function adopt_embedder(p_embedder text, p_lock_class int) returns text
language plpgsql as $$
declare
    v_other text;
begin
    insert into memory_embedder (embedder) values (p_embedder) on conflict do nothing;
    perform from memory_embedder for update;
    v_other := nullif(embedder_in_force(p_lock_class), p_embedder);
    if v_other is null then
        update memory_embedder set embedder = p_embedder where embedder <> p_embedder;
    end if;
    return v_other;
end $$;

revoke all on function embedder_in_force(int) from public;
grant execute on function embedder_in_force(int) to openintern_app;
grant select on memory_embedder to openintern_scheduler;
grant create on schema public to openintern_scheduler;
alter function embedder_in_force(int) owner to openintern_scheduler;
revoke create on schema public from openintern_scheduler;
