//! Sets of questions about remembered texts, and how much of the evidence a search finds.
//!
//! For whoever measures: `bench memory` through the API, and the tests of `memory`. Pure but for
//! reading files: who searches, and where, is not known here.

pub mod figures;
pub mod set;
