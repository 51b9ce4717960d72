-- Who is next: runs of one session do one after another, and organisations take turns.
--
-- The defaults let the version before this one go on inserting while nodes are being replaced; a
-- run without a session waits for nobody.

alter table queue
    add column user_id text not null default '',
    add column project_id text not null default '',
    add column session_key text not null default '';

update queue q
set user_id = r.user_id, project_id = r.project_id, session_key = r.session_key
from runs r
where r.org_id = q.org_id and r.run_id = q.run_id;

create index queue_by_session on queue (org_id, user_id, project_id, session_key, run_id);
drop index queue_ready;
create index queue_ready on queue (org_id, available_at) where lease_until is null;
