//! The state of each tool call of the current step: a ledger without IO. It says what may be done
//! with a call next, and which calls still lack a result when the run ends. `step` and `end` write
//! and send.

use std::collections::HashMap;

use protocol::{id::CallId, tool::Effect};
use store::journal::KnownCall;

/// The state of a call. It only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CallState {
    /// Its intent waits for the next commit. Nothing has been sent.
    Intended,
    /// Its intent is written. It was sent, or may have been.
    Sent,
    /// It has a result, which waits for the next commit.
    Answered,
    /// Its result is written, or waits together with its intent: either both are written or neither.
    Settled,
}

/// Which worker intended or sent a call last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    ThisWorker,
    EarlierWorker,
}

/// What to do with a call that the model asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextMove {
    /// It is new: write the intent, then send it.
    Intend,
    /// An earlier worker intended it, and it may be sent twice.
    SendAgain,
    /// An earlier worker may have sent it, and it must not be sent twice: its outcome is unknown.
    GiveUp,
    /// Its result is in the conversation.
    Skip,
}

/// A call whose intent is known and whose result is not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OpenCall {
    pub(super) id: CallId,
    pub(super) tool: String,
    pub(super) effect: Effect,
}

/// The calls of one step, in the order in which they became known.
#[derive(Debug, Default)]
pub(super) struct CallLedger {
    calls: Vec<TrackedCall>,
}

#[derive(Debug)]
struct TrackedCall {
    call: OpenCall,
    state: CallState,
    sender: Sender,
}

impl CallLedger {
    /// What earlier workers intended in a step that was not completed.
    pub(super) fn restored(known: HashMap<CallId, KnownCall>) -> Self {
        let tracked = |(id, known): (CallId, KnownCall)| TrackedCall {
            call: OpenCall { id, tool: known.tool, effect: known.effect },
            state: if known.settled { CallState::Settled } else { CallState::Sent },
            sender: Sender::EarlierWorker,
        };
        Self { calls: known.into_iter().map(tracked).collect() }
    }

    pub(super) fn next_move(&self, id: CallId) -> NextMove {
        let Some(tracked) = self.calls.iter().find(|tracked| tracked.call.id == id) else {
            return NextMove::Intend;
        };
        match (tracked.state, tracked.call.effect) {
            (CallState::Intended | CallState::Sent, Effect::AtMostOnce) => NextMove::GiveUp,
            (CallState::Intended | CallState::Sent, Effect::ReadOnly | Effect::Idempotent) => {
                NextMove::SendAgain
            }
            (CallState::Answered | CallState::Settled, _) => NextMove::Skip,
        }
    }

    /// The intent of a call is noted.
    pub(super) fn intend(&mut self, call: OpenCall) {
        self.calls.push(TrackedCall {
            call,
            state: CallState::Intended,
            sender: Sender::ThisWorker,
        });
    }

    /// The intent is written, and this worker sends the call.
    pub(super) fn send(&mut self, id: CallId) {
        if let Some(tracked) = self.tracked(id) {
            (tracked.state, tracked.sender) = (CallState::Sent, Sender::ThisWorker);
        }
    }

    /// The result of a call is noted.
    pub(super) fn answer(&mut self, id: CallId) {
        if let Some(tracked) = self.tracked(id) {
            tracked.state = match tracked.state {
                CallState::Intended | CallState::Settled => CallState::Settled,
                CallState::Sent | CallState::Answered => CallState::Answered,
            };
        }
    }

    /// All that was noted is written.
    pub(super) fn written(&mut self) {
        for tracked in &mut self.calls {
            if tracked.state == CallState::Answered {
                tracked.state = CallState::Settled;
            }
        }
    }

    /// Whether the next commit writes the result of a call that this worker sent.
    pub(super) fn has_answers(&self) -> bool {
        let is_ours = |tracked: &TrackedCall| tracked.sender == Sender::ThisWorker;
        self.in_state(&[CallState::Answered]).any(is_ours)
    }

    /// Calls without a result, neither written nor noted: a run that fails gives them one.
    pub(super) fn without_result(&self) -> Vec<OpenCall> {
        self.in_state(&[CallState::Intended, CallState::Sent])
            .map(|tracked| tracked.call.clone())
            .collect()
    }

