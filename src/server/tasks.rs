//! One thread for everything that is looked at now and then: files that may have changed, above all.
//!
//! It refuses nothing and decides nothing; a chore that panics is contained, counted and called again next time.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::threads::spawn;
use crate::metrics::Metrics;

/// Something to do every interval. It should be short: all chores share one thread.
pub struct Chore {
    name: &'static str,
    run: Box<dyn FnMut() + Send>,
}

impl Chore {
    /// A chore; its name appears in the log if it panics.
    pub fn new(name: &'static str, run: impl FnMut() + Send + 'static) -> Self {
        Self { name, run: Box::new(run) }
    }
}

impl fmt::Debug for Chore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Chore").field(&self.name).finish()
    }
}

/// The running thread. Dropping it stops the thread and waits for a chore that is being done.
#[derive(Debug)]
pub struct Housekeeping {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Housekeeping {
    /// How often files are looked at: a stat or two each time, and kubelet itself needs up to a minute.
    pub const INTERVAL: Duration = Duration::from_secs(2);

    /// Starts the thread. The chores run first after one interval, and then with one interval between two rounds.
    pub fn start(interval: Duration, mut chores: Vec<Chore>, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let (stop, stopped) = sync_channel::<()>(0);
        let run = move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                for chore in &mut chores {
                    if catch_unwind(AssertUnwindSafe(&mut chore.run)).is_err() {
                        metrics.panic();
                        log::error!("the chore \"{}\" panicked; it is tried again in {interval:?}", chore.name);
                    }
                }
            }
        };
        let thread = spawn("housekeeping".to_owned(), Box::new(run))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Housekeeping {
    fn drop(&mut self) {
        // The thread sees its channel hang up.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the housekeeping thread had died");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_panicking_chore_hurts_no_other_and_stopping_stops() {
        let calls = Arc::new(AtomicUsize::new(0));
        let metrics = Arc::new(Metrics::new());
        let (told, heard) = std::sync::mpsc::channel();
        let counted = Arc::clone(&calls);
        let chores = vec![
            Chore::new("bad", || panic!("a chore's bug")),
            Chore::new("good", move || {
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = told.send(());
            }),
        ];
        let housekeeping = Housekeeping::start(Duration::from_millis(5), chores, Arc::clone(&metrics)).unwrap();
        for _ in 0..3 {
            heard.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        drop(housekeeping);
        let after = calls.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(calls.load(Ordering::SeqCst), after);
        assert!(!metrics.render().contains("portreeve_panics_total 0"));
    }
}
