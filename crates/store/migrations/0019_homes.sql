-- What belongs to a memory is seen from where the memory is: see `0014_visibility.sql`.

do $$
declare
    table_name text;
begin
    foreach table_name in array array['memory_versions', 'memory_links'] loop
        execute format('drop policy scope on %I', table_name);
        execute format(
            'create policy scope on %I as restrictive to openintern_app using ('
            'user_id = (select current_setting(''openintern.user_id'', true)) and '
            'project_id in ((select current_setting(''openintern.project_id'', true)), ''*'') or '
            'user_id = ''*'' and project_id = ''*'')', table_name);
    end loop;
end $$;

grant update on memory_versions to openintern_app;
