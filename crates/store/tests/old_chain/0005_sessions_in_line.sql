-- Whether a run waits for another of its session is written down when it comes, and undone by
-- whoever ends the one before it, each in a transaction that holds the session's lock. A claim
-- then asks one partial index and nothing else.

alter table queue add column blocked boolean not null default false;

update queue q
set blocked = true
where session_key <> '' and exists (
    select from queue e
    where e.org_id = q.org_id and e.user_id = q.user_id and e.project_id = q.project_id
      and e.session_key = q.session_key and e.run_id <> q.run_id
      and (e.lease_until is not null or (q.lease_until is null and e.run_id < q.run_id)));

drop index queue_ready;
create index queue_ready on queue (org_id, available_at) where lease_until is null and not blocked;

-- The two indexes by session know a session's runs only. To a planner that knows nothing of a tenant
-- yet, they looked as good as the primary key for finding one run, and were then read from end to
-- end. Who looks up a session says `session_key <> ''`; who looks up a run does not.
drop index queue_by_session;
create index queue_by_session on queue (org_id, user_id, project_id, session_key, run_id)
    where session_key <> '';
drop index runs_by_session;
create index runs_by_session on runs (org_id, user_id, project_id, session_key, run_id)
    where session_key <> '';
