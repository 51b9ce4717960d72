-- Every table, with each column where its table is.
--
-- `org_id` leads every key, unique index and foreign key of a tenant's table: a check then never
-- speaks of another tenant, and the rows of one organisation can be moved to another database as
-- they are. The tables cannot be distributed by Citus: the functions in `0003_functions.sql` lock and
-- write several of them in one statement.
--
-- `project_id` is '' where a scope has no project, so that matching it is exact and indexed.
-- Which tables keep tenants apart, and who may do what with them, is in `0002_tenancy.sql`.

do $$
begin
    -- Where a provider has made it, our login may not be allowed to ask.
    if not exists (select from pg_extension where extname = 'vector') then
        create extension vector;
    end if;
end $$;

-- The check of a type is kept ready by each connection; that of a table is read from the catalogue again
-- by every statement that writes to the table, which costs three statements of every run a tenth.
create domain run_status as text
    check (value in ('pending', 'running', 'waiting', 'completed', 'failed', 'cancelled'));

create table runs (
    org_id text not null,
    run_id uuid not null,
    user_id text not null,
    project_id text not null,
    session_key text not null,
    agent_id text not null,
    status run_status not null default 'pending',
    -- How often the run was claimed. Every write of a worker names it: an older one is refused.
    epoch bigint not null default 0,
    -- The number of the last event. The next one is given out under this row's lock.
    last_seq bigint not null default 0,
    -- Claims after a lost lease since the last completed step.
    attempts int not null default 0,
    cancel_requested_by text,
    cancel_reason text,
    input text not null,
    output text,
    -- The output is not whole.
    output_cut boolean not null default false,
    -- The output is JSON that matches the schema that was asked for.
    output_is_json boolean not null default false,
    error jsonb,
    llm_config jsonb,
    limits jsonb,
    -- The JSON Schema of the answer. As text: models write properties in the order in which they stand
    -- there, and jsonb would change it.
    response_format text,
    -- Says what day it is for the run; the agent's or the operator's where it is null.
    timezone text,
    metadata jsonb not null default '{}',
    -- Of a fork: the run that it was made of, and the last step that it took over from there.
    parent_run_id uuid,
    forked_from_step int,
    -- Of a fork: earlier turns of its session are those before this run, the first of its ancestors.
    turns_before uuid,
    -- The input is said behind the steps that were taken over, and is not the task before them.
    input_follows boolean not null default false,
    model text,
    -- Those that a fork took over included.
    step_count int not null default 0,
    tool_call_count int not null default 0,
    input_tokens bigint not null default 0,
    output_tokens bigint not null default 0,
    -- A part of `output_tokens`.
    reasoning_tokens bigint not null default 0,
    cached_tokens bigint not null default 0,
    cost_usd double precision not null default 0,
    -- Of messages and events, as JSON.
    written_bytes bigint not null default 0,
    created_at timestamptz not null default clock_timestamp(),
    started_at timestamptz,
    ended_at timestamptz,
    primary key (org_id, run_id),
    check ((status in ('completed', 'failed', 'cancelled')) = (ended_at is not null)),
    check (num_nulls(parent_run_id, forked_from_step, turns_before) in (0, 3)
           and forked_from_step >= 0)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 200);
-- No index holds a column that changes while a run is worked on: its updates stay heap-only.
create index runs_by_scope on runs (org_id, user_id, project_id, run_id);
create index runs_by_parent on runs (org_id, user_id, project_id, parent_run_id, run_id)
    where parent_run_id is not null;
-- The two indexes by session, this one and the queue's, hold only runs that have a session. To a
-- planner that knows nothing of a tenant yet, an index over all runs looks as good as the primary key
-- for finding one run, and is then read from end to end. A query that looks up a session says
-- `session_key <> ''`; one that looks up a run does not.
create index runs_by_session on runs (org_id, user_id, project_id, session_key, run_id)
    where session_key <> '';

-- Only live work: a row goes when its run ends. Without a foreign key to `runs`: a run and its place
-- in the queue are written by one function and leave with the end, and the check cost each run time.
create table queue (
    org_id text not null,
    run_id uuid not null,
    user_id text not null default '',
    project_id text not null default '',
    -- '' for a run without a session: it waits for no other.
    session_key text not null default '',
    -- Another run of the session is before it. Set when the run comes, and cleared when the one before
    -- it ends, each time under the session's lock: a claim asks one partial index and nothing else.
    blocked boolean not null default false,
    available_at timestamptz not null default clock_timestamp(),
    lease_until timestamptz,
    lease_owner uuid,
    epoch bigint not null default 0,
    primary key (org_id, run_id),
    check ((lease_until is null) = (lease_owner is null))
) with (
    fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 200,
    autovacuum_vacuum_cost_delay = 0
);
create index queue_ready on queue (org_id, available_at) where lease_until is null and not blocked;
create index queue_leased on queue (lease_until) where lease_until is not null;
create index queue_by_session on queue (org_id, user_id, project_id, session_key, run_id)
    where session_key <> '';

