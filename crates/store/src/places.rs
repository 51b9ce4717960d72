//! Places at the database, shared out among organisations: however much one of them asks at once,
//! the others are served. What belongs to no organisation needs no place; a part of the connections is
//! kept for it. Counted are the places of this process alone.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use crate::{error::StoreError, failpoint};

/// Statements of an organisation's requests that may wait for a place; one more is refused.
const WAITING_PER_ORG: usize = 1024;
/// How long one of them waits.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Of so many connections, one is kept for what belongs to no organisation.
const CONNECTIONS_PER_KEPT: usize = 8;

/// The places of this process, as a part of it asks for them.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    shared: Arc<Shared>,
    patience: Patience,
}

/// How long a statement waits for its place, and with how many others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// Its client can be told to come back.
    Request,
    /// It waits as long as its run is in hand: there are no more of these than a worker has places,
    /// and a run that is refused would begin its step again elsewhere.
    Run,
}

#[derive(Debug)]
struct Shared {
    /// Most places of one organisation while others wait: half of all.
    share: usize,
    /// Most places of one organisation while nobody else waits: three quarters. The rest is there for
    /// who comes next, since a place that was lent comes back only when its statement has ended.
    most: usize,
    wait_max: Duration,
    turns: Mutex<Turns>,
}

/// There are no entries without a place and without anybody who waits.
#[derive(Debug, Default)]
struct Turns {
    free: usize,
    orgs: HashMap<Arc<str>, Org>,
    /// Organisations that wait, the next one first; each once.
    waiting: VecDeque<Arc<str>>,
}

#[derive(Debug, Default)]
struct Org {
    held: usize,
    waiting: VecDeque<Asker>,
}

/// Who waits for a place.
#[derive(Debug)]
struct Asker {
    served: oneshot::Sender<()>,
    patience: Patience,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    shared: Arc<Shared>,
    org: Arc<str>,
}

impl Places {
    /// As many as these connections can serve.
    pub(crate) fn new(connections: u32) -> Self {
        Self::with_patience(connections, WAIT_MAX)
    }

    fn with_patience(connections: u32, wait_max: Duration) -> Self {
        let connections = connections as usize;
        let free = (connections - connections / CONNECTIONS_PER_KEPT).max(1);
        let shared = Arc::new(Shared {
            share: (free / 2).max(1),
            most: (free * 3 / 4).max(1),
            wait_max,
            turns: Mutex::new(Turns { free, ..Turns::default() }),
        });
        Self { shared, patience: Patience::Request }
    }

    /// The same places, for statements of runs.
    pub(crate) fn for_runs(&self) -> Self {
        Self { patience: Patience::Run, ..self.clone() }
    }

    /// A place for a statement or a transaction of the organisation, in its turn.
    pub(crate) async fn take(&self, org: &str) -> Result<Place, StoreError> {
        let org = if failpoint::is_off("shares") { "" } else { org }; // Then all are one.
        let mut waiter = match self.shared.enter(org, self.patience)? {
            Entered::Served(place) => return Ok(place),
            Entered::Waits(waiter) => waiter,
        };
        let shared = &self.shared;
        let place = match self.patience {
            Patience::Request => timeout(shared.wait_max, waiter.served()).await,
            Patience::Run => Ok(waiter.served().await),
        };
        match place {
            Ok(place) => Ok(place),
            Err(_) if shared.turns().held(org) >= shared.share => Err(StoreError::OrgBusy),
            Err(_) => Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)),
        }
    }

    /// How many organisations have runs that wait for a place.
    pub(crate) fn orgs_with_waiting_runs(&self) -> usize {
        let turns = self.shared.turns();
        let waits = |org: &Org| org.waiting.iter().any(|one| one.patience == Patience::Run);
        turns.waiting.iter().filter(|org| turns.orgs.get(*org).is_some_and(waits)).count()
    }
}

enum Entered {
    Served(Place),
    Waits(Waiter),
}

