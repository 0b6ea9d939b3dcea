//! A lane: a bounded queue of requests, and the loopbacks over which they reach their workers.
//!
//! At most `workers` requests of a lane are being answered at the same time. A request that waits for another server (a trust
//! server, a registry) does not count among them, so it never delays a request that does not wait. A request needs a free
//! stream. Each stream has a worker of its own, so a request that is sent over a free stream finds a free worker. The thread
//! that makes a stream free, or that has a request which now waits for another server, sends the next request of the queue.
//! When the last free stream is taken, the [`Opener`] opens another loopback.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::job::Job;
use super::opener::Opener;
use super::worker::Worker;
use crate::base::waiting::WaitEvent;
use crate::server::relay::{Loopback, Opening, Received, STREAMS};
use crate::server::threads::spawn;

/// What a lane is for, and how much of it there may be.
pub(super) struct LaneSettings {
    /// The name of its threads.
    pub(super) name: &'static str,
    /// The most requests that are answered at the same time.
    pub(super) workers: usize,
    /// The most requests beside them that wait for another server. Every four requests in progress take a loopback, which is
    /// eight threads and twelve descriptors. Loopbacks stay open: there are as many as the most requests in progress have
    /// needed, and one more. A thread that waits keeps the pages of its stack that it has used, some ten kilobytes.
    pub(super) max_waiting: usize,
    /// The most requests that may wait for a worker.
    pub(super) max_queue: usize,
    /// Whether loopbacks are opened ahead of need.
    pub(super) is_ready: bool,
}

impl LaneSettings {
    /// The most requests in progress.
    fn most(&self) -> usize {
        self.workers.saturating_add(self.max_waiting)
    }
}

/// The queue, its loopbacks, and their workers.
pub(super) struct Lane {
    settings: LaneSettings,
    worker: Arc<Worker>,
    opener: Arc<Opener>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    probes: VecDeque<Box<Job>>,
    jobs: VecDeque<Box<Job>>,
    /// Whether the last request from the queue was a probe.
    was_probe: bool,
    free: Vec<Stream>,
    /// The streams that are open, free or not.
    streams: usize,
    /// Requests that wait for another server. It is signed because two threads of one request may report the beginning and the
    /// end of their waits in any order.
    waiting: isize,
    loopbacks: Vec<Weak<Loopback<Box<Job>>>>,
    closed: bool,
}

/// A stream of a loopback.
struct Stream {
    loopback: Arc<Loopback<Box<Job>>>,
    number: usize,
}

/// The longest that opening a loopback may take. It takes microseconds, unless the machine is overloaded.
const OPENING_TIME: Duration = Duration::from_secs(5);
/// A request that has not arrived after this time is given up: its client waits no longer.
const LOST_TIME: Duration = Duration::from_secs(35);

impl Lane {
    /// A lane without loopbacks.
    pub(super) fn new(settings: LaneSettings, worker: Arc<Worker>, opener: Arc<Opener>) -> Arc<Self> {
        Arc::new(Self { settings, worker, opener, state: Mutex::default() })
    }

    /// Takes a request to be answered. It is given back if too many wait, or if the lane is closed. This never waits. A
    /// probe waits for one other request at most.
    pub(super) fn push(self: &Arc<Self>, job: Box<Job>) -> Result<(), Box<Job>> {
        let mut state = self.lock();
        let startable = usize::try_from(self.settings.workers.cast_signed() - state.running()).unwrap_or(0);
        if state.closed || state.jobs.len() >= self.settings.max_queue.saturating_add(startable) {
            return Err(job);
        }
        if job.task.is_probe() { &mut state.probes } else { &mut state.jobs }.push_back(job);
        drop(state);
        self.send_next();
        Ok(())
    }

    /// A request began to wait for another server, or stopped waiting.
    pub(super) fn on_wait(self: &Arc<Self>, event: WaitEvent) {
        match event {
            WaitEvent::Began => {
                self.lock().waiting += 1;
                self.send_next();
            }
            // Now one request more than `workers` may be in progress. To stop it again would delay it.
            WaitEvent::Ended => self.lock().waiting -= 1,
        }
    }

