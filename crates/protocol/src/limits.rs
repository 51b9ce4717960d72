//! The limits of what requests may contain, each with its unit. Limits on how requests and runs are
//! processed are in the crates that process them.

/// Longest `input` of a run, in characters.
pub const INPUT_MAX_CHARS: usize = 256 * 1024;
/// How much of `input` and of `output` a list of runs shows, in bytes.
pub const RUN_TEXT_IN_LIST_MAX_BYTES: usize = 4 * 1024;
/// How much of `output` a single run shows, in bytes; `run.completed` has it whole. An `input` is never
/// longer.
pub const RUN_TEXT_MAX_BYTES: usize = 1024 * 1024;
/// Largest `metadata` of a run or memory, in bytes of compact JSON.
pub const METADATA_MAX_BYTES: usize = 16 * 1024;
/// Longest `text` of a memory, in bytes.
pub const MEMORY_TEXT_MAX_BYTES: usize = 512 * 1024;
/// Longest `query` of a memory search, in bytes.
pub const MEMORY_QUERY_MAX_BYTES: usize = 4096;
/// Most hits of a memory search.
pub const MEMORY_TOP_K_MAX: u32 = 50;
/// Hits of a memory search that names no `top_k`.
pub const MEMORY_TOP_K_DEFAULT: u32 = 8;
/// Most memories of one bulk write.
pub const MEMORY_BULK_MAX: usize = 500;
/// Most rows of a page.
pub const PAGE_LIMIT_MAX: u32 = 500;
/// Rows of a page that names no `limit`.
pub const PAGE_LIMIT_DEFAULT: u32 = 100;
/// Longest text that runs are searched for, in characters.
pub const RUN_QUERY_MAX_CHARS: usize = 256;
/// Most spans of a page of a trace, but for those of one step, which stay together.
pub const TRACE_LIMIT_MAX: u32 = 5_000;
/// Spans of a page of a trace that names no `limit`.
pub const TRACE_LIMIT_DEFAULT: u32 = 1_000;
/// Most bytes of what a span took, and of what it gave, in one answer.
pub const SPAN_PART_MAX_BYTES: u32 = 1024 * 1024;
/// The same for a request that names no `limit`.
pub const SPAN_PART_DEFAULT_BYTES: u32 = 64 * 1024;
/// Longest `Idempotency-Key`, in bytes of visible ASCII.
pub const IDEMPOTENCY_KEY_MAX_BYTES: usize = 255;
/// Longest name of an API key, in characters.
pub const KEY_NAME_MAX_CHARS: usize = 128;
/// Deepest nesting of a JSON body, and of an answer in JSON.
pub const JSON_DEPTH_MAX: usize = 64;
/// Most keys and values of a JSON body, together: so many as a bulk write of `memory import` can have at
/// most, since none takes fewer than two bytes.
pub const JSON_VALUES_MAX: usize = 64 * 1024;
/// Largest `response_format` of a run or an agent, in bytes of compact JSON.
pub const RESPONSE_FORMAT_MAX_BYTES: usize = 32 * 1024;
/// Largest request body, in bytes.
pub const BODY_MAX_BYTES: usize = 1024 * 1024;