impl Shared {
    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>, org: &str, patience: Patience) -> Result<Entered, StoreError> {
        let turns = &mut *self.turns();
        let known = turns.orgs.get_key_value(org).map(|(org, _)| org.clone());
        let org = known.unwrap_or_else(|| org.into());
        let others_wait = turns.waiting.iter().any(|waiting| *waiting != org);
        let may_hold = if others_wait { self.share } else { self.most };
        let is_free = turns.free > 0;
        let entry = turns.orgs.entry(org.clone()).or_default();
        if is_free && entry.held < may_hold {
            entry.held += 1;
            turns.free -= 1;
            return Ok(Entered::Served(Place { shared: self.clone(), org }));
        }
        let requests = entry.waiting.iter().filter(|one| one.patience == Patience::Request);
        if patience == Patience::Request && requests.count() >= WAITING_PER_ORG {
            return Err(StoreError::OrgBusy);
        }
        let (sender, served) = oneshot::channel();
        entry.waiting.push_back(Asker { served: sender, patience });
        if entry.waiting.len() == 1 {
            turns.waiting.push_back(org.clone());
        }
        Ok(Entered::Waits(Waiter { shared: self.clone(), org, served }))
    }

    /// Takes a place back, and gives what is free to those who wait.
    fn leave(&self, org: &Arc<str>) {
        let turns = &mut *self.turns();
        if let Some(entry) = turns.orgs.get_mut(org) {
            entry.held = entry.held.saturating_sub(1);
        }
        turns.free += 1;
        self.serve(turns);
        turns.forget_idle(org);
    }

    /// Forgets those who wait no longer.
    fn give_up(&self, org: &Arc<str>) {
        let turns = &mut *self.turns();
        if let Some(entry) = turns.orgs.get_mut(org) {
            entry.waiting.retain(|waiter| !waiter.served.is_closed());
            if entry.waiting.is_empty() {
                turns.waiting.retain(|waiting| waiting != org);
            }
        }
        self.serve(turns); // Fewer wait: those who do may hold more.
        turns.forget_idle(org);
    }

    fn serve(&self, turns: &mut Turns) {
        while turns.free > 0 {
            let may_hold = if turns.waiting.len() > 1 { self.share } else { self.most };
            let next = turns.waiting.iter().position(|org| turns.held(org) < may_hold);
            let Some(org) = next.and_then(|next| turns.waiting.remove(next)) else { return };
            let Some(entry) = turns.orgs.get_mut(&org) else { continue };
            let waiter = entry.waiting.pop_front();
            if waiter.is_some_and(|waiter| waiter.served.send(()).is_ok()) {
                entry.held += 1;
                turns.free -= 1;
            }
            if !entry.waiting.is_empty() {
                turns.waiting.push_back(org);
            }
        }
    }
}

impl Turns {
    fn held(&self, org: &str) -> usize {
        self.orgs.get(org).map_or(0, |entry| entry.held)
    }

