//! The spans of a run, made of its events. Pure.
//!
//! Events are stamped when they are committed, several at a time: stamps alone would give spans of no
//! length. What a step did it did in order, and says how long each part took: from that, and the
//! stamps as bounds, the spans are laid out.

use indexmap::IndexMap;
use protocol::{
    event::step_id,
    id::{RunId, SpanId},
    run::RunStatus,
    time::Timestamp,
    trace::{SpanKind, SpanStatus, TracePage, TraceSpan},
};
use store::trace::{EventOutline, RunOutline, TraceFact};

/// The page of spans that the events after a cursor make: about `most` of them, but whole steps, and
/// one step in any case.
pub(crate) fn trace_page(run_id: RunId, outline: &RunOutline, most: u32) -> TracePage {
    let reaches_end = outline.events.last().is_none_or(|last| last.seq >= outline.last_seq);
    let end = page_end(&outline.events, most as usize, reaches_end);
    let is_last = reaches_end && end == outline.events.len();
    let page = outline.events.get(..end).unwrap_or_default();
    let mut spans = Spans::after(outline);
    page.iter().for_each(|event| spans.take(event));
    TracePage {
        run_id,
        status: outline.status,
        last_seq: outline.last_seq,
        spans: spans.made(is_last && outline.status.is_terminal()),
        next_cursor: page.last().filter(|_| !is_last).map(|event| event.seq.to_string()),
    }
}

/// How many of the events make the page: those before a step with which it would be too large.
fn page_end(events: &[EventOutline], most_spans: usize, reaches_end: bool) -> usize {
    let (mut spans, mut newest_step, mut step_at) = (0, 0, 0);
    for (at, event) in events.iter().enumerate() {
        let step = event.step.unwrap_or_default();
        // A step that another worker takes up is the same step.
        if event.fact == TraceFact::StepStarted && step > newest_step {
            if spans > most_spans {
                return if step_at > 0 { step_at } else { at };
            }
            (newest_step, step_at) = (step, at);
        }
        spans += usize::from(begins_span(&event.fact));
    }
    let is_too_large = spans > most_spans || !reaches_end;
    if is_too_large && step_at > 0 { step_at } else { events.len() }
}

fn begins_span(fact: &TraceFact) -> bool {
    match fact {
        TraceFact::RunStarted
        | TraceFact::StepStarted
        | TraceFact::Recalled { .. }
        | TraceFact::ModelCalled { .. }
        | TraceFact::ToolCalled { .. }
        | TraceFact::Noted { .. } => true,
        TraceFact::RunEnded | TraceFact::StepCompleted | TraceFact::ToolResult { .. } => false,
    }
}

/// Spans while they are made, in the order in which they began.
struct Spans<'a> {
    outline: &'a RunOutline,
    all: IndexMap<SpanId, Span>,
    /// The step that goes on.
    step: Option<SpanId>,
    /// Where the next part of the step begins.
    clock: i64,
    /// Where the step before ended: this one began no earlier.
    floor: i64,
}

/// A span while it is made; times in milliseconds since 1970.
struct Span {
    made: TraceSpan,
    start: i64,
    end: Option<i64>,
}

impl<'a> Spans<'a> {
    fn after(outline: &'a RunOutline) -> Self {
        let floor = outline.before.map_or(0, Timestamp::millis);
        Self { outline, all: IndexMap::new(), step: None, clock: floor, floor }
    }

    fn take(&mut self, event: &EventOutline) {
        let at = event.ts.millis();
        match &event.fact {
            TraceFact::RunStarted => {
                self.run(event, at);
            }
            TraceFact::RunEnded => self.end_run(event, at),
            TraceFact::StepStarted => {
                let step = self.span(event, event.span_id, SpanKind::Step, at);
                (step.end, step.made.status) = (None, SpanStatus::Running);
                (self.step, self.clock) = (Some(event.span_id), at);
            }
            TraceFact::StepCompleted => {
                let end = at.max(self.clock);
                self.span(event, event.span_id, SpanKind::Step, at).finish(end, SpanStatus::Ok);
                (self.step, self.floor) = (None, end);
            }
            TraceFact::Recalled { hits, duration_ms } => {
                let recall = self.part(event, SpanKind::Memory, *duration_ms);
                recall.made.hits = Some(*hits);
            }
            TraceFact::ModelCalled { usage, cost_usd, duration_ms, .. } => {
                let call = self.part(event, SpanKind::Llm, *duration_ms);
                (call.made.usage, call.made.cost_usd) = (Some(*usage), Some(*cost_usd));
            }
            TraceFact::ToolCalled { .. } => {
                let start = at.max(self.clock);
                self.span(event, event.span_id, SpanKind::Tool, start);
            }
            TraceFact::ToolResult { is_error, duration_ms, .. } => {
                let start = self.clock.max(at.saturating_sub_unsigned(*duration_ms));
                let status = if *is_error { SpanStatus::Error } else { SpanStatus::Ok };
                let call = self.span(event, event.span_id, SpanKind::Tool, start);
                call.start = start;
                call.finish(at.max(start), status);
                self.clock = at.max(start);
            }
            TraceFact::Noted { .. } => {
                let id = SpanId::of_event(event.seq);
                self.span(event, id, SpanKind::Note, at).finish(at, SpanStatus::Ok);
            }
        }
    }

