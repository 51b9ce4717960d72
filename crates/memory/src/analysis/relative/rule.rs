//! A form of expression: the pattern that finds it, and the function that reads it.

use jiff::{Zoned, civil::Date};
use regex::{Captures, Regex};

use crate::analysis::period::Period;

/// A form of expression, and what it names.
pub(super) struct Rule {
    pub(super) pattern: Regex,
    pub(super) read: fn(&Expression<'_>) -> Option<Period>,
}

/// An expression that was found in a text.
pub(super) struct Expression<'t> {
    pub(super) captures: Captures<'t>,
    /// The characters around it.
    pub(super) before: Option<char>,
    pub(super) after: Option<char>,
    pub(super) now: &'t Zoned,
}

impl Expression<'_> {
    pub(super) fn group(&self, name: &str) -> Option<&str> {
        self.captures.name(name).map(|group| group.as_str())
    }

    pub(super) fn today(&self) -> Date {
        self.now.date()
    }
}

pub(super) fn rule(pattern: &str, read: fn(&Expression<'_>) -> Option<Period>) -> Rule {
    Rule { pattern: Regex::new(pattern).expect("the patterns of this folder are tested"), read }
}
