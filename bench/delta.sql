-- A delta of a run, as a worker that knows of no other run would write it.
\set n random(1, 281474976710655)
\set run random(1, 1000)
with held as (
    select org_id, run_id from runs
    where org_id = 'org_pgbench_deltas' and epoch = 1 and status = 'running'
      and run_id = ('00000000-0000-7000-8000-' || lpad(to_hex(:run::bigint), 12, '0'))::uuid
    for no key update
)
insert into run_deltas (org_id, run_id, seq, n, step, text)
select org_id, run_id, 1, :n, 1, '@1234567890 said now. ' from held;