    /// The span of this name, which the event belongs to; it begins with it if there is none.
    fn span(&mut self, event: &EventOutline, id: SpanId, kind: SpanKind, start: i64) -> &mut Span {
        let agent = &self.outline.agent_id;
        let span = self.all.entry(id).or_insert_with(|| Span {
            start,
            end: None,
            made: TraceSpan {
                span_id: id,
                // What has no span to itself stands under the one that it speaks of.
                parent_span_id: match id == event.span_id {
                    true => event.parent_span_id,
                    false => Some(event.span_id),
                },
                kind,
                name: name(&event.fact, event.step, agent.as_str()),
                step: event.step,
                status: SpanStatus::Running,
                started_at: event.ts,
                ended_at: None,
                duration_ms: None,
                usage: None,
                cost_usd: None,
                hits: None,
                first_seq: event.seq,
                last_seq: event.seq,
                contains_secrets: false,
            },
        });
        span.made.last_seq = event.seq;
        span.made.contains_secrets |= event.contains_secrets;
        span
    }

    /// A part of a step whose length is known when it is over. A model call with which the runtime
    /// helps itself, to summarise, speaks of the run and is none of a step.
    fn part(&mut self, event: &EventOutline, kind: SpanKind, duration_ms: u64) -> &mut Span {
        let at = event.ts.millis();
        let began = at.saturating_sub_unsigned(duration_ms);
        if self.step.is_some() && began < self.clock {
            // Committed together with the start of the step: both began before that stamp.
            self.step_began_earlier(self.clock - began);
        }
        let start = if self.step.is_some() { self.clock } else { began.max(self.floor) };
        let end = start.saturating_add_unsigned(duration_ms);
        self.clock = end;
        let is_own = kind == SpanKind::Llm && event.step.is_some();
        let id = if is_own { event.span_id } else { SpanId::of_event(event.seq) };
        let part = self.span(event, id, kind, start);
        part.start = start;
        part.finish(end, SpanStatus::Ok);
        part
    }

    /// Moves the step that goes on, and all that it has, as far back as the step before lets it.
    fn step_began_earlier(&mut self, ms: i64) {
        let Some(first) = self.step.and_then(|step| self.all.get_index_of(&step)) else { return };
        let start = self.all.get_index(first).map_or(self.clock, |(_, step)| step.start);
        let by = ms.min(start - self.floor).max(0);
        for (_, span) in self.all.iter_mut().skip(first) {
            span.start -= by;
            span.end = span.end.map(|end| end - by);
        }
        self.clock -= by;
        if let Some((_, run)) = self.all.first_mut().filter(|(_, one)| one.is_run()) {
            run.start = run.start.min(start - by);
        }
    }

    fn run(&mut self, event: &EventOutline, at: i64) -> &mut Span {
        let (status, usage, cost) =
            (run_status(self.outline.status), self.outline.usage, self.outline.cost_usd);
        let (last_seq, ended_at) = (self.outline.last_seq, self.outline.ended_at);
        let run = self.span(event, event.span_id, SpanKind::Run, at);
        run.made.status = status;
        run.end = ended_at.map(Timestamp::millis);
        run.made.last_seq = last_seq;
        (run.made.usage, run.made.cost_usd) = (Some(usage), Some(cost));
        run
    }

    /// The run stands on the first page; one that never began has only its end.
    fn end_run(&mut self, event: &EventOutline, at: i64) {
        if self.all.contains_key(&event.span_id) || event.seq == 1 {
            self.run(event, at);
        }
    }

