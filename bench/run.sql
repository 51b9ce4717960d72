-- The three commits of a one-step run as the runtime makes them: create, claim, finish.
\set n random(1, 281474976710655)
with id as (select ('00000000-0000-7000-8000-' || lpad(to_hex(:n::bigint), 12, '0'))::uuid as run_id),
run as (
    insert into runs (org_id, run_id, user_id, project_id, session_key, agent_id, input)
    select 'org_pgbench', run_id, 'user', '', 's_' || :n, 'main', 'hello' from id
    returning run_id
)
insert into queue (org_id, run_id, available_at)
select 'org_pgbench', run_id, 'infinity' from run;
with taken as (
    update queue
    set lease_owner = '00000000-0000-7000-8000-000000000000', epoch = epoch + 1,
        lease_until = clock_timestamp() + interval '10 min'
    where org_id = 'org_pgbench'
      and run_id = ('00000000-0000-7000-8000-' || lpad(to_hex(:n::bigint), 12, '0'))::uuid
    returning run_id
)
update runs r
set status = 'running', epoch = r.epoch + 1, started_at = clock_timestamp()
from taken t where r.org_id = 'org_pgbench' and r.run_id = t.run_id;
with run as (
    update runs
    set last_seq = last_seq + 6, model = 'demo/instant', step_count = 1, status = 'completed',
        output = 'I am the demo model.', ended_at = clock_timestamp()
    where org_id = 'org_pgbench' and epoch = 1 and status = 'running'
      and run_id = ('00000000-0000-7000-8000-' || lpad(to_hex(:n::bigint), 12, '0'))::uuid
    returning run_id
), new_events as (
    insert into events (org_id, run_id, seq, epoch, agent_id, span_id, type, payload)
    select 'org_pgbench', run_id, seq, 1, 'main', 1, 'llm.called',
           '{"model": "instant", "usage": {"input_tokens": 1800, "output_tokens": 20},
             "content": "I am the demo model.", "provider": "demo", "cost_usd": 0.0}'::jsonb
    from run, generate_series(1, 6) seq
), new_messages as (
    insert into run_messages (org_id, run_id, position, message)
    select 'org_pgbench', run_id, position, '{"role": "user", "content": "hello"}'
    from run, generate_series(0, 1) position
), new_checkpoint as (
    insert into checkpoints (org_id, run_id, step, agent_id, message_count, state)
    select 'org_pgbench', run_id, 1, 'main', 2, '{"last_step": "", "same_steps": 0}' from run
)
delete from queue where org_id = 'org_pgbench' and run_id = (select run_id from run);
