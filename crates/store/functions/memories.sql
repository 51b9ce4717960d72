-- Memories: the reads of every step, the embedder in force, and the triggers that no writer can forget.

-- What every step reads: the core memories of all homes that the scope sees, the most important
-- first, as far as `p_max_chars` of text reach.
create or replace function core_memories(
    p_org text, p_user text, p_project text, p_max_chars bigint, p_limit bigint)
returns setof memories
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
begin
    perform set_tenant(p_org, p_user, p_project);
    return query
    select m.* from (
        select c.org_id, c.memory_id, sum(length(c.text)) over (
                   order by c.importance desc, c.created_at, c.memory_id
                   rows unbounded preceding) as chars_so_far
        from (values (p_user, p_project), (p_user, '*'), ('*', '*')) as home (user_id, project_id)
        join memories c
            on c.org_id = p_org and c.user_id = home.user_id and c.project_id = home.project_id
        where c.type = 'core' and length(c.text) <= p_max_chars
    ) core
    join memories m on m.org_id = core.org_id and m.memory_id = core.memory_id
    where core.chars_so_far <= p_max_chars
    order by core.chars_so_far
    limit p_limit;
end $$;

-- What every step asks: how much there is to search, and whether some of it is core memory.
create or replace function memory_totals(
    p_org text, p_user text, p_project text,
    out chunk_count bigint, out term_count bigint, out has_core boolean, out now timestamptz)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
begin
    perform set_tenant(p_org, p_user, p_project);
    select coalesce(sum(s.chunk_count), 0)::bigint, coalesce(sum(s.term_count), 0)::bigint,
           clock_timestamp()
    into chunk_count, term_count, now
    from (values (p_user, p_project), (p_user, '*'), ('*', '*')) as home (user_id, project_id)
    join memory_scope_stats s
        on s.org_id = p_org and s.user_id = home.user_id and s.project_id = home.project_id;
    has_core := chunk_count > 0 and exists (
        select from (values (p_user, p_project), (p_user, '*'), ('*', '*')) as home (user_id, project_id)
        join memories c
            on c.org_id = p_org and c.user_id = home.user_id and c.project_id = home.project_id
        where c.type = 'core');
end $$;

-- A writer of a home takes its turn.
create or replace function lock_memories(p_org text, p_user text, p_project text) returns void
language sql as $$
    insert into memory_scope_stats as s (org_id, user_id, project_id)
    values (p_org, p_user, p_project)
    on conflict (org_id, user_id, project_id) do update set chunk_count = s.chunk_count
$$;

-- Inserts chunks of memories of a home with their postings and counts them. `p_chunks`: objects with the
-- names of the columns of a chunk, its `terms` with their frequencies and, as `vector`, the place of its
-- vector in `p_embeddings`: as text that would be read number by number. Vectors of another embedder than
-- the one in force are left out: it will fill them in.
create or replace function insert_memory_chunks(
    p_org text, p_user text, p_project text, p_chunks jsonb, p_embeddings vector[]) returns void
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off
set enable_hashjoin = off set enable_mergejoin = off as $$
begin
    with new as (
        select *, coalesce(embedding_model = (select embedder from memory_embedder where is_only), true)
                  as is_in_force
        from jsonb_to_recordset(p_chunks)
             as n (memory_id uuid, parent_id uuid, position int, ordinal int, chunk_text text,
                   length int, embedding_model text, vector int, terms jsonb)
    ), used as (
        update memory_embedder set is_used = true
        where is_only and not is_used and embedder in (select embedding_model from new)
    ), chunks as (
        insert into memory_chunks (org_id, user_id, project_id, memory_id, parent_id, position,
                                   ordinal, chunk_text, length, embedding, embedding_model,
                                   search_tsv)
        select p_org, p_user, p_project, memory_id, parent_id, position, ordinal, chunk_text, length,
               case when is_in_force then p_embeddings[vector] end,
               case when is_in_force then embedding_model end,
               array_to_tsvector(array(select jsonb_object_keys(terms)))
        from new
        returning chunk_id, memory_id, ordinal, length
    ), postings as (
        insert into memory_postings (org_id, user_id, project_id, term, chunk_id, frequency)
        select p_org, p_user, p_project, t.term, chunk_id, t.frequency::int
        from new join chunks using (memory_id, ordinal)
        cross join lateral jsonb_each_text(new.terms) as t (term, frequency)
    )
    update memory_scope_stats
    set chunk_count = chunk_count + (select count(*) from chunks),
        term_count = term_count + (select coalesce(sum(length), 0) from chunks)
    where org_id = p_org and user_id = p_user and project_id = p_project;