    /// All of them. What still goes on when the run has ended was dropped with it.
    fn made(self, has_ended: bool) -> Vec<TraceSpan> {
        let ended_at = self.outline.ended_at.map(Timestamp::millis).filter(|_| has_ended);
        let finished = |mut span: Span| {
            if let Some(end) = ended_at.filter(|_| span.end.is_none()) {
                span.finish(end.max(span.start), SpanStatus::Cancelled);
            }
            let Span { mut made, start, end } = span;
            made.started_at = Timestamp::from_millis(start);
            made.ended_at = end.map(|end| Timestamp::from_millis(end.max(start)));
            made.duration_ms = made.ended_at.map(|end| end.millis_since(made.started_at));
            made
        };
        self.all.into_values().map(finished).collect()
    }
}

impl Span {
    fn is_run(&self) -> bool {
        self.made.kind == SpanKind::Run
    }

    fn finish(&mut self, end: i64, status: SpanStatus) {
        (self.end, self.made.status) = (Some(end), status);
    }
}

fn name(fact: &TraceFact, step: Option<u32>, agent: &str) -> String {
    match fact {
        TraceFact::RunStarted | TraceFact::RunEnded => agent.to_owned(),
        TraceFact::StepStarted | TraceFact::StepCompleted => step_id(step.unwrap_or_default()),
        TraceFact::Recalled { .. } => "recall".to_owned(),
        TraceFact::ModelCalled { model, .. } => model.clone(),
        TraceFact::ToolCalled { tool } | TraceFact::ToolResult { tool, .. } => tool.clone(),
        TraceFact::Noted { name } => name.clone(),
    }
}

