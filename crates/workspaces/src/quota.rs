//! The quota of an organisation's workspaces. Checking it is cheap: a measurement is used for a
//! while, walks run on blocking threads, and a request waits only briefly for one. An organisation
//! that cannot be measured is not refused, and the log says so.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hashlink::LruCache;
use protocol::name::OrgId;
use rustix::fd::OwnedFd;
use tokio::{
    sync::{Semaphore, watch},
    task::spawn_blocking,
    time::timeout,
};

use crate::size::{self, Excess, WalkResult};

/// Most files and folders of an organisation; one that has more is over its quota.
pub const ENTRIES_MAX: usize = 1_000_000;
/// How long an organisation is not measured again, at least.
pub const KEPT_FOR: Duration = Duration::from_secs(10);
/// What was found also holds for this many times as long as the walk took.
pub const REST: u32 = 10;
/// A walk is waited for that long from its begin; then what the one before it found holds, or
/// nothing.
pub const WAIT_MAX: Duration = Duration::from_millis(250);
/// Most walks at once, over all organisations.
pub const WALKS_MAX: usize = 4;
/// Organisations whose measure is remembered; beyond it those asked for longest ago are forgotten.
pub const ORGS_MAX: usize = 10_000;

/// How organisations are measured; the defaults are the constants of this module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measuring {
    /// Most files and folders.
    pub entries_max: usize,
    /// How long what was found holds, at least.
    pub kept_for: Duration,
    /// How many times as long as the walk took it holds, at least.
    pub rest: u32,
    /// How long from its begin a walk is waited for.
    pub wait_max: Duration,
}

impl Default for Measuring {
    fn default() -> Self {
        Self { entries_max: ENTRIES_MAX, kept_for: KEPT_FOR, rest: REST, wait_max: WAIT_MAX }
    }
}

/// An organisation has too much in its workspaces.
#[derive(Debug, thiserror::Error)]
#[error("{excess}")]
pub struct OverQuota {
    /// What it has too much of.
    pub excess: Excess,
    /// When it is measured again.
    pub again_in: Duration,
}

/// The quota of every organisation below one root.
pub struct Quota {
    measurer: Arc<Measurer>,
    orgs: Mutex<LruCache<OrgId, Arc<OrgMeasure>>>,
}

/// What is known of one organisation.
#[derive(Default)]
struct OrgMeasure(Mutex<MeasureState>);

#[derive(Default)]
struct MeasureState {
    last: Option<Measurement>,
    /// The newest walk, which may have ended.
    walk: Option<RunningWalk>,
}

#[derive(Clone, Copy)]
struct Measurement {
    verdict: Result<(), Excess>,
    /// It was all readable, in time.
    is_sound: bool,
    holds_until: Instant,
}

#[derive(Clone)]
struct RunningWalk {
    began: Instant,
    /// Closed when it has ended.
    end: watch::Receiver<()>,
}

impl Quota {
    /// A quota of `bytes_max` bytes for each organisation below this folder, which need not exist yet.
    pub fn new(root: PathBuf, bytes_max: u64, measuring: Measuring) -> Self {
        let walks = Semaphore::new(WALKS_MAX);
        let measurer = Arc::new(Measurer { root, bytes_max, measuring, walks });
        Self { measurer, orgs: Mutex::new(LruCache::new(ORGS_MAX)) }
    }

    /// Refuses an organisation that had too much when it was measured last.
    pub async fn check(&self, org_id: &OrgId) -> Result<(), OverQuota> {
        let wait_max = self.measurer.measuring.wait_max;
        let known = self.known(org_id);
        if let Some(mut walk) = self.walk(org_id, &known) {
            let left = wait_max.saturating_sub(walk.began.elapsed());
            let _ended = timeout(left, walk.end.changed()).await;
        }
        let Some(Measurement { verdict, holds_until, .. }) = known.state().last else {
            return Ok(());
        };
        let again_in = holds_until.saturating_duration_since(Instant::now());
        verdict.map_err(|excess| OverQuota { excess, again_in })
    }