end $$;

-- Removes the chunks of a memory with their postings and counts, and answers where they stood.
create or replace function remove_memory_chunks(
    p_org text, p_user text, p_project text, p_memory uuid, out parent_id uuid, out place int)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
begin
    with chunks as (
        delete from memory_chunks
        where org_id = p_org and user_id = p_user and project_id = p_project and memory_id = p_memory
        returning length, parent_id, position
    ), stats as (
        update memory_scope_stats
        set chunk_count = chunk_count - (select count(*) from chunks),
            term_count = term_count - (select coalesce(sum(length), 0) from chunks)
        where org_id = p_org and user_id = p_user and project_id = p_project
    )
    select c.parent_id, c.position into parent_id, place from chunks c limit 1;
end $$;

-- Scopes with chunks to embed, of all tenants, those after a scope in the order of their names:
-- those with chunks that have no vector or, with `p_all`, all.
create or replace function scopes_to_embed(
    p_all boolean, p_org text, p_user text, p_project text, p_limit bigint)
returns table (org_id text, user_id text, project_id text)
language plpgsql security definer set search_path = '' as $$
#variable_conflict use_column
begin
    if p_all then
        return query
        select s.org_id, s.user_id, s.project_id from public.memory_scope_stats s
        where s.chunk_count > 0
          and (p_org is null or (s.org_id, s.user_id, s.project_id) > (p_org, p_user, p_project))
        order by s.org_id, s.user_id, s.project_id
        limit p_limit;
    else
        -- Reads `memory_chunks_without_vector`, which is empty most of the time.
        return query
        select distinct c.org_id, c.user_id, c.project_id from public.memory_chunks c
        where c.embedding is null
          and (p_org is null or (c.org_id, c.user_id, c.project_id) > (p_org, p_user, p_project))
        order by c.org_id, c.user_id, c.project_id
        limit p_limit;
    end if;
end $$;

-- The embedder in force: the one that is recorded, if it is in use or about to be, since a worker is
-- alive. Otherwise another may take its place.
create or replace function embedder_in_force(p_lock_class int) returns text
language sql stable as $$
    select embedder from memory_embedder
    where is_used or exists (
        select from pg_locks l
        where l.locktype = 'advisory' and l.granted and l.objsubid = 2
          and l.database = (select oid from pg_database where datname = current_database())
          and l.classid = p_lock_class::oid)
$$;

-- Records `p_embedder` if no other is in force; returns the other if one is. Concurrent callers wait.
create or replace function adopt_embedder(p_embedder text, p_lock_class int) returns text
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

-- The generation of a home changes with its chunks. A trigger, so that no way to write can forget it:
-- chunks are added and removed with their counts.
create or replace function raise_memory_generation() returns trigger language plpgsql as $$
begin
    new.generation := greatest(
        old.generation + 1, (extract(epoch from clock_timestamp()) * 1000000)::bigint);
    return new;
end $$;

-- When a text is changed or moved, in whatever way, the links that were found for the old one, among
-- the memories of its home, are void.
create or replace function drop_memory_links() returns trigger
language plpgsql as $$
begin
    delete from memory_links l
    where l.org_id = old.org_id and l.user_id = old.user_id and l.project_id = old.project_id
      and l.from_id = old.memory_id;
    delete from memory_links l
    where l.org_id = old.org_id and l.user_id = old.user_id and l.project_id = old.project_id
      and l.to_id = old.memory_id;
    return null;
end $$;

-- Postings go with their chunks, in whatever way these go. A trigger and no foreign key, which would look
-- for the chunk of each posting that is inserted: there are some thirty of a chunk, written beside it.
create or replace function drop_memory_postings() returns trigger
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
begin
    delete from memory_postings p using gone g
    where p.org_id = g.org_id and p.chunk_id = g.chunk_id;
    return null;
end $$;

create or replace trigger postings_of_chunks after delete on memory_chunks
    referencing old table as gone
    for each statement execute function drop_memory_postings();

create or replace trigger raise_generation before update on memory_scope_stats
    for each row
    -- Not where a writer only takes its turn.
    when ((old.chunk_count, old.term_count) is distinct from (new.chunk_count, new.term_count))
    execute function raise_memory_generation();

create or replace trigger memory_links_of_a_text after update on memories
    for each row when ((old.text_hash, old.user_id, old.project_id)
                       is distinct from (new.text_hash, new.user_id, new.project_id))
    execute function drop_memory_links();
