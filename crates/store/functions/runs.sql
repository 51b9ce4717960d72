-- Runs come into their session's line, and leave it.

-- Accepts a run. `busy`: its session has runs that have not ended, and it does not want to wait.
-- `full`: its organisation has `p_queued_max` runs in line; they are counted only if that is given.
create or replace function create_run(
    p_org text, p_user text, p_project text, p_run uuid, p_session text, p_agent text, p_input text,
    p_llm_config jsonb, p_limits jsonb, p_metadata jsonb, p_reject_busy boolean, p_queued_max int,
    out outcome text, out accepted_at timestamptz, out queued bigint)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    v_busy boolean;
begin
    perform set_tenant(p_org, p_user, p_project);
    if p_queued_max is not null then
        select count(*) into queued
        from (select from queue where org_id = p_org and lease_until is null
              limit p_queued_max) line;
        if queued >= p_queued_max then
            outcome := 'full';
            return;
        end if;
    end if;
    perform lock_session(p_org, p_user, p_project, p_session);
    v_busy := exists (
        select from queue
        where org_id = p_org and user_id = p_user and project_id = p_project
          and session_key = p_session and session_key <> '');
    if v_busy and p_reject_busy then
        outcome := 'busy';
        return;
    end if;
    insert into runs (org_id, run_id, user_id, project_id, session_key, agent_id, input, llm_config,
                      limits, metadata)
    values (p_org, p_run, p_user, p_project, p_session, p_agent, p_input, p_llm_config, p_limits,
            coalesce(p_metadata, '{}'))
    returning created_at into accepted_at;
    insert into queue (org_id, run_id, user_id, project_id, session_key, blocked)
    values (p_org, p_run, p_user, p_project, p_session, v_busy);
    outcome := 'accepted';
end $$;

-- Takes a run that has ended out of the line, and answers whether that lets another one go.
create or replace function leave_queue(p_org text, p_run uuid) returns boolean
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    v_left queue;
    v_next queue;
begin
    delete from queue where org_id = p_org and run_id = p_run returning * into v_left;
    if not found or v_left.session_key = '' then
        return false;
    end if;
    perform lock_session(p_org, v_left.user_id, v_left.project_id, v_left.session_key);
    select * into v_next from queue
    where org_id = p_org and user_id = v_left.user_id and project_id = v_left.project_id
      and session_key = v_left.session_key and session_key <> ''
    order by run_id
    limit 1;
    if v_next.blocked then
        update queue set blocked = false where org_id = p_org and run_id = v_next.run_id;
        return true;
    end if;
    return false;
end $$;

-- Held by whoever puts a run into a session's line or takes one out. Take row locks of runs first.
create or replace function lock_session(p_org text, p_user text, p_project text, p_session text) returns void
language plpgsql as $$
begin
    perform pg_advisory_xact_lock(
        hashtextextended(concat_ws(' ', p_org, p_user, p_project, p_session), 0));
end $$;