-- What belongs to a run has no foreign key to `runs`: each row is inserted by the statement that holds
-- the run's row lock and has checked its epoch, which says more, and costs nothing per row.

create table events (
    org_id text not null,
    run_id uuid not null,
    seq bigint not null check (seq > 0),
    ts timestamptz not null default clock_timestamp(),
    epoch bigint not null,
    agent_id text not null,
    step int,
    span_id bigint not null,
    parent_span_id bigint,
    type text not null,
    payload jsonb not null,
    contains_secrets boolean not null default false,
    primary key (org_id, run_id, seq)
);

-- The conversation of a run, each message once; a checkpoint says how many it stands on.
create table run_messages (
    org_id text not null,
    run_id uuid not null,
    position int not null check (position >= 0),
    message jsonb not null,
    primary key (org_id, run_id, position)
);

create table checkpoints (
    org_id text not null,
    run_id uuid not null,
    step int not null check (step > 0),
    agent_id text not null,
    message_count int not null,
    state jsonb not null,
    created_at timestamptz not null default clock_timestamp(),
    primary key (org_id, run_id, step)
);

-- The tools as a model was told of them, each list once: what was sent to a model names one by its
-- digest.
create table tool_sets (
    org_id text not null,
    digest text not null check (digest ~ '^[0-9a-f]{16}$'),
    tools jsonb not null,
    primary key (org_id, digest)
);

-- The effect ledger: each tool call is here before it is sent, and settled with its result. Written by
-- the statement that writes `tool.called` and `tool.result`, so that neither can be forgotten.
create table tool_calls (
    org_id text not null,
    run_id uuid not null,
    call_id uuid not null,
    step int not null check (step > 0),
    tool text not null,
    -- As it was when the call was intended: a changed configuration changes no call that was made.
    effect text not null check (effect in ('read_only', 'idempotent', 'at_most_once')),
    status text not null
        check (status in ('intent', 'ok', 'error', 'timeout', 'denied', 'unknown')),
    -- The claim that intended it: only that worker may send a call that is at most once.
    epoch bigint not null,
    intended_at timestamptz not null default clock_timestamp(),
    settled_at timestamptz,
    primary key (org_id, run_id, call_id),
    check ((status = 'intent') = (settled_at is null))
);

-- Text of a model's answer as it comes, between event `seq` and the next. Unlogged: after a crash
-- of the database it is gone, and `llm.called` holds the whole text.
create unlogged table run_deltas (
    org_id text not null,
    run_id uuid not null,
    seq bigint not null,
    n bigint not null check (n > 0),
    step int not null,
    -- null: the text of this step so far is void.
    text text,
    created_at timestamptz not null default clock_timestamp(),
    primary key (org_id, run_id, seq, n)
);
create index run_deltas_by_age on run_deltas (created_at);

create table idempotency_keys (
    org_id text not null,
    user_id text not null,
    project_id text not null,
    key text not null,
    request_hash bytea not null,
    run_id uuid not null,
    created_at timestamptz not null default clock_timestamp(),
    primary key (org_id, user_id, project_id, key)
);
create index idempotency_keys_by_age on idempotency_keys (created_at);

-- Completed runs that are not remembered yet. A row is as durable as the end of its run, since it is
-- inserted by the statement that commits it; it goes with the memory, in one transaction.
--
-- Narrow on purpose, with one index: every completed run inserts a row and deletes it again. Whose
-- the run is stands in the run.
create table runs_to_remember (
    org_id text not null,
    run_id uuid not null,
    noted_at timestamptz not null default clock_timestamp(),
    -- A worker has it until then; afterwards any may take it.
    held_until timestamptz,
    -- How often it was taken: the claim of a reservation to `remember`.
    tries int not null default 0,
    primary key (org_id, run_id)
) with (fillfactor = 70);

