-- Which embedder the vectors of this database are of. Vectors of two are not comparable, so there is
-- one at a time: a node that is set to another does not start, and what a node that still runs
-- would write is left without a vector, for nodes of the one in force to fill in.

create table memory_embedder (
    -- One row, or none before the first start with an embedder.
    is_only boolean primary key default true check (is_only),
    -- With its projection, as `memory_chunks.embedding_model` has it.
    embedder text not null,
    -- A vector of it was kept. That is noted here because to look for one could mean to read all
    -- chunks, or what a reindex has left of them.
    is_used boolean not null default false
);
grant select, insert, update on memory_embedder to openintern_app;

-- The one that most vectors are of, of those that are there already.
alter table memory_chunks no force row level security;
insert into memory_embedder (embedder, is_used)
select embedding_model, true from memory_chunks where embedding is not null
group by embedding_model order by count(*) desc limit 1;
alter table memory_chunks force row level security;

-- The embedder in force: one that is noted, and used or about to be, since a worker is alive. Nothing
-- else keeps another from taking its place.
create function embedder_in_force(p_lock_class int) returns text
language sql stable as $$
    select embedder from memory_embedder
    where is_used or exists (
        select from pg_locks l
        where l.locktype = 'advisory' and l.granted and l.objsubid = 2
          and l.database = (select oid from pg_database where datname = current_database())
          and l.classid = p_lock_class::oid)
$$;

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
