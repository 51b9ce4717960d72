-- Memories, the chunks they are searched by, and the words of the chunks.

create extension if not exists vector;

create table memories (
    org_id text not null,
    memory_id uuid not null,
    user_id text not null,
    project_id text not null,
    type text not null check (type in ('core', 'episodic', 'archival')),
    text text not null,
    -- Of the normalised text: what is written twice is kept once.
    text_hash bytea not null,
    metadata jsonb not null default '{}',
    importance real not null check (importance between 0 and 1),
    group_key text,
    position int,
    occurred_at timestamptz,
    -- `occurred_at` is midnight of a day that was given without a time.
    occurred_on_day boolean not null default false,
    -- The run and step that wrote it; null when a person or a program did.
    run_id uuid,
    step int,
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    primary key (org_id, memory_id)
);
create index memories_by_age on memories (org_id, user_id, project_id, created_at, memory_id);
create index memories_by_text on memories (org_id, user_id, project_id, text_hash);
create index memories_core on memories (org_id, user_id, project_id) where type = 'core';

create table memory_chunks (
    org_id text not null,
    chunk_id bigint generated always as identity,
    user_id text not null,
    project_id text not null,
    memory_id uuid not null,
    -- Chunks of one parent are neighbours: a group or, without one, the memory itself.
    parent_id uuid not null,
    position int not null,
    ordinal int not null check (ordinal >= 0),
    chunk_text text not null,
    -- Terms, repetitions counted.
    length int not null check (length >= 0),
    -- Null where no embedder answered: such a chunk is found by its words.
    embedding vector(256),
    embedding_model text,
    -- The distinct terms, as our own segmentation finds them.
    search_tsv tsvector not null,
    primary key (org_id, chunk_id),
    unique (org_id, memory_id, ordinal),
    foreign key (org_id, memory_id) references memories on delete cascade,
    check ((embedding is null) = (embedding_model is null))
);
-- Serves the layout of a scope, in order, without a visit to the table.
create index memory_chunks_by_place
    on memory_chunks (org_id, user_id, project_id, parent_id, position, memory_id, ordinal)
    include (chunk_id, length);

-- Which chunks of a scope have a term. The scope leads the key: how rare a word is, and with it
-- every score, depends on one tenant's own memories. Equality of texts is leakproof, so that the
-- index serves under row-level security too, which `@@` would not let it do.
create table memory_postings (
    org_id text not null,
    user_id text not null,
    project_id text not null,
    term text not null,
    chunk_id bigint not null,
    frequency int not null check (frequency > 0),
    primary key (org_id, user_id, project_id, term, chunk_id) include (frequency),
    foreign key (org_id, chunk_id) references memory_chunks on delete cascade
);
create index memory_postings_by_chunk on memory_postings (org_id, chunk_id);

-- One row a scope, locked first by whoever writes there: writers of a scope take turns.
create table memory_scope_stats (
    org_id text not null,
    user_id text not null,
    project_id text not null,
    chunk_count bigint not null default 0 check (chunk_count >= 0),
    term_count bigint not null default 0 check (term_count >= 0),
    primary key (org_id, user_id, project_id)
) with (fillfactor = 70);