-- The processes that work on this database: who is alive and what tools they offer. No tenant data.
create table nodes (
    node_id uuid primary key,
    started_at timestamptz not null default clock_timestamp(),
    seen_at timestamptz not null default clock_timestamp(),
    version text not null,
    concurrency int not null,
    running int not null default 0,
    tools jsonb not null,
    notes jsonb not null default '{}'
);
-- `claim_runs` sums up the places of those that are alive, with scans of whole tables switched off.
create index nodes_by_sign_of_life on nodes (seen_at);

-- Leases that ran out, each with the worker that held it: how many workers die, whatever run they
-- hold. Of interest for a minute. No tenant's data.
create table lost_leases (
    lost_at timestamptz not null,
    run_id uuid not null,
    node uuid not null,
    -- Workers that the run had lost by then since its last completed step.
    attempts int not null,
    primary key (lost_at, run_id)
);

-- What providers have taught about their models by refusing, for all nodes. No tenant's data: but the
-- name of a model may come from a tenant, and is therefore a plain one.
create table model_lessons (
    base_url text not null check (octet_length(base_url) <= 4096),
    model text not null check (model ~ '^[A-Za-z0-9._:/@+-]{1,128}$'),
    lesson jsonb not null check (
        lesson ->> 'kind' in (
            'token_bound', 'answer_tokens_max', 'context_tokens', 'no_temperature', 'no_stream', 'no_stream_options',
            'reasoning', 'short_ids', 'no_null_content', 'no_cache_key', 'tool')
        and octet_length(lesson::text) <= 1024),
    learnt_at timestamptz not null default clock_timestamp(),
    primary key (base_url, model, lesson)
);

-- Models that failed lately, for all nodes; one that is well has no row. No tenant's data: only models
-- that the configuration names are here.
create table model_breakers (
    model text primary key check (octet_length(model) <= 1024),
    -- Failures in a row since `counted_from`.
    failures int not null,
    counted_from timestamptz not null default clock_timestamp(),
    -- Whose the first of them was, and how many were of others; null where all are to wait.
    first_org text,
    others int not null default 0,
    -- Nobody asks it before.
    rests_until timestamptz,
    -- Somebody asks it on trial; others wait until then.
    trial_until timestamptz
) with (fillfactor = 70);

-- When a provider whose limits are set may be asked next, by requests and by tokens. `served_s` is how
-- far its organisations have been served, in seconds of its limits. No tenant's data.
create table provider_turns (
    provider text primary key check (octet_length(provider) <= 256),
    requests_at timestamptz not null default clock_timestamp(),
    tokens_at timestamptz not null default clock_timestamp(),
    served_s double precision not null default 0
) with (fillfactor = 70);

-- How much of such a provider an organisation has had, on the same scale, and whether it waits.
create table provider_shares (
    org_id text not null,
    provider text not null check (octet_length(provider) <= 256),
    used_s double precision not null,
    waits_until timestamptz not null,
    primary key (org_id, provider)
) with (fillfactor = 70);
create index provider_shares_by_provider on provider_shares (provider);

-- API keys and the audit belong to an organisation as a whole. A key is kept as its SHA-256: it is 256
-- random bits, so that a slow hash would add nothing, and finding it by its hash compares no secret.
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

-- Logins of the web page: what its cookie stands for.
create table logins (
    org_id text not null,
    login_hash bytea not null check (octet_length(login_hash) = 32),
    -- The key that logged in; null: a token, whose claims follow.
    key_id uuid,
    user_id text,
    project_id text,
    rights text[],
    -- The id of the key that signed the token, where it has one.
    signing_key text,
    created_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz not null,
    primary key (org_id, login_hash),
    foreign key (org_id, key_id) references api_keys on delete cascade,
    check (case when key_id is null then user_id is not null and rights is not null
                else user_id is null and project_id is null and rights is null
                     and signing_key is null end)
);
-- As with `api_keys_by_hash`: by the secret the organisation is found.
create unique index logins_by_hash on logins (login_hash);
create index logins_by_holder on logins (org_id, key_id, user_id, created_at);
create index logins_by_end on logins (expires_at);

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

