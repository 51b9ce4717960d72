-- What was added to a home since somebody last looked. Writers of a home take turns, so that what
-- comes later has a higher number: chunks that move get a new one, and their postings follow.

create index memory_chunks_by_number
    on memory_chunks (org_id, user_id, project_id, chunk_id) include (parent_id);

alter table memory_postings
    drop constraint memory_postings_org_id_chunk_id_fkey,
    add foreign key (org_id, chunk_id) references memory_chunks
        on delete cascade on update cascade;