fn run_status(status: RunStatus) -> SpanStatus {
    match status {
        RunStatus::Pending | RunStatus::Running | RunStatus::Waiting => SpanStatus::Running,
        RunStatus::Completed => SpanStatus::Ok,
        RunStatus::Failed => SpanStatus::Error,
        RunStatus::Cancelled => SpanStatus::Cancelled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(status: RunStatus, events: Vec<EventOutline>) -> RunOutline {
        RunOutline {
            status,
            last_seq: events.last().map_or(0, |event| event.seq),
            agent_id: Default::default(),
            usage: Default::default(),
            cost_usd: 0.0,
            ended_at: status.is_terminal().then(|| events.last().unwrap().ts),
            before: None,
            events,
        }
    }

    fn run() -> RunId {
        "run_01h455vb4pex5vsknk084sn02q".parse().unwrap()
    }

    /// Events of these facts, each with its stamp and its step.
    fn events(facts: Vec<(i64, u32, &str, TraceFact)>) -> Vec<EventOutline> {
        let of = |part: &str| SpanId::derive(run(), part);
        let event = |(seq, (at, step, part, fact)): (u64, (i64, u32, &str, TraceFact))| {
            let parent = match fact {
                TraceFact::ModelCalled { .. }
                | TraceFact::ToolCalled { .. }
                | TraceFact::ToolResult { .. } => Some(of(&format!("step:{step}"))),
                _ => (step > 0).then(|| of("run")),
            };
            EventOutline {
                seq,
                ts: Timestamp::from_millis(at),
                step: (step > 0).then_some(step),
                span_id: of(part),
                parent_span_id: parent,
                contains_secrets: false,
                fact,
            }
        };
        (1..).zip(facts).map(event).collect()
    }

    fn called(duration_ms: u64) -> TraceFact {
        let (usage, cost_usd) = (Default::default(), 0.5);
        TraceFact::ModelCalled { model: "demo/default".into(), usage, cost_usd, duration_ms }
    }

    fn tool(name: &str) -> TraceFact {
        TraceFact::ToolCalled { tool: name.into() }
    }

    fn result(name: &str, is_error: bool, duration_ms: u64) -> TraceFact {
        TraceFact::ToolResult { tool: name.into(), is_error, duration_ms }
    }

    fn lines(page: &TracePage) -> Vec<String> {
        let line = |span: &TraceSpan| {
            let end = span.ended_at.map_or("…".into(), |end| end.millis().to_string());
            let start = span.started_at.millis();
            format!("{} {start}–{end} {:?} #{}", span.name, span.status, span.first_seq)
        };
        page.spans.iter().map(line).collect()
    }

    #[test]
    fn parts_of_a_step_stand_one_after_another_and_last_as_long_as_they_say() {
        let recalled = TraceFact::Recalled { hits: 2, duration_ms: 40 };
        let events = events(vec![
            (1_000, 0, "run", TraceFact::RunStarted),
            (1_050, 1, "step:1", TraceFact::StepStarted),
            (1_050, 1, "step:1", recalled),
            (1_500, 1, "step:1:model", called(440)),
            (1_500, 1, "a", tool("read_file")),
            (1_530, 1, "a", result("read_file", false, 30)),
            (1_530, 1, "b", tool("write")),
            (1_540, 1, "b", result("write", true, 5)),
            (1_540, 1, "step:1", TraceFact::StepCompleted),
            (1_600, 2, "step:2", TraceFact::StepStarted),
            (1_610, 0, "run", TraceFact::RunEnded),
        ]);
        let page = trace_page(run(), &outline(RunStatus::Cancelled, events), 100);
        assert_eq!(
            lines(&page),
            [
                "main 1000–1610 Cancelled #1",
                "step_0001 1010–1540 Ok #2",
                "recall 1010–1050 Ok #3",
                "demo/default 1050–1490 Ok #4",
                "read_file 1500–1530 Ok #5",
                "write 1535–1540 Error #7",
                "step_0002 1600–1610 Cancelled #10",
            ]
        );
        let by_name = |name: &str| page.spans.iter().find(|span| span.name == name).unwrap();
        assert_eq!(by_name("recall").parent_span_id, Some(by_name("step_0001").span_id));
        assert_eq!(by_name("recall").hits, Some(2));
        assert_eq!(by_name("demo/default").cost_usd, Some(0.5));
        assert_eq!((by_name("main").parent_span_id, page.next_cursor), (None, None));
    }

    #[test]
    fn what_goes_on_has_no_end_and_a_step_taken_up_again_is_one_span() {
        let events = events(vec![
            (1_000, 0, "run", TraceFact::RunStarted),
            (1_000, 1, "step:1", TraceFact::StepStarted),
            (5_000, 0, "run", TraceFact::Noted { name: "run.resumed".into() }),
            (5_000, 1, "step:1", TraceFact::StepStarted),
            (6_000, 1, "step:1:model", called(900)),
            (6_000, 1, "a", tool("slow")),
        ]);
        let page = trace_page(run(), &outline(RunStatus::Running, events), 100);
        assert_eq!(
            lines(&page),
            [
                "main 1000–… Running #1",
                "step_0001 1000–… Running #2",
                "run.resumed 5000–5000 Ok #3",
                "demo/default 5000–5900 Ok #5",
                "slow 6000–… Running #6",
            ]
        );
        assert_eq!(page.spans[2].span_id.event(), Some(3));
    }

    #[test]
    fn a_page_has_whole_steps_and_all_pages_have_all_spans() {
        let mut facts = vec![(0, 0, "run", TraceFact::RunStarted)];
        for step in 1..=40 {
            let at = i64::from(step) * 1_000;
            let name: &'static str = Box::leak(format!("step:{step}").into_boxed_str());
            let call: &'static str = Box::leak(format!("call:{step}").into_boxed_str());
            facts.push((at, step, name, TraceFact::StepStarted));
            facts.push((at, step, call, tool("t")));
            facts.push((at + 9, step, call, result("t", false, 9)));
            facts.push((at + 9, step, name, TraceFact::StepCompleted));
        }
        let all = events(facts);
        let whole = trace_page(run(), &outline(RunStatus::Running, all.clone()), 1_000).spans;
        assert_eq!(whole.len(), 81);
        for most in [1, 2, 3, 10, 79, 80, 81] {
            let (mut seen, mut cursor) = (Vec::new(), 0);
            loop {
                let rest = all.iter().filter(|event| event.seq > cursor).cloned().collect();
                let mut part = outline(RunStatus::Running, rest);
                part.before = all.iter().find(|event| event.seq == cursor).map(|event| event.ts);
                let page = trace_page(run(), &part, most);
                assert!(page.spans.len() <= most.max(3) as usize, "{most}");
                assert!(seen.is_empty() || page.spans.iter().all(|span| span.ended_at.is_some()));
                seen.extend(page.spans);
                let Some(next) = page.next_cursor else { break };
                cursor = next.parse().unwrap();
            }
            assert_eq!(seen, whole, "{most}");
        }
    }
}
