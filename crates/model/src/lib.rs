//! Language models and embedders: the providers, and what they have in common.
//!
//! Two wire formats (OpenAI's and Anthropic's), a planner that needs no network (`demo`), and one
//! that follows a script (for tests). An answer is either whole or an error, never a part. This
//! crate knows neither runs nor events, reads no environment and stores nothing.

pub mod chat;
pub mod embedding;
pub mod error;
pub mod fallback;
pub mod health;
pub mod lessons;
pub mod limits;
pub mod models;
pub mod prices;
pub mod retry;
pub mod routes;
pub mod scripted;
pub mod settings;
pub mod taught;
pub mod tokens;
pub mod tool_list;
pub mod windows;

mod answer;
mod answer_stream;
mod anthropic;
mod attempt;
pub mod demo;
mod formats;
mod http;
mod json;
mod names;
mod openai;
mod patterns;
mod said;
mod sse;
mod tool_schema;
