-- The runs that `delta.sql` writes deltas of.
insert into runs (org_id, run_id, user_id, project_id, session_key, agent_id, input, status, epoch)
select 'org_pgbench_deltas', ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'user',
       '', '', 'main', 'hello', 'running', 1
from generate_series(1, 1000) n;
