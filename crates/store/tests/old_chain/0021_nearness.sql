-- The index over vectors, built with a wider look around: what it finds of a large home is then what
-- an exact scan finds, for a third more time to write (figures: bench/README.md).

alter index memory_chunks_by_nearness set (ef_construction = 128);
reindex index memory_chunks_by_nearness;
