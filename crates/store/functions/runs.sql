-- Runs come into their session's line, and leave it.

-- Accepts a run: `p_new` is an object with the names of the columns. `busy`: its session has runs that
-- have not ended, and it does not want to wait. `full`: its organisation has `p_queued_max` runs in
-- line; they are counted only if that is given. With `p_audit` the audit names who created it.
-- `p_format` is the schema of the answer, if one is asked for. `p_run` is null, or the id that was given out together with an idempotency key.
--
-- Id and time are taken in turn: under the session's lock, from the database's clock. So runs of a
-- session stand in the order in which they were created, whatever the clocks of the nodes say.
create or replace function create_run(
    p_org text, p_user text, p_project text, p_run uuid, p_new jsonb, p_reject_busy boolean,
    p_queued_max int, p_audit jsonb, p_format text,
    out outcome text, out created uuid, out accepted_at timestamptz, out queued bigint)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    v_now timestamptz;
    v_session text := p_new ->> 'session_key';
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
    perform lock_session(p_org, p_user, p_project, v_session);
    v_busy := exists (
        select from queue
        where org_id = p_org and user_id = p_user and project_id = p_project
          and session_key = v_session and session_key <> '');
    if v_busy and p_reject_busy then
        outcome := 'busy';
        return;
    end if;
    v_now := clock_timestamp();
    created := coalesce(p_run, new_id(v_now));
    insert into runs (org_id, run_id, user_id, project_id, session_key, agent_id, input, llm_config,
                      limits, timezone, response_format, metadata, parent_run_id, forked_from_step, turns_before,
                      input_follows, step_count, created_at)
    values (p_org, created, p_user, p_project, v_session, p_new ->> 'agent_id', p_new ->> 'input',
            p_new -> 'llm_config', p_new -> 'limits', p_new ->> 'timezone', p_format,
            coalesce(p_new -> 'metadata', '{}'), (p_new ->> 'parent_run_id')::uuid,
            (p_new ->> 'forked_from_step')::int, (p_new ->> 'turns_before')::uuid,
            coalesce((p_new ->> 'input_follows')::boolean, false),
            coalesce((p_new ->> 'forked_from_step')::int, 0), v_now);
    insert into queue (org_id, run_id, user_id, project_id, session_key, blocked, available_at)
    values (p_org, created, p_user, p_project, v_session, v_busy, v_now);
    if p_audit is not null then
        insert into audit (org_id, audit_id, at, actor, action, subject, detail)
        values (p_org, new_id(v_now), v_now, p_audit ->> 'actor', p_audit ->> 'action',
                type_id('run', created), p_audit -> 'detail');
    end if;
    accepted_at := v_now;
    outcome := 'accepted';
end $$;

-- Takes a run that has ended out of the line, and answers whether that lets another one go.
create or replace function leave_queue(p_org text, p_user text, p_project text, p_run uuid)
returns boolean
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    v_session text;
    v_next queue;
begin
    delete from queue
    where org_id = p_org and user_id = p_user and project_id = p_project and run_id = p_run
    returning session_key into v_session;
    if not found or v_session = '' then
        return false;
    end if;
    perform lock_session(p_org, p_user, p_project, v_session);
    select * into v_next from queue
    where org_id = p_org and user_id = p_user and project_id = p_project
      and session_key = v_session and session_key <> ''
    order by run_id
    limit 1;
    if v_next.blocked then
        update queue set blocked = false
        where org_id = p_org and user_id = p_user and project_id = p_project
          and run_id = v_next.run_id;
        return true;
    end if;
    return false;
end $$;

-- Held by whoever puts a run into a session's line or takes one out. Take row locks of runs first.
create or replace function lock_session(p_org text, p_user text, p_project text, p_session text)
returns void
language plpgsql as $$
begin
    perform pg_advisory_xact_lock(
        hashtextextended(concat_ws(' ', p_org, p_user, p_project, p_session), 0));
end $$;
