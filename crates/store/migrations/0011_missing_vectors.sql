-- Finds the scopes with chunks that no embedder has answered for yet. Empty most of the time.
create index memory_chunks_without_vector
    on memory_chunks (org_id, user_id, project_id) where embedding is null;