-- What an organisation used on a day (UTC, by the database's clock).
create table org_usage (
    org_id text not null,
    day date not null,
    input_tokens bigint not null default 0,
    output_tokens bigint not null default 0,
    -- A sum of very many small amounts: exact.
    cost_usd numeric not null default 0,
    primary key (org_id, day)
) with (fillfactor = 50);

-- What is set aside for model calls that have not answered yet. A reservation belongs to a claim and
-- holds as long as that claim is the run's newest and its lease was not given back: whatever else
-- happens to a worker, what it had set aside is free again when another takes the run over or the run
-- ends, without a clean-up. One a run: it asks its model one thing at a time.
create table usage_reservations (
    org_id text not null,
    run_id uuid not null,
    -- What the model call is for: a step of the run, or remembering it once it has ended.
    purpose text not null check (purpose in ('run', 'remember')),
    -- To `run`: the epoch. To `remember`: which try.
    claim bigint not null,
    day date not null,
    tokens bigint not null,
    cost_usd numeric not null,
    primary key (org_id, run_id)
);

-- Memories live in a home: with a user and a project, with a user in all projects, or with an
-- organisation. `*`, which no name can be, stands for all. From a scope one sees its own home and those
-- two. Who may write there is a matter of rights, which the database does not know.
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
    -- By how much clocks were ahead of UTC where it happened: says which day that was.
    occurred_offset_s int not null default 0,
    -- The run and step that wrote it; null when a person or a program did.
    run_id uuid,
    step int,
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    -- Who wrote it; may be null where it lives with its writer.
    writer_user_id text,
    writer_project_id text,
    primary key (org_id, memory_id),
    constraint home check (user_id <> '*' or project_id = '*'),
    check ((user_id <> '*' and project_id <> '*') or writer_user_id is not null)
);
create index memories_by_age on memories (org_id, user_id, project_id, created_at, memory_id);
create index memories_by_text on memories (org_id, user_id, project_id, text_hash);
create index memories_core on memories (org_id, user_id, project_id) where type = 'core';

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

-- Which embedder the vectors of this database are of. Vectors of two are not comparable, so there is
-- one at a time: a node that is set to another does not start, and what a node that still runs
-- would write is left without a vector, for nodes of the one in force to fill in. No tenant data.
create table memory_embedder (
    -- One row, or none before the first start with an embedder.
    is_only boolean primary key default true check (is_only),
    -- With its projection, as `memory_chunks.embedding_model` has it.
    embedder text not null,
    -- A vector of it was kept. That is noted here because to look for one could mean to read all
    -- chunks, or what a reindex has left of them.
    is_used boolean not null default false
);

create table memory_chunks (
    org_id text not null,
    -- Writers of a home take turns, so that what comes later has a higher number. A chunk that moves to
    -- another home is deleted here and inserted there.
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
    check ((embedding is null) = (embedding_model is null)),
    constraint home check (user_id <> '*' or project_id = '*')
);
-- Serves the layout of a scope, in order, without a visit to the table.
create index memory_chunks_by_place
    on memory_chunks (org_id, user_id, project_id, parent_id, position, memory_id, ordinal)
    include (chunk_id, length);
-- What was added to a home since a reader last looked.
create index memory_chunks_by_number
    on memory_chunks (org_id, user_id, project_id, chunk_id) include (parent_id);
-- Finds the scopes with chunks that no embedder has answered for yet. Empty most of the time.
create index memory_chunks_without_vector
    on memory_chunks (org_id, user_id, project_id) where embedding is null;
-- For homes too large to be compared one by one. Half the precision is a quarter of the time to build
-- and half the room, and what is found is compared again with the whole vector. It knows nothing of
-- tenants: it is asked to go on until enough of its answers pass the filter. Built with a wider look
-- around than is usual: what it finds of a large home is then what an exact scan finds, for a third
-- more time to write (figures: bench/README.md).
create index memory_chunks_by_nearness
    on memory_chunks using hnsw ((embedding::halfvec(256)) halfvec_cosine_ops)
    with (ef_construction = 128);

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
    constraint home check (user_id <> '*' or project_id = '*')
);
create index memory_postings_by_chunk on memory_postings (org_id, chunk_id);

-- One row a scope, locked first by whoever writes there: writers of a scope take turns.
create table memory_scope_stats (
    org_id text not null,
    user_id text not null,
    project_id text not null,
    chunk_count bigint not null default 0 check (chunk_count >= 0),
    term_count bigint not null default 0 check (term_count >= 0),
    -- Changes whenever the chunks of a scope do, in the same transaction: what was read of them and
    -- kept is good as long as the number is the same. Microseconds, or one more than before: it is not
    -- given out twice even if the row is deleted and made anew.
    generation bigint not null default extract(epoch from clock_timestamp()) * 1000000,
    -- How far the pass for links came, in the order of `updated_at, memory_id`.
    compared_to timestamptz,
    compared_to_id uuid,
    primary key (org_id, user_id, project_id),
    constraint home check (user_id <> '*' or project_id = '*')
) with (fillfactor = 70);
