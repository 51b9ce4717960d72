-- The audit of an organisation.

-- Appends to the audit of the organisation that the transaction names.
create or replace function note_audit(
    p_org text, p_audit uuid, p_actor text, p_action text, p_subject text, p_detail jsonb)
returns boolean
language plpgsql as $$
begin
    insert into audit (org_id, audit_id, actor, action, subject, detail)
    values (p_org, p_audit, p_actor, p_action, p_subject, p_detail);
    return true;
end $$;
