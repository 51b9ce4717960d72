//! The trait of a script: which letters it reads, and which terms a run of them gives.

/// Turns runs of letters into terms. A language with its own rules is one more implementation.
pub(super) trait Script: Send + Sync {
    /// Whether this script reads runs of this letter.
    fn owns(&self, letter: char) -> bool;
    /// Hands every term of a run to `found`, repetitions too. Runs are NFKC and lower case.
    fn terms(&self, run: &str, found: &mut dyn FnMut(String));
}
