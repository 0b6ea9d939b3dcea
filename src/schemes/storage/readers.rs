//! Reads the disk on threads of their own: a volume that does not answer must not hold a worker past its deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// Most reads that have timed out and not ended. With so many of them, no further read is started.
const MAX_STUCK: usize = 16;
/// Most reads whose callers have timed out, however short a time they had. With so many, no further read is started either:
/// a disk that does not answer must not cost a thread for each caller.
const MAX_LATE: usize = 64;
/// A read that takes longer than this shows that the disk is slow. A caller with less time than this shows nothing.
const SLOW: Duration = Duration::from_secs(1);
/// How long a caller waits while an earlier read has timed out and not ended.
const SHORT: Duration = Duration::from_millis(100);

/// The states of a read: its caller waits, its caller has timed out, and that shows that the disk is slow, it has ended.
const WAITED_FOR: u8 = 0;
const LATE: u8 = 1;
const STUCK: u8 = 2;
const ENDED: u8 = 3;

/// The readers. Clones are the same readers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readers(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// How many reads have timed out and not ended.
    late: AtomicUsize,
    /// How many of them show that the disk is slow.
    stuck: AtomicUsize,
}

impl Readers {
    /// What a read gives, if it ends in time.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        patience: Duration,
        look: impl Fn() -> T + Send + Sync + 'static,
    ) -> Option<T> {
        let Counts { late, stuck: all_stuck } = &*self.0;
        let stuck = all_stuck.load(Ordering::SeqCst);
        if stuck >= MAX_STUCK || late.load(Ordering::SeqCst) >= MAX_LATE {
            return None;
        }
        let patience = if stuck > 0 { patience.min(SHORT) } else { patience };
        let running = Running::of(&self.0);
        let (tell, told) = channel();
        let (look, state) = (Arc::new(look), Arc::clone(&running.state));
        let ours = Arc::clone(&look);
        let job = move || {
            let found = ours();
            drop(running);
            let _ = tell.send(found); // the caller may have timed out
        };
        if thread::Builder::new().name("cache".into()).spawn(job).is_err() {
            return Some(look()); // where the system gives no thread, on this one
        }
        let found = told.recv_timeout(patience).ok();
        if found.is_none() {
            let proves = stuck > 0 || patience >= SLOW;
            // Counted first: the read may end at once, and takes itself off then.
            late.fetch_add(1, Ordering::SeqCst);
            all_stuck.fetch_add(usize::from(proves), Ordering::SeqCst);
            if state.swap(if proves { STUCK } else { LATE }, Ordering::SeqCst) == ENDED {
                late.fetch_sub(1, Ordering::SeqCst);
                all_stuck.fetch_sub(usize::from(proves), Ordering::SeqCst);
            }
        }
        found
    }
}

/// A read, until it ends, by a panic as well.
struct Running {
    counts: Arc<Counts>,
    state: Arc<AtomicU8>,
}

impl Running {
    fn of(counts: &Arc<Counts>) -> Self {
        Self { counts: Arc::clone(counts), state: Arc::new(AtomicU8::new(WAITED_FOR)) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let state = self.state.swap(ENDED, Ordering::SeqCst);
        if matches!(state, LATE | STUCK) {
            self.counts.late.fetch_sub(1, Ordering::SeqCst);
            self.counts.stuck.fetch_sub(usize::from(state == STUCK), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, Mutex};
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_disk_that_does_not_answer_is_waited_for_once() {
        let readers = Readers::default();
        assert_eq!(readers.run(LONG, || 7), Some(7));
        assert_eq!(readers.run(LONG, || -> u8 { panic!("made up") }), None);
        assert_eq!(readers.0.stuck.load(Ordering::SeqCst), 0);
        // A caller without time shows nothing of the disk.
        assert!(readers.run(Duration::from_millis(1), || thread::sleep(Duration::from_millis(50))).is_none());
        assert_eq!(readers.0.stuck.load(Ordering::SeqCst), 0);
        let hang = Arc::new(Barrier::new(MAX_STUCK + 1));
        let began = Instant::now();
        for patience in std::iter::once(SLOW).chain(std::iter::repeat_n(LONG, MAX_STUCK - 1)) {
            let hang = Arc::clone(&hang);
            assert!(readers.run(patience, move || hang.wait().is_leader()).is_none());
        }
        assert!(began.elapsed() < LONG);
        assert_eq!(readers.0.stuck.load(Ordering::SeqCst), MAX_STUCK);
        let ran = Arc::new(Mutex::new(false));
        let mark = Arc::clone(&ran);
        assert!(readers.run(LONG, move || *mark.lock().unwrap() = true).is_none());
        assert!(!*ran.lock().unwrap(), "no thread more");
        hang.wait();
        let end = Instant::now() + LONG;
        while readers.0.stuck.load(Ordering::SeqCst) > 0 {
            assert!(Instant::now() < end);
            thread::sleep(Duration::from_millis(2));
        }
        assert_eq!((readers.run(LONG, || 7), readers.0.stuck.load(Ordering::SeqCst)), (Some(7), 0));
    }

    #[test]
    fn callers_in_a_hurry_start_no_threads_without_end() {
        let readers = Readers::default();
        let (begun, release) = (Arc::new(AtomicUsize::new(0)), Arc::new(std::sync::RwLock::new(())));
        let held = release.write().unwrap();
        for _ in 0..10 * MAX_STUCK {
            let (begun, release) = (Arc::clone(&begun), Arc::clone(&release));
            let look = move || {
                begun.fetch_add(1, Ordering::SeqCst);
                drop(release.read());
            };
            assert!(readers.run(Duration::from_millis(1), look).is_none());
        }
        thread::sleep(Duration::from_millis(100));
        let ran = begun.load(Ordering::SeqCst);
        drop(held);
        assert!(ran <= MAX_LATE, "{ran} threads hang");
        let end = Instant::now() + LONG;
        while readers.0.late.load(Ordering::SeqCst) > 0 {
            assert!(Instant::now() < end);
            thread::sleep(Duration::from_millis(2));
        }
        assert_eq!((readers.run(LONG, || 7), readers.0.stuck.load(Ordering::SeqCst)), (Some(7), 0));
    }
}
