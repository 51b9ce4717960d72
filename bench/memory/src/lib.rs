//! Sets of questions about remembered texts, and how much of the evidence a search finds.
//!
//! `bench memory` uses it through the API, the tests of `memory` directly. Pure except for reading
//! files: it does not search itself.

pub mod figures;
pub mod set;