    /// Sends the requests that may begin, each over a free stream.
    fn send_next(&self) {
        let mut state = self.lock();
        while let Some((stream, job)) = state.next(&self.settings) {
            drop(state);
            let sent = stream.loopback.send(stream.number, job);
            state = self.lock();
            if let Err(job) = sent {
                state.streams -= 1;
                state.jobs.push_front(job);
                drop(state);
                stream.loopback.close_stream(stream.number);
                state = self.lock();
            }
        }
        let needs_stream = state.needs_stream(&self.settings);
        drop(state);
        if needs_stream {
            self.opener.ask();
        }
    }

    /// Answers the requests of a loopback, until it is closed.
    fn work(&self, loopback: &Arc<Loopback<Box<Job>>>) {
        loop {
            // A panic must not end the thread: a stream without a worker would never be answered.
            let worked = catch_unwind(AssertUnwindSafe(|| {
                loopback.receive().map(|received| {
                    if let Some((received, job)) = received {
                        self.answer(loopback, received, job);
                    }
                })
            }));
            match worked {
                Ok(Ok(())) => {}
                Ok(Err(_)) if loopback.is_closed() || self.lock().closed => return,
                Ok(Err(_)) => {}
                Err(_) => self.worker.metrics.panic(),
            }
        }
    }

    fn answer(&self, loopback: &Arc<Loopback<Box<Job>>>, received: Received, job: Box<Job>) {
        let stream = Stream { loopback: Arc::clone(loopback), number: received.stream() };
        let Job { mut request, reply, task } = *job;
        let answered = catch_unwind(AssertUnwindSafe(|| {
            let (response, allow) = self.worker.answer(&mut request, task);
            loopback.respond(received, &request, response, allow)
        }));
        // The stream becomes free before the client has its response: the next request may follow at once.
        self.release(stream, matches!(answered, Ok(Ok(_))));
        match answered {
            Ok(response) => reply.reply(response),
            Err(_) => {
                self.worker.metrics.panic();
                log::error!("a worker hit a bug outside of the decision; the request is answered 500");
            }
        }
    }

    /// The request of a stream is over. A stream that failed is closed, because a response may still arrive on it.
    fn release(&self, stream: Stream, is_sound: bool) {
        let mut state = self.lock();
        if is_sound {
            state.free.push(stream);
            drop(state);
        } else {
            state.streams -= 1;
            drop(state);
            stream.loopback.close_stream(stream.number);
        }
        self.send_next();
    }

    /// Whether another loopback should be opened now.
    pub(super) fn needs_loopback(&self) -> bool {
        self.lock().needs_stream(&self.settings)
    }

    /// Opens a loopback with its workers. The first of them opens it: if the system has no thread, no tiny_http server is
    /// left behind without one, and if tiny_http gets no thread of its own and panics, only that thread ends.
    pub(super) fn open_loopback(self: &Arc<Self>) -> io::Result<()> {
        let count = self.settings.most().min(STREAMS);
        let lane = Arc::clone(self);
        let (send, receive) = sync_channel(1);
        let opening = Arc::new(Opening::default());
        let opening_there = Arc::clone(&opening);
        let run = move || {
            let opened = Loopback::open(&opening_there, count).map(Arc::new);
            let loopback = opened.as_ref().map(Arc::clone).ok();
            // The receiver is gone if this took too long. Then the loopback is dropped, which closes its streams.
            let sent = send.send(opened).is_ok();
            drop(send);
            if let (Some(loopback), true) = (loopback, sent) {
                lane.work(&loopback);
            }
        };
        spawn(self.settings.name.to_owned(), Box::new(run))?;
        let opened = receive.recv_timeout(OPENING_TIME).unwrap_or_else(|error| {
            opening.abandon();
            Err(io::Error::other(match error {
                RecvTimeoutError::Timeout => "the internal socket could not be connected to",
                RecvTimeoutError::Disconnected => "the internal HTTP server got no thread",
            }))
        });
        let loopback = opened?;
        let mut prepared = Ok(());
        for _ in 1..count {
            let (lane, loopback) = (Arc::clone(self), Arc::clone(&loopback));
            let hired = spawn(self.settings.name.to_owned(), Box::new(move || lane.work(&loopback)));
            prepared = prepared.and(hired.map(drop));
        }
        if let Err(error) = prepared.and_then(|()| loopback.greet()) {
            (0..count).for_each(|number| loopback.close_stream(number));
            return Err(error);
        }
        let mut state = self.lock();
        if state.closed {
            drop(state);
            (0..count).for_each(|number| loopback.close_stream(number));
            return Ok(());
        }
        state.loopbacks.retain(|loopback| loopback.strong_count() > 0);
        state.loopbacks.push(Arc::downgrade(&loopback));
        state.streams += count;
        state.free.extend((0..count).rev().map(|number| Stream { loopback: Arc::clone(&loopback), number }));
        drop(state);
        self.send_next();
        Ok(())
    }

