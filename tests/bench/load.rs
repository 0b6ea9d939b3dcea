//! A closed loop: a number of clients, each of which sends the next request when it has its response.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, is_allowed};

/// Does a client keep its connection?
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connections {
    Kept,
    New,
}

/// The results.
pub(crate) struct Load {
    times: Vec<Duration>,
    took: Duration,
}

impl Load {
    /// Every request must be allowed.
    pub(crate) fn run(
        clients: usize,
        connections: Connections,
        span: Duration,
        request: &[u8],
        connect: impl Fn() -> Client + Sync,
    ) -> Self {
        Self::observed(clients, connections, span, request, connect, || (), || ())
    }

    /// `before` runs when all clients are connected, and `after` before the first of them leaves.
    pub(crate) fn observed(
        clients: usize,
        connections: Connections,
        span: Duration,
        request: &[u8],
        connect: impl Fn() -> Client + Sync,
        before: impl FnOnce(),
        after: impl FnOnce(),
    ) -> Self {
        let over = AtomicBool::new(false);
        let [connected, start, end, leave] = [(); 4].map(|()| Barrier::new(clients + 1));
        let client = || {
            let mut times = Vec::new();
            let mut kept = connect();
            kept.admit(request); // the handshake of a kept connection is not measured
            connected.wait();
            start.wait();
            while !over.load(Ordering::Relaxed) {
                let begin = Instant::now();
                if connections == Connections::New {
                    kept = connect();
                }
                let answer = kept.ask(request);
                times.push(begin.elapsed());
                assert!(is_allowed(&answer), "{answer:?}");
            }
            end.wait();
            leave.wait();
            times
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
            connected.wait();
            before();
            let begin = Instant::now();
            start.wait();
            thread::sleep(span);
            over.store(true, Ordering::Relaxed);
            end.wait();
            let took = begin.elapsed();
            after();
            leave.wait();
            let mut times: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
            times.sort();
            Self { times, took }
        })
    }

    pub(crate) fn number(&self) -> u32 {
        u32::try_from(self.times.len()).unwrap()
    }

    pub(crate) fn per_second(&self) -> f64 {
        f64::from(self.number()) / self.took.as_secs_f64()
    }

    /// The time within which this number of a thousand requests was answered.
    pub(crate) fn quantile(&self, per_mille: usize) -> Duration {
        self.times[(self.times.len() * per_mille / 1000).min(self.times.len() - 1)]
    }

    pub(crate) fn worst(&self) -> Duration {
        self.quantile(1000)
    }
}

/// The middle one.
pub(crate) fn median<T: Ord + Copy>(of: impl IntoIterator<Item = T>) -> T {
    let mut all: Vec<T> = of.into_iter().collect();
    all.sort();
    all[all.len() / 2]
}
