//! Memory: chunking, text analysis, embedding and hybrid search.
//!
//! `analysis`, `chunk`, `fuse`, `gist`, `rank` and `snippet` are pure; [`service`] joins them with the
//! store and the embedder. It knows nothing of runs, of HTTP, or of how rows are kept.

pub mod analysis;
pub mod chunk;
mod embed;
pub mod fuse;
pub mod gist;
pub mod rank;
pub mod service;
pub mod snippet;
