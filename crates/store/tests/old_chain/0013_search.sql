-- A number that changes whenever the chunks of a scope do, in the same transaction: what was read of
-- them and kept is good as long as the number is the same. It comes from one sequence, so that it is
-- never given out twice, whatever becomes of the row.
--
-- A trigger, so that no way to write can forget it: chunks are added and removed with their counts.

create sequence memory_generations;
grant usage on sequence memory_generations to openintern_app;

alter table memory_scope_stats
    add column generation bigint not null default nextval('memory_generations');

create function raise_memory_generation() returns trigger language plpgsql as $$
begin
    new.generation := nextval('memory_generations');
    return new;
end $$;

-- Not where a writer only takes its turn.
create trigger raise_generation before update on memory_scope_stats
    for each row
    when ((old.chunk_count, old.term_count) is distinct from (new.chunk_count, new.term_count))
    execute function raise_memory_generation();

-- For homes too large to be compared one by one. Half the precision is a quarter of the time to build
-- and half the room, and what is found is compared again with the whole vector. It knows nothing of
-- tenants: it is asked to go on until enough of its answers pass the filter.
create index memory_chunks_by_nearness
    on memory_chunks using hnsw ((embedding::halfvec(256)) halfvec_cosine_ops);
