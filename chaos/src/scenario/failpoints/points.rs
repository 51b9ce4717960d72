//! Every failpoint: how a process reaches it, and what it leaves when it dies there. The table is the
//! promise; it follows from the order of commits alone, not from earlier observations.

use crate::model::Task;

/// A point at which a process dies.
pub(super) struct Point {
    /// As the product names it.
    pub(super) name: &'static str,
    /// So often it is passed before it kills.
    pub(super) skip: u32,
    pub(super) death: Death,
    /// The same boundary is met in the short form by another row.
    pub(super) only_long: bool,
}

/// Who dies, and how it comes to the point.
pub(super) enum Death {
    /// A worker with a run.
    Worker(Lead, Leaves<'static>),
    /// A node that is asked for a run; whether a client that asks again finds that run.
    Create { finds_run: bool },
    /// A node that is asked to cancel a run that waits.
    Cancel,
    /// A node that is followed.
    Stream,
    /// A process that migrates.
    Migrate,
}

/// How a worker comes to a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lead {
    Work,
    /// It works for long.
    LongWork,
    /// It takes over the run of a worker that is killed.
    Takeover,
    /// It is asked to stop.
    Drain,
    /// The connection that proves it alive breaks.
    Absence,
}

/// What the worker's run looks like once others have brought it to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaves<'a> {
    /// Claims of the run in all.
    pub(super) claims: i64,
    /// The last event of the claim that was lost; empty when there is none.
    pub(super) last: &'a str,
    /// Why the next claim says that it resumes; empty when it does not say so.
    pub(super) resumed: &'a str,
    /// Outcome and real number of the first step's call that may happen once.
    pub(super) once: (&'a str, usize),
    /// The same of the call after it, which may happen again.
    pub(super) again: (&'a str, usize),
    /// How often the model was asked for each turn.
    pub(super) asked: [usize; 2],
}

const LLM: &str = "memory.recalled"; // The last event before the model answers.
const CALLED: &str = "tool.called";
const STEP: &str = "step.completed";

/// Nothing was done twice or given up.
const WHOLE: Leaves<'static> = Leaves {
    claims: 2,
    last: "",
    resumed: "worker_lost",
    once: ("ok", 1),
    again: ("ok", 1),
    asked: [1, 1],
};
/// A run of one turn, without calls, that the model was asked for twice.
const PLAIN: Leaves<'static> =
    Leaves { last: LLM, once: ("", 0), again: ("", 0), asked: [2, 0], ..WHOLE };
/// The model's answer was lost.
const ASKED_AGAIN: Leaves<'static> = Leaves { last: LLM, asked: [2, 1], ..WHOLE };
/// The intent is there, and nobody knows what became of it.
const UNKNOWN_UNSENT: Leaves<'static> = Leaves { last: CALLED, once: ("unknown", 0), ..WHOLE };
const UNKNOWN_DONE: Leaves<'static> = Leaves { last: CALLED, once: ("unknown", 1), ..WHOLE };
/// The second call was intended and is sent by the next worker.
const SENT_LATER: Leaves<'static> = Leaves { last: CALLED, ..WHOLE };
const SENT_AGAIN: Leaves<'static> = Leaves { last: CALLED, again: ("ok", 2), ..WHOLE };
const AFTER_STEP: Leaves<'static> = Leaves { last: STEP, ..WHOLE };

