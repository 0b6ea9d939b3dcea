//! A request on its way to a worker.

use std::time::{Duration, Instant};

use crate::base::context::Deadline;
use crate::metrics::Counted;
use crate::server::request::{Reply, Request};
use crate::server::{HttpResponse, Route};

/// A request, who is given its response, and what is to be done.
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) reply: Box<dyn Reply>,
    pub(super) task: Task,
}

/// What is to be done with a request.
pub(super) enum Task {
    /// It has this response already, with this value of `Allow`.
    Respond(HttpResponse, Option<&'static str>),
    /// It asks whether the server is alive.
    Liveness,
    /// It asks whether the server is ready.
    Readiness,
    /// It asks for the metrics.
    Exposition,
    /// The application answers it.
    Application(Review),
}

/// A request for the application.
pub(super) struct Review {
    pub(super) route: &'static Route,
    pub(super) deadline: Deadline,
    /// How long the client waits, counted from the request's first byte.
    pub(super) patience: Duration,
    /// When it was queued, and the gauge that counts it.
    pub(super) queued: (Instant, Counted),
}

impl Task {
    /// Whether it is a health probe.
    pub(super) fn is_probe(&self) -> bool {
        matches!(self, Self::Liveness | Self::Readiness)
    }
}

impl AsRef<Request> for Box<Job> {
    fn as_ref(&self) -> &Request {
        &self.request
    }
}