    fn known(&self, org_id: &OrgId) -> Arc<OrgMeasure> {
        let mut orgs = self.orgs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = orgs.get(org_id) {
            return Arc::clone(known);
        }
        let known = Arc::<OrgMeasure>::default();
        orgs.insert(org_id.clone(), Arc::clone(&known));
        known
    }

    /// The walk that is under way, or a new one; none where what is known holds.
    fn walk(&self, org_id: &OrgId, known: &Arc<OrgMeasure>) -> Option<RunningWalk> {
        let mut state = known.state();
        if state.last.is_some_and(|last| Instant::now() < last.holds_until) {
            return None;
        }
        let is_under_way = |walk: &RunningWalk| walk.end.has_changed().is_ok();
        if !state.walk.as_ref().is_some_and(is_under_way) {
            let (ended, end) = watch::channel(());
            // It goes on if the caller goes away, so that it is never begun twice.
            tokio::spawn(Arc::clone(&self.measurer).measure(
                org_id.clone(),
                Arc::clone(known),
                ended,
            ));
            state.walk = Some(RunningWalk { began: Instant::now(), end });
        }
        state.walk.clone()
    }
}

impl OrgMeasure {
    fn state(&self) -> MutexGuard<'_, MeasureState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all walks share.
struct Measurer {
    root: PathBuf,
    bytes_max: u64,
    measuring: Measuring,
    walks: Semaphore,
}

impl Measurer {
    /// Measures an organisation. That it has ended is known when what it found is.
    async fn measure(
        self: Arc<Self>,
        org_id: OrgId,
        known: Arc<OrgMeasure>,
        ended: watch::Sender<()>,
    ) {
        let began = Instant::now();
        let (verdict, fault) = match self.walk(&org_id).await {
            Ok(WalkResult { verdict, unreadable }) => (verdict, unreadable.map(io::Error::from)),
            Err(fault) => (Ok(()), Some(fault)),
        };
        let took = began.elapsed();
        let is_sound = fault.is_none() && took <= self.measuring.wait_max;
        let holds_until = Instant::now() + self.measuring.kept_for.max(took * self.measuring.rest);
        let measured = Measurement { verdict, is_sound, holds_until };
        let before = known.state().last.replace(measured);
        drop(ended);
        if before.is_some_and(|before| !before.is_sound) {
            return; // It was logged already.
        }
        if let Some(error) = fault {
            tracing::warn!(%org_id, %error, "workspaces cannot be read; what cannot be read is not counted");
        } else if !is_sound {
            let took_ms = took.as_millis();
            tracing::warn!(%org_id, took_ms, "workspaces are slow to measure; runs do not wait for the result");
        }
    }

    async fn walk(&self, org_id: &OrgId) -> io::Result<WalkResult> {
        // Most organisations have nothing here; they wait for nobody's walk.
        if self.open(org_id, |folder| folder.is_none()).await? {
            return Ok(WalkResult::nothing());
        }
        let _place = self.walks.acquire().await.map_err(io::Error::other)?;
        let (bytes_max, entries_max) = (self.bytes_max, self.measuring.entries_max);
        let measured = move |folder: Option<OwnedFd>| {
            folder.map_or_else(WalkResult::nothing, |it| size::measure(it, bytes_max, entries_max))
        };
        self.open(org_id, measured).await
    }

    /// Does something with the folder of an organisation, where disks may be slow.
    async fn open<T: Send + 'static>(
        &self,
        org_id: &OrgId,
        then: impl FnOnce(Option<OwnedFd>) -> T + Send + 'static,
    ) -> io::Result<T> {
        let (root, org_id) = (self.root.clone(), org_id.clone());
        Ok(spawn_blocking(move || size::open(&root, &org_id).map(then)).await??)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{create_dir, create_dir_all, remove_file, write},
        path::Path,
    };

    use tempfile::TempDir;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn org() -> OrgId {
        "org_a".parse().unwrap()
    }

    /// A root where `org_a` has this many bytes.
    fn root(bytes: usize) -> TempDir {
        let root = tempfile::tempdir().unwrap();
        create_dir_all(root.path().join("org-org_a")).unwrap();
        put(root.path(), bytes);
        root
    }