    fn forget_idle(&mut self, org: &str) {
        if self.orgs.get(org).is_some_and(|entry| entry.held == 0 && entry.waiting.is_empty()) {
            self.orgs.remove(org);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.leave(&self.org);
    }
}

/// A statement that waits for a place.
struct Waiter {
    shared: Arc<Shared>,
    org: Arc<str>,
    served: oneshot::Receiver<()>,
}

impl Waiter {
    async fn served(&mut self) -> Place {
        if (&mut self.served).await.is_err() {
            std::future::pending::<()>().await; // The sender lives until we are served.
        }
        Place { shared: self.shared.clone(), org: self.org.clone() }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.served.close();
        match self.served.try_recv() {
            // Served, and gone before it knew.
            Ok(()) => self.shared.leave(&self.org),
            Err(_) => self.shared.give_up(&self.org),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    /// Of 16 connections 2 are kept; of the 14 places an organisation has 7, or 10 alone.
    fn places() -> Places {
        Places::new(16)
    }

    fn take_now(places: &Places, org: &str) -> Option<Place> {
        places.take(org).now_or_never().map(Result::unwrap)
    }

    fn take_all(places: &Places, org: &str) -> Vec<Place> {
        std::iter::from_fn(|| take_now(places, org)).collect()
    }

    #[tokio::test]
    async fn alone_an_organisation_takes_three_quarters_and_the_next_finds_a_place() {
        let places = places();
        let noisy = take_all(&places, "noisy");
        assert_eq!(noisy.len(), 10);
        assert_eq!(take_all(&places, "quiet").len(), 4);
        drop(noisy);
        assert_eq!(take_all(&places, "quiet").len(), 10, "all came back");
        assert!(places.shared.turns().orgs.is_empty());
        for few in [0, 1, 2] {
            assert_eq!(take_all(&Places::new(few), "one").len(), 1, "{few} connections");
        }
    }

    #[tokio::test]
    async fn those_who_wait_are_served_by_turns_and_nobody_beyond_a_half() {
        let places = places();
        let mut held = take_all(&places, "noisy");
        held.extend(take_all(&places, "busy"));
        assert_eq!(held.len(), 14);
        let waits = async |org: &str| {
            let place = places.take(org).await.unwrap();
            let org = place.org.to_string();
            (org, place)
        };
        let orgs = ["noisy", "noisy", "noisy", "quiet", "quiet", "busy"];
        let mut waiters: Vec<_> = orgs.map(|org| Box::pin(waits(org))).into();
        assert!(waiters.iter_mut().all(|waiter| waiter.as_mut().now_or_never().is_none()));
        let mut order = Vec::new();
        let mut served = Vec::new();
        while !waiters.is_empty() {
            drop(held.remove(0)); // `noisy` has ten, and is served again below its seven.
            waiters.retain_mut(|waiter| match waiter.as_mut().now_or_never() {
                None => true,
                Some((org, place)) => {
                    order.push(org);
                    served.push(place);
                    false
                }
            });
        }
        assert_eq!(order, ["quiet", "busy", "quiet", "noisy", "noisy", "noisy"]);
    }

    #[tokio::test]
    async fn who_goes_away_takes_no_place_along() {
        let places = places();
        let mut held = take_all(&places, "a");
        held.extend(take_all(&places, "b"));
        let mut gone = Box::pin(places.take("c"));
        assert!((&mut gone).now_or_never().is_none());
        drop(gone); // While it waits.
        let mut gone = Box::pin(places.take("c"));
        assert!((&mut gone).now_or_never().is_none());
        held.pop();
        drop(gone); // When it was served, and did not know yet.
        assert!(take_now(&places, "c").is_some());
        drop(held);
        assert!(places.shared.turns().orgs.is_empty() && places.shared.turns().waiting.is_empty());
        assert_eq!(places.shared.turns().free, 14);
    }

    #[tokio::test]
    async fn as_many_wait_as_may_and_one_more_is_refused() {
        let places = places();
        let _held = take_all(&places, "noisy");
        let waiters: Vec<_> = (0..WAITING_PER_ORG)
            .map(|_| {
                let mut waiter = Box::pin(places.take("noisy"));
                assert!((&mut waiter).now_or_never().is_none());
                waiter
            })
            .collect();
        let refused = places.take("noisy").now_or_never().unwrap();
        assert!(matches!(refused, Err(StoreError::OrgBusy)));
        assert!(take_now(&places, "quiet").is_some());
        drop(waiters);
        assert!(places.take("noisy").now_or_never().is_none(), "it may wait again");
    }

    #[tokio::test]
    async fn runs_wait_however_many_and_however_long() {
        let places = Places::with_patience(16, Duration::ZERO);
        let runs = places.for_runs();
        let held = take_all(&places, "noisy");
        let mut waiters: Vec<_> =
            (0..2 * WAITING_PER_ORG).map(|_| Box::pin(runs.take("noisy"))).collect();
        assert!(waiters.iter_mut().all(|waiter| waiter.now_or_never().is_none()));
        assert!(take_now(&places, "quiet").is_some());
        drop(held);
        let mut served = 0;
        while let Some(waiter) = waiters.first_mut() {
            waiter.await.unwrap();
            served += 1;
            drop(waiters.remove(0));
        }
        assert_eq!(served, 2 * WAITING_PER_ORG);
    }

    #[tokio::test]
    async fn organisations_whose_runs_wait_are_counted_and_nobody_else() {
        let places = places();
        let runs = places.for_runs();
        let mut held = take_all(&places, "a");
        held.extend(take_all(&places, "b"));
        let asked = [(&runs, "a"), (&runs, "a"), (&runs, "c"), (&places, "d"), (&places, "d")];
        let mut waiters: Vec<_> =
            asked.iter().map(|(places, org)| Box::pin(places.take(org))).collect();
        assert!(waiters.iter_mut().all(|waiter| waiter.now_or_never().is_none()));
        assert_eq!(places.orgs_with_waiting_runs(), 2);
        drop(waiters);
        assert_eq!(places.orgs_with_waiting_runs(), 0);
    }

    #[tokio::test]
    async fn who_waits_too_long_for_its_own_statements_is_told_so() {
        let places = Places::with_patience(16, Duration::ZERO);
        let _held = take_all(&places, "noisy");
        assert!(matches!(places.take("noisy").await, Err(StoreError::OrgBusy)));
        let _rest = take_all(&places, "other");
        assert!(matches!(places.take("quiet").await, Err(StoreError::Unavailable(_))));
    }
}
