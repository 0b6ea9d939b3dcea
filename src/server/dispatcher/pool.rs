//! A bounded queue of jobs, and the threads that run them. At most `workers` jobs run at the same time. A job that waits for
//! another server (a trust server, a registry) does not count among them: another thread takes its place, and ends when it
//! is not needed any more. Jobs that wait therefore never delay jobs that do not.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::super::threads::spawn;
use crate::base::waiting::WaitEvent;

/// The queue and its threads.
pub(super) struct Pool<T> {
    name: &'static str,
    workers: usize,
    /// The most threads, with those whose jobs wait for another server.
    max_threads: usize,
    /// The most jobs that may wait for a worker.
    max_queue: usize,
    run: Box<dyn Fn(T) + Send + Sync>,
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    jobs: VecDeque<T>,
    threads: usize,
    /// Threads that have no job.
    idle: usize,
    /// Jobs that wait for another server. It is signed because two threads of one job may report the beginning and the end of
    /// their waits in any order.
    waiting: isize,
    closed: bool,
}

impl<T> State<T> {
    /// Whether one more job may run.
    fn is_free(&self, workers: usize) -> bool {
        let busy = isize::try_from(self.threads.saturating_sub(self.idle)).unwrap_or(isize::MAX);
        busy.saturating_sub(self.waiting) < isize::try_from(workers).unwrap_or(isize::MAX)
    }
}

impl<T: Send + 'static> Pool<T> {
    /// Starts the workers. `run` must not panic.
    pub(super) fn start(
        name: &'static str,
        workers: usize,
        max_waiting: usize,
        max_queue: usize,
        run: impl Fn(T) + Send + Sync + 'static,
    ) -> io::Result<Arc<Self>> {
        let workers = workers.max(1);
        let state = State { jobs: VecDeque::new(), threads: 0, idle: 0, waiting: 0, closed: false };
        let pool = Arc::new(Self {
            name,
            workers,
            max_threads: workers.saturating_add(max_waiting),
            max_queue,
            run: Box::new(run),
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        for _ in 0..workers {
            pool.hire(&mut pool.lock())?;
        }
        Ok(pool)
    }

    /// Queues a job. It is given back if too many jobs wait, or if the pool is closed.
    pub(super) fn push(self: &Arc<Self>, job: T) -> Result<(), T> {
        let mut state = self.lock();
        let room = self.max_queue.saturating_add(state.idle);
        if state.closed || state.jobs.len() >= room {
            return Err(job);
        }
        state.jobs.push_back(job);
        self.wake(&mut state);
        Ok(())
    }

    /// A job began to wait for another server, or stopped waiting.
    pub(super) fn on_wait(self: &Arc<Self>, event: WaitEvent) {
        let mut state = self.lock();
        match event {
            WaitEvent::Began => {
                state.waiting += 1;
                self.wake(&mut state);
            }
            // Now one job more than `workers` may run. To stop it again would delay it.
            WaitEvent::Ended => state.waiting -= 1,
        }
    }

    /// Lets the threads end once the queue is empty.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// The number of workers that are alive.
    pub(super) fn alive(&self) -> usize {
        self.lock().threads.min(self.workers)
    }

    /// Wakes or starts a thread for the next job, if that job may run.
    fn wake(self: &Arc<Self>, state: &mut State<T>) {
        if state.jobs.is_empty() || !state.is_free(self.workers) {
            return;
        }
        if state.idle > 0 {
            self.changed.notify_one();
        } else if state.threads < self.max_threads
            && let Err(error) = self.hire(state)
        {
            log::warn!("no thread for one more {}: {error}; its job waits for another thread", self.name);
        }
    }

    fn hire(self: &Arc<Self>, state: &mut State<T>) -> io::Result<()> {
        let pool = Arc::clone(self);
        spawn(self.name.to_owned(), Box::new(move || pool.work()))?;
        // The new thread has no job yet.
        state.threads += 1;
        state.idle += 1;
        Ok(())
    }

    fn work(self: &Arc<Self>) {
        while let Some(job) = self.take() {
            (self.run)(job);
            self.lock().idle += 1;
        }
    }

    /// The next job; `None` if this thread is not needed any more.
    fn take(self: &Arc<Self>) -> Option<T> {
        let mut state = self.lock();
        loop {
            if state.is_free(self.workers)
                && let Some(job) = state.jobs.pop_front()
            {
                state.idle -= 1;
                // One wake-up may stand for several jobs.
                self.wake(&mut state);
                return Some(job);
            }
            if state.idle > self.workers || (state.closed && state.jobs.is_empty()) {
                state.idle -= 1;
                state.threads -= 1;
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner) // nothing panics while it is held
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::{Duration, Instant};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A job reports that it began, and ends on a signal.
    type Job = (u32, Receiver<()>);

    fn pool(workers: usize, max_waiting: usize, queue: usize) -> (Arc<Pool<Job>>, Receiver<u32>) {
        let (send, begun_jobs) = channel();
        let send = Mutex::new(send);
        let run = move |(number, end): Job| {
            send.lock().unwrap().send(number).unwrap();
            let _ = end.recv_timeout(PATIENCE);
        };
        (Pool::start("test", workers, max_waiting, queue, run).unwrap(), begun_jobs)
    }

    fn push(pool: &Arc<Pool<Job>>, number: u32) -> Option<Sender<()>> {
        let (end, ended) = channel();
        pool.push((number, ended)).is_ok().then_some(end)
    }

    fn until(what: &str, holds: impl Fn() -> bool) {
        let begin = Instant::now();
        while !holds() {
            assert!(begin.elapsed() < PATIENCE, "{what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn a_job_that_waits_makes_room_for_one_that_does_not() {
        let (pool, begun_jobs) = pool(2, 3, 9);
        let ends: Vec<_> = (0..8).map(|number| push(&pool, number).unwrap()).collect();
        let begun = |count: usize| {
            let mut begun: Vec<_> = (0..count).map(|_| begun_jobs.recv_timeout(PATIENCE).unwrap()).collect();
            begun.sort_unstable();
            assert!(begun_jobs.recv_timeout(Duration::from_millis(50)).is_err());
            begun
        };
        assert_eq!(begun(2), [0, 1]);
        pool.on_wait(WaitEvent::Began);
        assert_eq!(begun(1), [2]);
        pool.on_wait(WaitEvent::Began);
        pool.on_wait(WaitEvent::Began);
        assert_eq!(begun(2), [3, 4]);
        // The number of threads is bounded, however many jobs wait.
        pool.on_wait(WaitEvent::Began);
        assert_eq!(begun(0), [0; 0]);
        (0..4).for_each(|_| pool.on_wait(WaitEvent::Ended));
        drop(ends);
        assert_eq!(begun(3), [5, 6, 7]);
        until("the threads that are not needed to end", || pool.lock().threads == 2);
        let state = pool.lock();
        assert_eq!((state.idle, state.waiting), (2, 0));
    }

    #[test]
    fn a_full_queue_takes_no_more_and_a_closed_one_is_worked_off() {
        let (pool, begun_jobs) = pool(1, 0, 1);
        let end = push(&pool, 0).unwrap();
        assert_eq!(begun_jobs.recv_timeout(PATIENCE), Ok(0));
        let second = push(&pool, 1).unwrap();
        assert!(push(&pool, 2).is_none());
        pool.close();
        assert!(push(&pool, 3).is_none());
        drop((end, second));
        assert_eq!(begun_jobs.recv_timeout(PATIENCE), Ok(1));
        until("the threads to end", || pool.lock().threads == 0);
    }
}
