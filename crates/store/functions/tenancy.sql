-- Naming the tenant, and who owns the functions that read across tenants.
--
-- The statements that are run most are functions: one round trip each, planned once a connection. Each
-- has an index made for it. A plan that was made while a table was small must not read it whole when it
-- has grown, and planning anew costs more than most of them take: hence `force_generic_plan` and
-- `enable_seqscan = off`.
--
-- Those of tenants run with the caller's rights, and begin by naming the tenant whose rows they may
-- touch.

-- Assignments are evaluated where they stand; `perform` begins and ends an execution of its own,
-- which takes longer than what it does here.
create or replace function set_tenant(p_org text, p_user text, p_project text) returns void
language plpgsql as $$
declare
    v_set text;
begin
    v_set := set_config('openintern.org_id', p_org, true);
    v_set := set_config('openintern.user_id', p_user, true);
    v_set := set_config('openintern.project_id', p_project, true);
end $$;

-- What is marked `security definer` runs with the rights of the scheduler, over all tenants: these
-- functions are all that the scheduler can do, and the runtime's only way to do it.
do $$
declare
    signature regprocedure;
begin
    grant create on schema public to openintern_scheduler;
    for signature in
        select p.oid from pg_proc p
        where p.pronamespace = 'public'::regnamespace and p.prosecdef
          and p.proowner = current_user::regrole
    loop
        execute format('revoke all on function %s from public', signature);
        execute format('grant execute on function %s to openintern_app', signature);
        execute format('alter function %s owner to openintern_scheduler', signature);
    end loop;
    revoke create on schema public from openintern_scheduler;
end $$;
