//! Whether an organisation may put one more run into the queue, without counting the queue each time.
//!
//! After a count, a sixteenth of what is free may come in uncounted. So a single node is exact where
//! it matters, at the edge, and every further node may let in at most a sixteenth more.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// The share of what is free that comes in uncounted.
const UNCOUNTED_SHARE: u32 = 16;
/// Organisations that are remembered; beyond that all are counted anew.
const ORGS_MAX: usize = 10_000;

/// What may come in uncounted, by organisation.
#[derive(Debug, Default)]
pub(crate) struct Admission(Mutex<HashMap<String, u32>>);

impl Admission {
    /// Lets one in uncounted, or returns `false`: the queue must be counted first.
    pub(crate) fn passes(&self, org: &str) -> bool {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match left.get_mut(org) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    /// Records how many were in the queue before the one that was counted.
    pub(crate) fn counted(&self, org: &str, queued: u32, most: u32) {
        let free = most.saturating_sub(queued.saturating_add(1));
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if left.len() >= ORGS_MAX && !left.contains_key(org) {
            left.clear();
        }
        left.insert(org.to_owned(), free / UNCOUNTED_SHARE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_becomes_rare_far_from_the_edge_and_exact_near_it() {
        let admission = Admission::default();
        assert!(!admission.passes("a"), "nothing is known yet");
        admission.counted("a", 0, 161);
        let passed = (0..100).filter(|_| admission.passes("a")).count();
        assert_eq!(passed, 10);
        assert!(!admission.passes("b"), "another organisation is counted on its own");
        admission.counted("a", 146, 161);
        assert!(!admission.passes("a"));
    }
}