    /// Calls whose intent is written and whose result is not: a run that is cancelled names them.
    pub(super) fn in_flight(&self) -> Vec<OpenCall> {
        self.in_state(&[CallState::Sent, CallState::Answered])
            .map(|tracked| tracked.call.clone())
            .collect()
    }

    fn in_state<'a>(&'a self, states: &'a [CallState]) -> impl Iterator<Item = &'a TrackedCall> {
        self.calls.iter().filter(|tracked| states.contains(&tracked.state))
    }

    fn tracked(&mut self, id: CallId) -> Option<&mut TrackedCall> {
        self.calls.iter_mut().find(|tracked| tracked.call.id == id)
    }
}

#[cfg(test)]
mod tests {
    use protocol::id::RunId;

    use super::*;

    const EFFECTS: [Effect; 3] = [Effect::ReadOnly, Effect::Idempotent, Effect::AtMostOnce];

    fn id(index: u32) -> CallId {
        CallId::derive(RunId::from_uuid(uuid::Uuid::nil()), 1, index, "t", "{}")
    }

    fn call(index: u32, effect: Effect) -> OpenCall {
        OpenCall { id: id(index), tool: "t".into(), effect }
    }

    fn restored(effect: Effect, settled: bool) -> CallLedger {
        CallLedger::restored([(id(0), KnownCall { tool: "t".into(), effect, settled })].into())
    }

    /// What a run owes for call 0: `(when it fails, when it is cancelled)`.
    fn owed(ledger: &CallLedger) -> (usize, usize) {
        (ledger.without_result().len(), ledger.in_flight().len())
    }

    #[test]
    fn a_call_goes_from_its_intent_to_its_written_result() {
        for effect in EFFECTS {
            let mut ledger = CallLedger::default();
            assert_eq!(ledger.next_move(id(0)), NextMove::Intend);
            ledger.intend(call(0, effect));
            assert_eq!(owed(&ledger), (1, 0), "a cancel forgets an intent that is not written");
            ledger.send(id(0));
            assert_eq!((owed(&ledger), ledger.has_answers()), ((1, 1), false));
            ledger.answer(id(0));
            assert_eq!((owed(&ledger), ledger.has_answers()), ((0, 1), true));
            ledger.written();
            assert_eq!((owed(&ledger), ledger.has_answers()), ((0, 0), false));
            assert_eq!(ledger.next_move(id(0)), NextMove::Skip);
        }
    }

    #[test]
    fn a_call_that_is_never_sent_owes_nothing_once_it_has_its_result() {
        let mut ledger = CallLedger::default();
        ledger.intend(call(0, Effect::AtMostOnce));
        ledger.answer(id(0));
        assert_eq!((owed(&ledger), ledger.has_answers()), ((0, 0), false));
    }

    #[test]
    fn a_call_of_a_lost_worker_is_sent_again_only_if_it_may_be() {
        for effect in EFFECTS {
            let ledger = restored(effect, false);
            let next = ledger.next_move(id(0));
            let want = match effect {
                Effect::ReadOnly | Effect::Idempotent => NextMove::SendAgain,
                Effect::AtMostOnce => NextMove::GiveUp,
            };
            assert_eq!((next, owed(&ledger)), (want, (1, 1)));
            assert_eq!(restored(effect, true).next_move(id(0)), NextMove::Skip);
            assert_eq!(owed(&restored(effect, true)), (0, 0));
        }
    }

    #[test]
    fn a_call_that_is_given_up_is_in_flight_until_its_result_is_written() {
        let mut ledger = restored(Effect::AtMostOnce, false);
        ledger.answer(id(0));
        assert_eq!((owed(&ledger), ledger.has_answers()), ((0, 1), false));
        ledger.written();
        assert_eq!(owed(&ledger), (0, 0));
    }

    #[test]
    fn a_call_that_is_sent_again_is_this_workers_own() {
        let mut ledger = restored(Effect::Idempotent, false);
        ledger.send(id(0));
        ledger.answer(id(0));
        assert!(ledger.has_answers());
    }

    #[test]
    fn calls_stand_for_themselves() {
        let mut ledger = restored(Effect::ReadOnly, false);
        ledger.intend(call(1, Effect::AtMostOnce));
        ledger.send(id(1));
        ledger.answer(id(1));
        assert_eq!(ledger.without_result(), [call(0, Effect::ReadOnly)]);
        assert_eq!(ledger.in_flight().len(), 2);
    }
}
