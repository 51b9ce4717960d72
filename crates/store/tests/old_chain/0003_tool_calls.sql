-- The effect ledger: each tool call is here before it is sent, and settled with its result.
--
-- Rows are written by the statement that writes `tool.called` and `tool.result` themselves (see
-- `journal`), so that neither can be forgotten. Like events they have no foreign key to `runs`.

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