    /// Gives up the requests that were sent and have not arrived. This needs a bug in tiny_http.
    pub(super) fn give_up_lost(&self) {
        let loopbacks: Vec<_> = self.lock().loopbacks.iter().filter_map(Weak::upgrade).collect();
        for loopback in loopbacks {
            for (number, _job) in loopback.lost(LOST_TIME) {
                log::error!("a request was lost in the internal HTTP server; it is answered 500");
                self.release(Stream { loopback: Arc::clone(&loopback), number }, false);
            }
        }
    }

    /// Lets the workers end once they have answered. Requests in the queue get no response.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let dropped =
            (std::mem::take(&mut state.probes), std::mem::take(&mut state.jobs), std::mem::take(&mut state.free));
        let loopbacks: Vec<_> = state.loopbacks.iter().filter_map(Weak::upgrade).collect();
        drop(state);
        loopbacks.iter().for_each(|loopback| loopback.unblock());
        drop(dropped);
    }

    /// The number of workers that can be at work at the same time. Loopbacks for them are opened as they are needed, so all
    /// can, unless no loopback can be opened.
    pub(super) fn alive(&self) -> usize {
        let streams = self.lock().streams;
        if streams == 0 || self.opener.is_failing() {
            streams.min(self.settings.workers)
        } else {
            self.settings.workers
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner) // nothing panics while it is held
    }
}

impl State {
    /// The requests that were sent and are not over.
    fn in_progress(&self) -> usize {
        self.streams.saturating_sub(self.free.len())
    }

    /// Those of them that do not wait for another server.
    fn running(&self) -> isize {
        self.in_progress().cast_signed().saturating_sub(self.waiting)
    }

    /// The next request, if it may begin, and the stream to send it over: the one used last, whose threads' memory is in the
    /// processor's cache.
    fn next(&mut self, settings: &LaneSettings) -> Option<(Stream, Box<Job>)> {
        let is_full = self.in_progress() >= settings.most() || self.running() >= settings.workers.cast_signed();
        if is_full || self.free.is_empty() {
            return None;
        }
        let probe_first = !self.was_probe || self.jobs.is_empty();
        let job = match probe_first {
            true => self.probes.pop_front().map(|job| (job, true)).or_else(|| Some((self.jobs.pop_front()?, false))),
            false => self.jobs.pop_front().map(|job| (job, false)),
        };
        let (job, is_probe) = job?;
        self.was_probe = is_probe;
        Some((self.free.pop()?, job))
    }

    fn needs_stream(&self, settings: &LaneSettings) -> bool {
        let is_needed = settings.is_ready || !self.jobs.is_empty();
        self.free.is_empty() && self.streams < settings.most() && is_needed && !self.closed
    }
}

#[cfg(test)]
impl Lane {
    /// Closes all free streams, as a bug in tiny_http might.
    pub(super) fn lose_streams(&self) {
        let mut state = self.lock();
        let lost = std::mem::take(&mut state.free);
        state.streams -= lost.len();
        drop(state);
        lost.iter().for_each(|stream| stream.loopback.close_stream(stream.number));
        self.send_next();
    }
}
