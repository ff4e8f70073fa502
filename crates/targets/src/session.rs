use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Glance, Target, TargetError};

/// How often memory is glanced at.
const GLANCE_EVERY: Duration = Duration::from_millis(50);
/// A kernel whose clock ticked so lately runs.
const RECENTLY: Duration = Duration::from_millis(150);
/// The most ticks of a kernel's clock from one glance to the next, if both come late.
const MAX_TICKS: u64 = 5_000;
/// A clock that stands still for so long is reason to ask the VMM.
const STILL_FOR: Duration = Duration::from_millis(500);
/// The VMM's socket serves one client at a time: it is not asked more often.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// A target for as long as somebody serves it: when its guest restarts, who comes next gets the new kernel,
/// and who still has the old one is told so by [`SourceFailure::Restarted`].
///
/// A thread watches. It sees a restart as soon as the old kernel's memory is used for something else, or its
/// clock stands still and the VMM says that another kernel runs, or none.
///
/// [`SourceFailure::Restarted`]: vread_iov_iter::SourceFailure::Restarted
#[derive(Debug)]
pub struct Session {
    current: RwLock<Arc<Target>>,
    /// Held by the one who opens the target again, for as long as that takes. Others who want the new one
    /// wait for it; who only looks at the old one does not.
    reopening: Mutex<()>,
    /// When the kernel's clock was last seen to tick, as a kernel's does.
    ticked: Mutex<Option<Instant>>,
}

impl Session {
    /// Serves `target` and those that follow it.
    #[must_use]
    pub fn new(target: Arc<Target>) -> Arc<Self> {
        let session = Arc::new(Self {
            current: RwLock::new(target),
            reopening: Mutex::new(()),
            ticked: Mutex::new(None),
        });
        let weak = Arc::downgrade(&session);
        let watch = move || watch(&weak);
        if let Err(error) = thread::Builder::new().name("watch".into()).spawn(watch) {
            tracing::warn!(%error, "nobody watches for a restart of the guest; opening a file still sees it");
        }
        session
    }

    /// The target as it is now: opened again if its guest has restarted.
    ///
    /// # Errors
    ///
    /// [`TargetError`], as for [`Target::open`]: the guest has restarted and is not ready yet.
    pub fn current(&self) -> Result<Arc<Target>, TargetError> {
        let target = self.last();
        if self.has_just_ticked() && matches!(target.glance(), Ok(Glance::Unchanged { .. })) {
            return Ok(target);
        }
        match target.is_current() {
            Ok(true) => return Ok(target),
            Ok(false) => {}
            // Whoever holds the socket may be the user's own tool. Memory tells less, and has the last word.
            Err(error) => {
                tracing::debug!(%error, "cannot ask whether the guest restarted");
                if !matches!(target.glance(), Ok(Glance::Restarted)) {
                    return Ok(target);
                }
            }
        }
        let reopening = self.reopening.lock();
        let _reopening = reopening.unwrap_or_else(PoisonError::into_inner);
        // Another thread may have opened it while we waited.
        let last = self.last();
        if !Arc::ptr_eq(&last, &target) {
            return Ok(last);
        }
        let opened = Arc::new(target.reopen()?);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::clone(&opened);
        Ok(opened)
    }

    /// The target that was current last.
    #[must_use]
    pub fn last(&self) -> Arc<Target> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    fn has_just_ticked(&self) -> bool {
        let ticked = self.ticked.lock().unwrap_or_else(PoisonError::into_inner);
        ticked.is_some_and(|at| at.elapsed() < RECENTLY)
    }

    fn tick(&self, at: Option<Instant>) {
        *self.ticked.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}

/// Looks at the target until the session is dropped.
fn watch(session: &Weak<Session>) {
    let (mut clock, mut moved) = (None, Instant::now());
    let mut asked = moved;
    while let Some(session) = session.upgrade() {
        let target = session.last();
        let now = Instant::now();
        match target.glance() {
            Ok(Glance::Unchanged { jiffies }) if clock == jiffies => {
                let since = |then: Instant| now.saturating_duration_since(then);
                if since(moved) >= STILL_FOR && since(asked) >= ASK_EVERY {
                    asked = now;
                    if let Err(error) = target.is_current() {
                        tracing::debug!(%error, "cannot ask whether the guest restarted");
                    }
                }
            }
            Ok(Glance::Unchanged { jiffies }) => {
                let ticks = jiffies
                    .zip(clock)
                    .map(|(now, before)| now.wrapping_sub(before));
                let ticks_like_a_clock = ticks.is_some_and(|ticks| ticks <= MAX_TICKS);
                session.tick(ticks_like_a_clock.then_some(now));
                (clock, moved) = (jiffies, now);
            }
            // Readers find out for themselves.
            Ok(Glance::Restarted) | Err(_) => session.tick(None),
        }
        // The last one to hold a session or target frees it: let that not be this thread asleep.
        drop((session, target));
        thread::sleep(GLANCE_EVERY);
    }
}
