//! What is printed: a line for each scenario, each violation in words, and the table of a long run.

use std::{
    collections::HashMap,
    fmt::Write,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::judge::{Sight, Verdict, recovery::Recovery};

/// Violations of one scenario that are printed.
const SHOWN_MAX: usize = 12;

/// The outcomes of all scenarios.
pub(crate) struct Report {
    command: String,
    began: Instant,
    /// With the time that each took.
    verdicts: Vec<(Verdict, Duration)>,
}

impl Report {
    pub(crate) fn new(command: String) -> Self {
        Self { command, began: Instant::now(), verdicts: Vec::new() }
    }

    /// Prints a scenario's line, and what it violated.
    pub(crate) fn add(&mut self, verdict: Verdict) {
        let took = self.began.elapsed() - self.verdicts.iter().map(|(_, took)| *took).sum();
        println!("{}", row(&verdict, took));
        let mut by_check: HashMap<&str, usize> = HashMap::new();
        for violation in &verdict.violations {
            *by_check.entry(violation.check).or_default() += 1;
        }
        if !by_check.is_empty() {
            println!("  violations by check: {by_check:?}");
        }
        for violation in verdict.violations.iter().take(SHOWN_MAX) {
            let run = violation.run_id.map(|run_id| format!(" {run_id}")).unwrap_or_default();
            println!("  {}{run}: {}", violation.check, violation.detail);
        }
        if verdict.violations.len() > SHOWN_MAX {
            println!("  and {} more", verdict.violations.len() - SHOWN_MAX);
        }
        self.verdicts.push((verdict, took));
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.verdicts.iter().all(|(verdict, _)| verdict.violations.is_empty())
    }

    /// Prints the verdict, and writes the table where it is asked for.
    pub(crate) fn finish(&self, results: Option<&Path>) -> Result<()> {
        let violations: usize =
            self.verdicts.iter().map(|(verdict, _)| verdict.violations.len()).sum();
        let seconds = self.began.elapsed().as_secs();
        println!("{violations} violations in {seconds} s; {}", self.command);
        let Some(path) = results else { return Ok(()) };
        let mut text = format!(
            "# What the faults left\n\n`{}` on {}, {seconds} s, {violations} violations.\n\n\
             | scenario | runs | what went wrong on purpose | taken over | handed back | fenced \
             | unknown | streams resumed | recovery p50 / p99 / max, s (runs) | took, s | violations |\n\
             |---|---|---|---|---|---|---|---|---|---|---|\n",
            self.command,
            jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC"),
        );
        for (verdict, took) in &self.verdicts {
            writeln!(text, "{}", row(verdict, *took))?;
        }
        Ok(fs::write(path, text)?)
    }
}

fn row(verdict: &Verdict, took: Duration) -> String {
    let seen = |sight| verdict.sights.get(&sight).copied().unwrap_or(0);
    let recovery = match verdict.recovery {
        Recovery { p50_s: Some(p50), p99_s: Some(p99), max_s: Some(max), runs } => {
            format!("{p50:.2} / {p99:.2} / {max:.2} ({runs})")
        }
        _ => "–".to_owned(),
    };
    format!(
        "| {} | {} | {} | {} | {} | {} | {} | {} | {recovery} | {:.1} | {} |",
        verdict.scenario,
        verdict.runs,
        verdict.faults,
        seen(Sight::Takeover),
        seen(Sight::HandedBack),
        seen(Sight::FencedWrite),
        seen(Sight::Unknown),
        seen(Sight::StreamResumed),
        took.as_secs_f64(),
        verdict.violations.len(),
    )
}
