-- Runs, their events and checkpoints, and the queue.
--
-- `org_id` leads every key: a unique check or a foreign key then never speaks of another tenant,
-- and the tables can be distributed by it. `project_id` is '' where a scope has no project, so that
-- matching is exact and indexed.

create table runs (
    org_id text not null,
    run_id uuid not null,
    user_id text not null,
    project_id text not null,
    session_key text not null,
    agent_id text not null,
    status text not null default 'pending'
        check (status in ('pending', 'running', 'waiting', 'completed', 'failed', 'cancelled')),
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
    error jsonb,
    llm_config jsonb,
    limits jsonb,
    metadata jsonb not null default '{}',
    model text,
    step_count int not null default 0,
    tool_call_count int not null default 0,
    input_tokens bigint not null default 0,
    output_tokens bigint not null default 0,
    cached_tokens bigint not null default 0,
    cost_usd double precision not null default 0,
    created_at timestamptz not null default clock_timestamp(),
    started_at timestamptz,
    ended_at timestamptz,
    primary key (org_id, run_id),
    check ((status in ('completed', 'failed', 'cancelled')) = (ended_at is not null))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 200);
-- No index holds a column that changes while a run is worked on: its updates stay heap-only.
create index runs_by_scope on runs (org_id, user_id, project_id, run_id);
create index runs_by_session on runs (org_id, user_id, project_id, session_key, run_id);

-- Only live work: rows go when their run ends.
create table queue (
    org_id text not null,
    run_id uuid not null,
    available_at timestamptz not null default clock_timestamp(),
    lease_until timestamptz,
    lease_owner uuid,
    epoch bigint not null default 0,
    primary key (org_id, run_id),
    foreign key (org_id, run_id) references runs on delete cascade,
    check ((lease_until is null) = (lease_owner is null))
) with (
    fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 200,
    autovacuum_vacuum_cost_delay = 0
);
create index queue_ready on queue (available_at) where lease_until is null;
create index queue_leased on queue (lease_until) where lease_until is not null;

-- The tables below have no foreign key to `runs`: each row is inserted by the statement that holds
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

-- The processes that work on this database: who is alive and what tools they offer. No tenant data.
create table nodes (
    node_id uuid primary key,
    started_at timestamptz not null default clock_timestamp(),
    seen_at timestamptz not null default clock_timestamp(),
    version text not null,
    concurrency int not null,
    running int not null default 0,
    tools jsonb not null
);
