//! What we remember: chunking, segmentation, embedding, hybrid search, writing.
//!
//! `chunk`, `tokens`, `gist`, `rank`, `fuse` and `snippet` are pure; [`service`] joins them with the store
//! and the embedder. It knows nothing of runs, of HTTP, or of how rows are kept.

pub mod chunk;
mod embed;
pub mod fuse;
pub mod gist;
pub mod rank;
pub mod service;
pub mod snippet;
pub mod tokens;