    fn put(root: &Path, bytes: usize) {
        write(root.join("org-org_a/file"), vec![0; bytes]).unwrap();
    }

    fn quota(root: &TempDir, kept_for: Duration, wait_max: Duration) -> Quota {
        let measuring = Measuring { kept_for, rest: 0, wait_max, ..Measuring::default() };
        Quota::new(root.path().to_owned(), 10, measuring)
    }

    #[tokio::test]
    async fn what_was_found_holds_for_a_while() {
        let root = root(11);
        let kept = quota(&root, LONG, LONG);
        let over = kept.check(&org()).await.unwrap_err();
        assert_eq!(over.excess, Excess::Bytes { counted: 11, most: 10 });
        assert!(over.again_in <= LONG && over.again_in > LONG / 2, "{over:?}");
        remove_file(root.path().join("org-org_a/file")).unwrap();
        kept.check(&org()).await.unwrap_err();

        let anew = quota(&root, Duration::ZERO, LONG);
        for bytes in [10, 11, 10] {
            put(root.path(), bytes);
            assert_eq!(anew.check(&org()).await.is_ok(), bytes == 10);
        }
    }

    #[tokio::test]
    async fn nobody_waits_for_a_slow_walk_and_its_end_is_known() {
        let root = root(11);
        let quota = quota(&root, LONG, Duration::ZERO);
        let places = quota.measurer.walks.acquire_many(WALKS_MAX as u32).await.unwrap();
        for _ in 0..3 {
            quota.check(&org()).await.unwrap();
        }
        quota.check(&"org_b".parse().unwrap()).await.unwrap();
        let known = quota.known(&org());
        let mut walk = quota.walk(&org(), &known).expect("it is under way");
        assert!(known.state().last.is_none());
        drop(places);
        walk.end.changed().await.unwrap_err();
        quota.check(&org()).await.unwrap_err();
    }

    #[tokio::test]
    async fn whoever_asks_meanwhile_joins_the_walk_even_if_its_first_asker_went_away() {
        let root = root(11);
        let quota = quota(&root, Duration::ZERO, LONG);
        let places = quota.measurer.walks.acquire_many(WALKS_MAX as u32).await.unwrap();
        let gone = timeout(Duration::ZERO, quota.check(&org())).await;
        assert!(gone.is_err(), "it waits for a place");
        let known = quota.known(&org());
        let walk = quota.walk(&org(), &known).unwrap();
        let org = org();
        let (one, other, ()) =
            tokio::join!(quota.check(&org), quota.check(&org), async { drop(places) });
        assert!(one.is_err() && other.is_err());
        let joined = known.state().walk.clone().unwrap();
        assert!(joined.end.same_channel(&walk.end), "one walk for all");
    }

    #[tokio::test]
    async fn an_organisation_without_a_folder_waits_for_no_walk() {
        let root = root(11);
        let quota = quota(&root, LONG, LONG);
        let _places = quota.measurer.walks.acquire_many(WALKS_MAX as u32).await.unwrap();
        quota.check(&"org_b".parse().unwrap()).await.unwrap();
        create_dir(root.path().join("org-org_b")).unwrap();
        quota.check(&"org_b".parse().unwrap()).await.unwrap();
    }

    #[tokio::test]
    async fn what_cannot_be_measured_refuses_nobody() {
        let root = tempfile::tempdir().unwrap();
        write(root.path().join("org-org_a"), "no folder").unwrap();
        let quota = quota(&root, LONG, LONG);
        quota.check(&org()).await.unwrap();
        assert!(!quota.known(&org()).state().last.expect("it is measured").is_sound);
    }

    #[tokio::test]
    async fn those_asked_for_longest_ago_are_forgotten() {
        let root = root(0);
        let quota = quota(&root, LONG, LONG);
        for n in 0..=ORGS_MAX {
            quota.known(&format!("org_{n}").parse().unwrap());
        }
        assert_eq!(quota.orgs.lock().unwrap().len(), ORGS_MAX);
    }
}