/// A task has two turns: one with a call that may happen once and one that may happen again, and
/// the answer. So a point of calls is passed first for the one and then for the other.
pub(super) const POINTS: &[Point] = &[
    // The next claim is the first to say anything, so it starts the run.
    worker("after_claim", 0, Lead::Work, Leaves { resumed: "", ..WHOLE }),
    worker("before_model_call", 0, Lead::Work, Leaves { resumed: "", ..WHOLE }),
    long("before_model_call", 1, Lead::Work, AFTER_STEP),
    worker("before_delta_commit", 1, Lead::Work, ASKED_AGAIN),
    worker("after_model_answer", 0, Lead::Work, ASKED_AGAIN),
    worker("before_intent_commit", 0, Lead::Work, ASKED_AGAIN),
    long("before_intent_commit", 1, Lead::Work, UNKNOWN_DONE),
    worker("after_intent_commit", 0, Lead::Work, UNKNOWN_UNSENT),
    long("after_intent_commit", 1, Lead::Work, SENT_LATER),
    long("before_send", 0, Lead::Work, UNKNOWN_UNSENT),
    worker("before_send", 1, Lead::Work, SENT_LATER),
    worker("after_effect", 0, Lead::Work, UNKNOWN_DONE),
    long("after_effect", 1, Lead::Work, SENT_AGAIN),
    worker("before_result_commit", 0, Lead::Work, UNKNOWN_DONE),
    long("before_result_commit", 1, Lead::Work, SENT_AGAIN),
    // With the first result the second intent is written: that call was not sent yet.
    worker("after_result_commit", 0, Lead::Work, SENT_LATER),
    long("after_result_commit", 1, Lead::Work, AFTER_STEP),
    worker("before_step_commit", 0, Lead::Work, SENT_AGAIN),
    worker("after_step_commit", 0, Lead::Work, AFTER_STEP),
    worker("before_end_commit", 0, Lead::Work, Leaves { last: LLM, asked: [1, 2], ..WHOLE }),
    worker(
        "after_end_commit",
        0,
        Lead::Work,
        Leaves { claims: 1, last: "run.completed", resumed: "", ..WHOLE },
    ),
    worker("before_renew", 1, Lead::LongWork, PLAIN),
    worker(
        "between_reclaim_and_first_event",
        0,
        Lead::Takeover,
        Leaves { claims: 3, last: "", ..PLAIN },
    ),
    worker("during_drain", 0, Lead::Drain, PLAIN),
    worker("before_release", 0, Lead::Absence, PLAIN),
    worker("after_release", 0, Lead::Absence, Leaves { resumed: "released", ..PLAIN }),
    other("after_idempotency_insert", 0, Death::Create { finds_run: false }),
    other("after_create_commit_before_ack", 0, Death::Create { finds_run: true }),
    other("after_cancel_commit", 0, Death::Cancel),
    other("during_sse_flush", 2, Death::Stream),
    other("before_migrations", 0, Death::Migrate),
    other("after_migrations", 0, Death::Migrate),
];

const fn worker(name: &'static str, skip: u32, lead: Lead, leaves: Leaves<'static>) -> Point {
    other(name, skip, Death::Worker(lead, leaves))
}

const fn long(name: &'static str, skip: u32, lead: Lead, leaves: Leaves<'static>) -> Point {
    Point { only_long: true, ..worker(name, skip, lead, leaves) }
}

const fn other(name: &'static str, skip: u32, death: Death) -> Point {
    Point { name, skip, death, only_long: false }
}

impl Point {
    /// What the process is told.
    pub(super) fn setting(&self) -> String {
        match self.skip {
            0 => format!("{}=return", self.name),
            skip => format!("{}={skip}*off->return", self.name),
        }
    }

    pub(super) fn is_cancel(&self) -> bool {
        matches!(self.death, Death::Cancel)
    }

    /// The task that leads to it, long enough in its first turn where that is where it dies.
    pub(super) fn task(&self, token: String) -> Task {
        let (steps, words, pace_ms) = match self.death {
            Death::Worker(Lead::Takeover | Lead::Drain, _) => (1, 30, 10),
            Death::Worker(Lead::LongWork, _) => (1, 30, 25),
            Death::Worker(Lead::Absence, _) => (1, 30, 55), // It looks once a second.
            Death::Worker(Lead::Work, _)
            | Death::Create { .. }
            | Death::Cancel
            | Death::Stream
            | Death::Migrate => (2, 12, 10),
        };
        Task { token, steps, words, pace_ms, memories: 0 }
    }
}
