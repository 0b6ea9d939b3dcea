//! What all connections share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::body_budget::BodyBudget;
use super::connection::Connection;
use super::connections::{Closed, Connections, Permit, Phase, RequestKind};
use super::handshakes::Handshakes;
use super::poller::Poller;
use crate::metrics::{Limit, Listener, Metrics};
use crate::server::dispatcher::Dispatcher;
use crate::server::settings::Limits;
use crate::server::timeout;

/// What all connections share.
pub(super) struct Context {
    pub(super) limits: Limits,
    pub(super) metrics: Arc<Metrics>,
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) budget: Arc<BodyBudget>,
    pub(super) connections: Connections<Connection>,
    pub(super) poller: Poller,
    pub(super) handshakes: Arc<Handshakes>,
    /// Connections that have had their turn, and go on after the others.
    again: Mutex<Vec<Arc<Connection>>>,
    /// A request waits for a permit, or a new connection for a place.
    waited_for: AtomicBool,
}

impl Context {
    pub(super) fn new(
        limits: Limits,
        has_plain: bool,
        metrics: Arc<Metrics>,
        dispatcher: Arc<Dispatcher>,
        poller: Poller,
    ) -> Self {
        let connections = Connections::new(limits.connections, has_plain, Arc::clone(&metrics));
        let budget = Arc::new(BodyBudget::new(limits.body_memory));
        let (handshakes, again) = (Arc::default(), Mutex::default());
        let waited_for = AtomicBool::new(false);
        Self { limits, metrics, dispatcher, budget, connections, poller, handshakes, again, waited_for }
    }

    /// The most bytes of a body.
    pub(super) fn body_bytes(&self, listener: Listener) -> usize {
        match listener {
            Listener::Tls => self.limits.request_bytes,
            // No path of the plain listener takes a body. A small one is read so that the client gets a response.
            Listener::Plain => self.limits.request_bytes.min(4 << 10),
        }
    }

    /// How long a connection may wait for a request. Before its first request it has less time: a client connects to send one,
    /// and connections without a request are the cheapest way to keep other clients out.
    pub(super) fn idle_time(&self, listener: Listener, served: bool) -> Duration {
        let idle_time = match served {
            true => self.limits.idle_time,
            false => self.limits.idle_time.min(self.limits.request_time),
        };
        match listener {
            Listener::Tls => idle_time,
            // Probes and scrapers connect again, and the plain listener has few places.
            Listener::Plain => idle_time.min(Duration::from_secs(5)),
        }
    }

    /// How long a head may take, and the limit that this is.
    pub(super) fn head_time(&self) -> (Duration, Limit) {
        let Limits { head_time, request_time, .. } = self.limits;
        if head_time < request_time { (head_time, Limit::HeadTime) } else { (request_time, Limit::RequestTime) }
    }

    /// The kind of a request.
    pub(super) fn kind(listener: Listener, target: &str) -> RequestKind {
        match (target.split('?').next().unwrap_or_default(), listener) {
            ("/health/liveness" | "/health/readiness", _) => RequestKind::Health,
            ("/metrics", Listener::Plain) => RequestKind::Metrics,
            _ => RequestKind::Other,
        }
    }

    /// The moment by which a request must have its response. Kubernetes waits less, so a later response would have no reader.
    pub(super) fn response_deadline(&self) -> Instant {
        Instant::now() + self.limits.admission_time.max(timeout::LONGEST) + Duration::from_secs(5)
    }

    /// A connection enters a phase. What others wait for may be free now.
    pub(super) fn enter(&self, number: u64, phase: Phase, deadline: Option<Instant>) -> Result<(), Closed> {
        let entered = self.connections.enter(number, phase, deadline);
        self.wake_if_waited_for();
        entered
    }

    /// A request is complete: may it be answered?
    pub(super) fn ask(&self, number: u64, kind: RequestKind) -> Permit {
        let permit = self.connections.ask(number, kind, self.response_deadline());
        if permit == Permit::Queued {
            // A new connection may be waiting for one that may be closed.
            self.wait_for();
            self.poller.wake();
        }
        permit
    }

    /// A connection has ended.
    pub(super) fn remove(&self, number: u64) {
        if self.connections.remove(number) {
            self.wake_if_waited_for();
        }
    }

    /// A connection has had its turn.
    pub(super) fn again(&self, connection: Arc<Connection>) {
        self.again.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        self.poller.wake();
    }

    /// The connections that have had their turn.
    pub(super) fn take_again(&self) -> Vec<Arc<Connection>> {
        std::mem::take(&mut *self.again.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on the polling thread is woken when a permit or a place may be free.
    pub(super) fn wait_for(&self) {
        self.waited_for.store(true, Ordering::SeqCst);
    }

    /// Whether anybody waits still, as the polling thread sees it at the end of a turn.
    pub(super) fn set_waiting(&self, is_waiting: bool) {
        let was_waiting = self.waited_for.swap(is_waiting, Ordering::SeqCst);
        if is_waiting && !was_waiting {
            // A request was queued while the turn before found none, so what became free since then woke nobody.
            self.poller.wake();
        }
    }

    fn wake_if_waited_for(&self) {
        if self.waited_for.load(Ordering::SeqCst) {
            self.poller.wake();
        }
    }
}
